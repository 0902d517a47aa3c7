"""The containers' files say what the code says; `make containers` runs them."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from cli.main import app
from cli.settings import described

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "docker-compose.yml").read_text()
HAPROXY = (ROOT / "deploy" / "haproxy.cfg").read_text()
PUBLIC = re.search(r"^frontend public\n(?:[ #].*\n)+", HAPROXY, re.MULTILINE)[0]  # type: ignore[index]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE)["services"]
QUINTET = {name: told for name, told in SERVICES.items() if told["image"].startswith("quintet-")}
KEPT_WRITABLE = {"kafka"}
"""The image writes its configuration into its own file system at each start."""


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_locked_down_limited_and_watched(name: str) -> None:
    told = SERVICES[name]
    assert told["cap_drop"] == ["ALL"]
    assert told["security_opt"] == ["no-new-privileges:true"]
    assert told.get("read_only", False) == (name not in KEPT_WRITABLE)
    assert {"mem_limit", "cpus", "pids_limit", "stop_grace_period", "logging"} <= told.keys()
    assert not {"privileged", "network_mode", "pid", "devices"} & told.keys()
    if told["image"] != "quintet-ring" and told["image"] != "quintet-train":
        assert "healthcheck" in told


def test_the_file_is_valid_for_both_kinds_of_compose() -> None:
    whole = yaml.safe_load(COMPOSE)
    assert {key for key in whole if not key.startswith("x-")} == {"services", "volumes"}
    for told in SERVICES.values():
        for other, condition in told.get("depends_on", {}).items():
            assert other in SERVICES
            assert list(condition) == ["condition"]


def test_nothing_is_published_beyond_this_machine_by_itself() -> None:
    ports = {name: told["ports"] for name, told in SERVICES.items() if "ports" in told}
    assert set(ports) == {"proxy", "console", "prometheus", "grafana"}
    for name, (port,) in ports.items():
        variable = "RING_LISTEN" if name == "proxy" else "RING_INSIDE_LISTEN"
        assert port.startswith(f"${{{variable}:-127.0.0.1}}:")


def test_the_proxy_keeps_metrics_inside_however_their_path_is_written() -> None:
    assert "    http-request return status 404 if { path,url_dec /metrics }\n" in PUBLIC


def test_servers_count_by_the_address_that_the_proxy_saw_and_nobody_else_reaches_them() -> None:
    servers = [told for name, told in SERVICES.items() if name.startswith("server-")]

    assert "    http-request set-header X-Forwarded-For %[src]\n" in PUBLIC
    assert len(servers) == len(re.findall(r"^    server ", HAPROXY, re.MULTILINE)) == 2
    for told in servers:
        assert told["environment"]["QUINTET_TRUSTED_PROXIES"] == "*"
        assert "ports" not in told


def test_secrets_have_no_default_and_are_all_drawn_once() -> None:
    used = set(re.findall(r"\$\{(\w+)", COMPOSE))
    secret = {name for name in used if re.search("SECRET|KEY|PASSWORD", name)}
    required = set(re.findall(r"\$\{(\w+):\?", COMPOSE))
    assert secret == required
    assert not re.findall(r"\$\{(\w*(?:SECRET|KEY|PASSWORD)\w*):?[-}]", COMPOSE)

    told = (ROOT / "deploy" / "env.sh").read_text()
    drawn = set(re.findall(r"^(\w+)=\$\(random\)$", told, re.MULTILINE))
    assert drawn == secret
    offered = set(re.findall(r"^(?:# )?([A-Z_]{6,})=", told, re.MULTILINE))
    also = set(re.findall(r"\bRING_\w+_PORT\b", told))
    assert offered | also == used


def test_containers_are_given_settings_that_exist() -> None:
    known = {name for name, _, _ in described()}
    given = set(re.findall(r"\bQUINTET_\w+", COMPOSE + DOCKERFILE))
    assert given <= known


def test_containers_run_commands_that_exist() -> None:
    commands = typer.main.get_command(app)
    words = [told["command"][0] for told in QUINTET.values() if "entrypoint" not in told
             and "command" in told]  # fmt: skip
    script = QUINTET["foundation"]["command"][0]
    words += re.findall(r"quintet (\w+)", script)
    assert {"aggregate", "train", "console", "simulate", "import", "pretrain"} <= set(words)
    assert set(words) <= set(commands.commands)  # type: ignore[attr-defined]


def test_two_of_a_kind_have_names_of_their_own() -> None:
    names = [told["environment"].get("QUINTET_MEMBER") for told in QUINTET.values()]
    given = [name for name in names if name]
    assert len(given) == len(set(given)) == 6


def test_images_are_made_of_every_room_and_of_extras_that_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    rooms = {
        name.rstrip("*") for name in project["tool"]["setuptools"]["packages"]["find"]["include"]
    }
    taken = (ROOT / ".dockerignore").read_text().split("\n")
    assert {f"!{room}" for room in rooms} <= set(taken)
    assert taken[1] == "*"

    extras = set(re.findall(r"--extra (\w+)", DOCKERFILE))
    assert extras == {"console", "simulator", "train"}
    assert extras <= set(project["project"]["optional-dependencies"])
    ring = DOCKERFILE.partition("FROM dependencies AS torch")[0]
    assert "--extra train" not in ring
    assert DOCKERFILE.count("--require-hashes") == 3
