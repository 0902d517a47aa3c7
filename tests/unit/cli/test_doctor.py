"""What the doctor makes of facts, and that it answers in time whatever is away."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cli.clock import now_ms
from cli.doctor import gathering, machine, parts, turning
from cli.doctor.configuration import judge_settings
from cli.doctor.findings import Finding, ok
from cli.doctor.running import Check, examine
from cli.process_file import described, path_of
from cli.settings import Settings
from cli.wiring import open_log, open_registry
from console.audit import Counts
from schemas import identity
from schemas.codec import encode
from schemas.events import Recommended
from schemas.policies import Live
from streams.dead_letters import bury
from streams.port import Message, Partition, Record
from tests.policies import weights_of
from tests.servers import REPOSITORY, free_ports

NOW = 1_800_000_000_000
KEY = "a key of more than twenty characters"
LONG_SECRET = "0123456789abcdef0123456789abcdef"


def of_settings(scopes: Mapping[str, frozenset[str]] | str = (), **given: Any) -> list[Finding]:  # type: ignore[assignment]
    settings = Settings(_env_file=None, **given)  # type: ignore[call-arg]
    return judge_settings(settings, (), scopes or {})


def failed(findings: list[Finding]) -> list[str]:
    return [finding.found for finding in findings if finding.status == "fail"]


def warned(findings: list[Finding]) -> list[str]:
    return [finding.found for finding in findings if finding.status == "warn"]


def test_ordinary_settings_are_fine() -> None:
    (finding,) = of_settings()

    assert finding.status == "ok"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"host": "0.0.0.0"}, "no API keys"),
        ({"scopes": "QUINTET_API_KEYS: no scope"}, "no scope"),
        ({"scopes": {KEY: frozenset({"events:browser", "events:server"})}}, "events:browser"),
        ({"scopes": {KEY: frozenset({"events:browser", "operate"})}}, "events:browser"),
        ({"control_share": 1.0}, "nothing is ever learned"),
        ({"retention_days": 0.5}, "kept for 0.5 days"),
        ({"settlement_seconds": 90, "attribution_window_seconds": 60}, "only when its"),
        ({"port": 8081}, "share port 8081"),
        ({"streams": "kafka", "secret": LONG_SECRET, "kafka_security_protocol": "SASL_SSL"},
         "needs a user and a password"),
        ({"streams": "kafka", "kafka_ca_file": "nowhere.pem"}, "is no file"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,  # no order of a set's members
)  # fmt: skip
def test_what_is_not_safe_or_cannot_work_fails(given: dict[str, Any], says: str) -> None:
    assert any(says in found for found in failed(of_settings(**given)))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"secret": "sixteen letters!"}, "can be guessed"),
        ({"secret": "ab" * 32}, "2 different ones"),
        ({"scopes": {"short": frozenset({"recommend"})}}, "can be guessed"),
        ({"streams": "kafka"}, "QUINTET_SECRET is not set"),
        ({"streams": "kafka", "kafka_bootstrap_servers": "broker:9092"}, "without encryption"),
        ({"streams": "kafka", "kafka_bootstrap_servers": "broker:9092"}, "one replica"),
        ({"streams": "kafka"}, "histories in a file"),
        ({"history": "redis", "redis_url": "redis://:word@cache:6379/0"}, "without encryption"),
        ({"cors_origins": "https://shop.example, *"}, "every site"),
        ({"control_share": 0.0}, "nobody can tell"),
    ],
    ids=str,
)
def test_what_is_worth_a_look_is_a_warning(given: dict[str, Any], says: str) -> None:
    findings = of_settings(**given)

    assert not failed(findings)
    assert any(says in found for found in warned(findings))
    assert not any("sixteen" in found or ":word@" in found for found in warned(findings))


def test_closed_wires_and_good_secrets_are_fine() -> None:
    findings = of_settings(
        {KEY: frozenset({"recommend", "events:browser"})},
        host="0.0.0.0", secret=LONG_SECRET, streams="kafka", history="redis",
        kafka_bootstrap_servers="broker:9092", kafka_replication=3,
        kafka_security_protocol="SSL", redis_url="rediss://cache:6379/0",
    )  # fmt: skip

    assert [finding.status for finding in findings] == ["ok"]


def test_a_name_that_is_no_setting_is_named_with_what_was_meant() -> None:
    settings = Settings(_env_file=None)  # type: ignore[call-arg]

    (finding,) = judge_settings(settings, {"QUINTET_CONTROL_SHARES", "QUINTET_PORT"}, {})

    assert "QUINTET_CONTROL_SHARES" in finding.found
    assert finding.remedy == "did you mean QUINTET_CONTROL_SHARE?"


@pytest.mark.parametrize(
    ("changes", "statuses"),
    [
        ({}, ["ok"]),
        ({"exists": False}, ["warn"]),
        ({"unwritable": "read-only file system"}, ["fail"]),
        ({"free_bytes": 10_000_000}, ["fail"]),
        ({"free_bytes": 2_000_000_000}, ["warn"]),
        ({"free_bytes": 9_000_000_000, "log_bytes": 80_000_000_000}, ["warn"]),
        ({"secret_mode": 0o600, "secret_bytes": 64}, ["ok"]),
        ({"secret_mode": 0o644, "secret_bytes": 64}, ["fail"]),
        ({"secret_mode": 0o600, "secret_bytes": 3}, ["fail"]),
        ({"secret_mode": 0o644, "secret_bytes": 3, "secret_given": True}, ["ok"]),
    ],
    ids=str,
)
def test_the_data_directory(changes: dict[str, Any], statuses: list[str]) -> None:
    place = machine.Place(**{"path": "d", "exists": True, "free_bytes": 10**11, **changes})

    assert [finding.status for finding in machine.judge_place(place)] == statuses


@pytest.mark.parametrize(
    ("ahead_ms", "status"), [(-5, "ok"), (1_000, "ok"), (60_000, "warn"), (3_600_000, "fail")]
)
def test_a_clock_that_is_behind_what_was_written_down(ahead_ms: int, status: str) -> None:
    assert machine.judge_clock(NOW, {"topic events": NOW + ahead_ms}).status == status


def test_a_clock_that_shows_the_last_century() -> None:
    assert machine.judge_clock(0, {}).status == "fail"


def live(**changes: Any) -> Live:
    return Live(**{"version": 9, "foundation": 1, "changed_at_ms": NOW, "reason": "r", **changes})


@pytest.mark.parametrize(
    ("facts", "statuses"),
    [
        (parts.RegistryFacts(live=None), ["warn"]),
        (parts.RegistryFacts(live=None, pointer_problem="not JSON"), ["fail"]),
        (parts.RegistryFacts(live=live(), damaged={9: "", 1: ""}), ["ok"]),
        (parts.RegistryFacts(live=live(), damaged={9: "digest", 1: ""}), ["fail"]),
        (parts.RegistryFacts(live=live(), damaged={9: "", 1: "digest"}), ["warn"]),
        (parts.RegistryFacts(live=live(hold=True), damaged={9: ""}), ["warn"]),
    ],
    ids=str,
)
def test_the_registry(facts: parts.RegistryFacts, statuses: list[str]) -> None:
    assert [finding.status for finding in parts.judge_registry(facts, NOW)] == statuses


def process(name: str, *, up: bool = True, answers: bool = True) -> parts.ProcessFacts:
    return parts.ProcessFacts(name, up=up, answers=answers)


def test_a_ring_that_lacks_a_process_fails_where_it_is_alone() -> None:
    everyone = [process(name, up=name != "train") for name in parts.RING]

    (finding,) = parts.judge_processes(everyone, alone=True)

    assert finding.status == "fail"
    assert "train is not up: learning stands still" in finding.found
    assert [f.status for f in parts.judge_processes(everyone, alone=False)] == ["ok"]


def test_a_process_whose_metrics_do_not_answer_fails() -> None:
    findings = parts.judge_processes([process("aggregate", answers=False)], alone=False)

    assert [finding.status for finding in findings] == ["fail"]


def test_processes_of_other_hosts_are_not_looked_at_and_the_doctor_says_so(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path)  # type: ignore[call-arg]
    own = path_of(tmp_path, "train")
    with described(own, target="127.0.0.1:9", job="train"):
        other = path_of(tmp_path, "aggregate-2")
        told = json.loads(own.read_text().replace('"train"', '"aggregate"'))
        told[0]["labels"]["__meta_quintet_host"] = "container-2"
        other.write_text(json.dumps(told))

        found = {one.name: one for one in gathering.processes(settings)}
        elsewhere = gathering.elsewhere(settings)

    assert (found["train"].up, found["train"].answers) == (True, False)
    assert not found["aggregate"].up
    assert elsewhere == ["aggregate-2 on container-2"]
    *_, said = parts.judge_processes([*found.values()], alone=False, elsewhere=elsewhere)
    assert said.status == "ok"
    assert said.found == "not looked at, for they are on other machines: aggregate-2 on container-2"


def test_a_ring_that_does_not_run_is_no_fault() -> None:
    findings = parts.judge_processes([process("serve", up=False)], alone=True)

    assert [finding.status for finding in findings] == ["warn"]


TURNING: dict[str, Any] = {
    "now_ms": NOW, "banner_ms": NOW - 100, "due_ms": NOW - 40_000, "reward_ms": NOW - 900,
    "update_ms": NOW - 3_000, "live_version": 9, "live_ms": NOW - 3_000, "served_version": 9,
    "served_ms": NOW - 2_900, "lag": 3, "counts": Counts(expected=50), "serving": True,
}  # fmt: skip


def judged(**changes: Any) -> dict[str, Finding]:
    found = turning.judge_ring(turning.RingFacts(**(TURNING | changes)))
    return {finding.area: finding for finding in found if finding.status != "ok"}


def test_a_ring_that_turns_is_fine() -> None:
    assert judged() == {}


@pytest.mark.parametrize(
    ("changes", "area", "status"),
    [
        ({"banner_ms": None, "due_ms": None}, "banners", "warn"),
        ({"reward_ms": NOW - 50_000}, "rewards", "fail"),
        ({"reward_ms": None}, "rewards", "fail"),
        ({"lag": 50_000}, "rewards", "warn"),
        ({"untrained": 5_000, "update_ms": NOW - 90_000}, "training", "fail"),
        ({"refused": True}, "training", "fail"),
        ({"live_version": None}, "serving", "warn"),
        ({"served_version": 8, "live_ms": NOW - 60_000}, "serving", "fail"),
        ({"rejected": "digest"}, "serving", "fail"),
        ({"counts": Counts(expected=50, lost=1)}, "exactly once", "fail"),
        ({"counts": Counts(expected=50, doubled=1)}, "exactly once", "fail"),
        ({"counts": Counts(expected=50, waiting=1)}, "exactly once", "warn"),
        ({"letters": {"not JSON": 2}}, "dead letters", "warn"),
    ],
    ids=str,
)
def test_each_link_that_does_not_turn_is_named_with_what_to_do(
    changes: dict[str, Any], area: str, status: str
) -> None:
    found = judged(**changes)

    assert list(found) == [area]
    assert found[area].status == status
    assert found[area].remedy


@pytest.mark.parametrize(
    "changes",
    [
        {"due_ms": None, "reward_ms": None},  # the first banners, not due so far
        {"untrained": 5_000},  # behind, but learning
        {"untrained": 200, "update_ms": NOW - 10**9},  # no traffic, not one batch
        {"served_version": 8},  # swapped this moment
        {"served_version": 8, "live_ms": NOW - 60_000, "serving": False},
        {"counts": None},
    ],
    ids=str,
)
def test_what_only_takes_its_time_is_no_fault(changes: dict[str, Any]) -> None:
    assert judged(**changes) == {}


def test_a_check_that_raises_or_hangs_costs_its_own_line_alone() -> None:
    hangs = threading.Event()

    def breaks() -> list[Finding]:
        raise OSError("disk on fire")

    started = time.monotonic()
    findings = examine(
        [
            Check("broken", breaks, "put it out"),
            Check("hanging", lambda: [ok("x", "y")] if hangs.wait(60) else [], "wake it"),
            Check("torch", lambda: [ok("x", "y")] if hangs.wait(60) else [], "", optional=True),
            Check("sound", lambda: [ok("sound", "all well")], ""),
        ],
        seconds=0.3,
    )
    hangs.set()

    assert time.monotonic() - started < 10
    assert [(each.area, each.status) for each in findings] == [
        ("broken", "fail"), ("hanging", "fail"), ("torch", "warn"), ("sound", "ok"),
    ]  # fmt: skip
    assert findings[0].found == "disk on fire"
    assert findings[1].found == "no answer within 0 s"


def doctor(data_dir: Path, *more: str, **environment: str) -> tuple[int, dict[str, Any], str]:
    """Run `quintet doctor --json`; return its status, the worst finding of each area, stderr."""
    port, console_port = free_ports(2)
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "doctor", "--json", "--quick",
         "--data-dir", str(data_dir), "--port", str(port),
         "--console-port", str(console_port), *more],
        capture_output=True, text=True, check=False, timeout=90, cwd=data_dir.parent,
        env={"PATH": "", "PYTHONPATH": str(REPOSITORY), **environment},
    )  # fmt: skip
    rank = {"ok": 0, "warn": 1, "fail": 2}
    findings = sorted(json.loads(done.stdout)["findings"], key=lambda one: rank[one["status"]])
    return done.returncode, {each["area"]: each for each in findings}, done.stderr


def filled(data_dir: Path) -> None:
    """Put a live policy, a banner that nobody rewarded and a dead letter into a data directory."""
    settings = Settings(_env_file=None, data_dir=data_dir)  # type: ignore[call-arg]
    registry = open_registry(settings)
    registry.publish_foundation(weights_of(8, seed=1), catalogue_version=8)
    registry.promote(1, reason="the foundation")
    key = b"8 bytes!"
    name = identity.recommendation_id(identity.ulid(now_ms(), bytes(10)), key)
    banner = Recommended(
        event_id=name, occurred_at_ms=now_ms(), recommendation_id=name, unit="u", arm="control",
        source="policy", trainable=False, policy_version=1, catalogue_version=8,
        product_ids=("p3",), rows=(3,), log_probs=(None,),
    )  # fmt: skip
    letter = bury(Record(Partition("events", 0), 7, 1, key, b"\xff"), "not JSON", "aggregate")
    log = open_log(settings, member="test")
    log.append("events", [Message(key, encode(banner))])
    log.append(letter.topic, [Message(letter.key, letter.value)])
    log.close()


def test_the_doctor_looks_at_everything_and_changes_nothing(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    filled(data_dir)
    before = {path: path.read_bytes() for path in data_dir.rglob("*.json")}

    status, found, _ = doctor(data_dir, QUINTET_CONTROL_SHAER=".2")

    assert status == 0, found
    assert set(found) == {
        "settings", "data directory", "clock", "ports", "log", "history",
        "registry", "processes", "banners", "rewards", "training", "serving", "exactly once",
        "dead letters",
    }  # fmt: skip
    assert found["settings"]["remedy"] == "did you mean QUINTET_CONTROL_SHARE?"
    assert found["registry"]["status"] == "ok"
    assert "recommended" in found["banners"]["found"]
    assert "not JSON" in found["dead letters"]["found"]
    assert {path: path.read_bytes() for path in data_dir.rglob("*.json")} == before
    assert not (data_dir / "secret").exists()
    assert not (data_dir / "history.db").exists()


def test_damaged_parts_fail_by_name_with_exit_status_1(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    filled(data_dir)
    weights = next(data_dir.rglob("weights.safetensors"))
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    (data_dir / "history.db").write_bytes(b"no database at all" * 100)
    (data_dir / "secret").write_text("x" * 64)
    (data_dir / "secret").chmod(0o644)

    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        status, found, said = doctor(data_dir, "--console-port", str(port))

    assert status == 1
    assert {area for area, each in found.items() if each["status"] == "fail"} == {
        "ports", "registry", "history", "secret",
    }  # fmt: skip
    assert "checks failed" in said
    assert all(each["remedy"] for each in found.values() if each["status"] == "fail")


def test_the_doctor_answers_in_time_where_kafka_and_redis_are_away(tmp_path: Path) -> None:
    """A refused port for Redis, and one that takes connections and never answers for Kafka."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = time.monotonic()
        status, found, _ = doctor(
            tmp_path / "data", "--seconds", "5", "--streams", "kafka", "--history", "redis",
            QUINTET_KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{silent.getsockname()[1]}",
            QUINTET_REDIS_URL=f"redis://127.0.0.1:{free_ports(1)[0]}/0",
        )  # fmt: skip

    assert time.monotonic() - started < 40
    assert status == 1
    assert found["log"]["status"] == found["history"]["status"] == "fail"
    assert found["data directory"]["status"] == "warn"


def test_settings_that_cannot_be_read_are_a_finding(tmp_path: Path) -> None:
    status, found, _ = doctor(tmp_path / "data", QUINTET_BATCH_BANNERS="many")

    assert status == 1
    assert found["settings"]["status"] == "fail"
    assert "QUINTET_BATCH_BANNERS" in found["settings"]["found"]
    assert set(found) == {"settings"}


def test_packages_are_imported_in_a_process_of_their_own() -> None:
    assert gathering.packages("json", "nowhere_to_be_found", seconds=60) == {
        "json": "=2.0.9",
        "nowhere_to_be_found": "ModuleNotFoundError: No module named 'nowhere_to_be_found'",
    }


@pytest.mark.parametrize(
    ("version", "said", "status"),
    [
        ((3, 11), {"numba": "=0.68.1"}, "ok"),
        ((3, 15), {"numba": "=0.68.1"}, "warn"),
        ((3, 11), {"numba": "ImportError: no LLVM"}, "fail"),
    ],
    ids=str,
)
def test_python_and_what_serving_needs(
    version: tuple[int, int], said: dict[str, str], status: str
) -> None:
    assert [finding.status for finding in machine.judge_python(version, said)] == [status]


def test_without_torch_a_machine_can_serve() -> None:
    assert machine.judge_torch({"torch": "ModuleNotFoundError: torch"}).status == "warn"
    assert "H100" in machine.judge_torch({"torch": "=2.13", "cuda": "=NVIDIA H100"}).found
    assert "no CUDA" in machine.judge_torch({"torch": "=2.13", "cuda": "="}).found
