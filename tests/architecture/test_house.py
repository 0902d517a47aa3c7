import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from cli.settings import Settings

ROOT = Path(__file__).parents[2]
ROOMS = (
    "schemas", "streams", "policy", "projections", "service", "rewards", "trainer", "evidence",
    "console", "simulator", "evaluation", "cli", "load",
)  # fmt: skip
DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "SECURITY.md")


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).exists()]


def test_imports_go_down_only():
    linted = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")], cwd=ROOT, capture_output=True, text=True
    )

    assert linted.returncode == 0, linted.stdout


@pytest.mark.parametrize("module", ["service.wiring", "cli.main", "cli.commands.processes"])
def test_what_serves_and_what_helps_never_imports_torch(module: str):
    check = f"import sys, {module}; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT).returncode == 0


def test_no_module_holds_two_ideas():
    modules = [path for room in ROOMS for path in tracked(f"{room}/*.py")]
    long = [path for path in modules if len(path.read_text().splitlines()) > 400]

    assert not long


def test_rooms_and_modules_have_names_that_say_something():
    refused = re.compile(r"(^|_)(utils?|helpers?|common|core|base|misc|manager|processor)$")

    assert not [path for path in tracked("*.py") if refused.search(path.stem)]


def test_only_the_composition_root_reads_the_environment():
    reading = re.compile(r"os\.environ|os\.getenv|getenv\(")
    inside = [
        path for room in ROOMS if room not in {"cli", "load"} for path in tracked(f"{room}/*.py")
    ]

    assert not [path for path in inside if reading.search(path.read_text())]


def test_nothing_that_decides_a_reward_reads_the_history_store():
    deciding = [path for room in ("rewards", "trainer") for path in tracked(f"{room}/*.py")]
    kept_elsewhere = re.compile(r"^\s*(from|import) (redis|projections\.history)", re.M)

    assert deciding
    assert not [path for path in deciding if kept_elsewhere.search(path.read_text())]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str):
    targets = re.findall(r"\]\(([^)#]+)", (ROOT / document).read_text())

    assert not [
        target for target in targets if "://" not in target and not (ROOT / target).exists()
    ]


def test_the_readme_names_commands_that_exist():
    text = (ROOT / "README.md").read_text()
    made = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    helped = subprocess.run(
        [sys.executable, "-m", "cli.main", "--help"], cwd=ROOT, capture_output=True, text=True
    ).stdout

    assert set(re.findall(r"\bmake ([a-z]+)", text)) <= made
    for command in set(re.findall(r"\bquintet ([a-z][a-z-]+)\b", text)):
        assert re.search(rf"\b{command}\b", helped), command


@pytest.mark.parametrize(
    "name",
    [
        "data_dir", "host", "port", "console_port", "workers", "metrics_port", "secret", "api_keys",
        "cors_origins", "streams", "kafka_bootstrap_servers", "history", "redis_url",
        "control_share", "arm_period_seconds", "settlement_seconds", "attribution_window_seconds",
        "lateness_seconds", "retention_days", "batch_banners", "seed", "log_level",
    ],
)  # fmt: skip
def test_the_settings_people_script_against_stay(name: str):
    assert name in Settings.model_fields


def test_version_and_changelog_agree():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text()

    assert "## Unreleased" in changelog
    assert f"## {version}" in changelog or not re.search(r"^## \d", changelog, re.M)


def test_no_weights_are_committed():
    assert not tracked("*.safetensors", "*.npz", "*.pt", "*.pkl", "*.parquet", "*.db")


def test_the_order_of_a_commit_is_the_same_in_the_code_and_in_the_architecture():
    told = ast.get_docstring(ast.parse((ROOT / "rewards/aggregator.py").read_text()), clean=False)
    steps = re.findall(r"^    \d\. .*$", told or "", re.MULTILINE)

    assert [step.split()[1] for step in steps] == [
        "poll", "fold", "produce", "offsets", "commit", "copy",
    ]  # fmt: skip
    fence = "```\n" + "\n".join(steps) + "\n```"
    assert fence in (ROOT / "ARCHITECTURE.md").read_text()
