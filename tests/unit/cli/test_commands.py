"""The commands as people and scripts call them: exit status, standard output, standard error."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from cli import main as quintet
from cli.commands import processes
from cli.settings import Settings
from tests.unit.cli.called import Call


def test_help_is_quick_because_it_loads_nothing_heavy() -> None:
    script = (
        "import sys; from cli import main; sys.argv = ['quintet', '--help']\n"
        "try: main.main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'numba', 'kafka', 'redis', 'fastapi', 'pyarrow', 'scipy',"
        " 'plotly', 'pandas', 'gymnasium'} & set(sys.modules)), len(sys.modules), file=sys.stderr)"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    heavy, _, modules = done.stderr.rpartition("] ")
    assert heavy == "["
    assert int(modules) < 900


def test_every_command_says_what_it_does() -> None:
    def commands(group: Any, name: str) -> dict[str, Any]:
        if not hasattr(group, "commands"):
            return {name: group}
        found: dict[str, Any] = {}
        for each, command in group.commands.items():
            found |= commands(command, f"{name} {each}")
        return found

    found = commands(typer.main.get_command(quintet.app), "quintet")

    assert set(found) == {
        f"quintet {name}"
        for name in (
            "demo", "import", "export", "pretrain", "serve", "aggregate", "train", "console", "run",
            "simulate", "learn", "explain", "doctor", "backup", "restore",
            "settings", "policies list", "policies show",
            "policies promote", "policies rollback", "policies resume", "dead-letters list",
            "dead-letters show", "dead-letters replay", "topics list", "topics apply",
        )
    }  # fmt: skip
    for name, command in found.items():
        assert command.help, name
        own = [p for p in command.params if not p.hidden and p.param_type_name == "option"]
        assert all(option.help for option in own), name


def test_the_version_is_printed(call: Call) -> None:
    done = call("--version")

    assert done.status == 0
    assert done.out.startswith("quintet 0.")


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["import", "--nonsense"],
        ["policies", "show", "one"],
        ["learn", "--seeds", "x"],
        ["learn", "--rivals", "policy,nobody"],
        ["learn", "--rivals", "policy:patience=1"],
        ["learn", "--knobs", "gravity=1"],
        ["learn", "--knobs", "bots=2"],
        ["learn", "--world", "grocer", "--knobs", "bots=.1"],
        ["learn", "--musts", "--parts", "everything"],
        ["learn", "--strict"],
        ["learn", "--seeds", ""],
        ["learn", "--compare", "nowhere.json"],
    ],
)
def test_what_is_no_command_line_exits_2(call: Call, arguments: list[str]) -> None:
    done = call(*arguments)

    assert done.status == 2
    assert done.out == ""
    assert done.err != ""


@pytest.mark.parametrize("command", ["serve", "aggregate", "train", "console"])
def test_nothing_listens_beyond_loopback_without_keys_whatever_the_command(
    call: Call, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def begun(*_: object, **__: object) -> None:
        raise AssertionError("it has begun")

    monkeypatch.setattr(processes, "configure_logs", begun)

    done = call(command, "--host", "0.0.0.0")

    assert done.status == 2
    assert "set QUINTET_API_KEYS, or listen on 127.0.0.1" in done.err


def test_nothing_but_json_stands_on_standard_output_where_things_are_logged(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "dead-letters", "list", "--json",
         "--data-dir", str(tmp_path / "data"), "--log-level", "debug"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert json.loads(done.stdout)["dead_letters"] == []
    assert "group_owned" in done.stderr


def test_settings_are_told_with_their_meaning_and_secrets_are_not(call: Call) -> None:
    secret, keys = "0123456789abcdef0123", "sesame:recommend"

    for format_flag in ([], ["--json"]):
        done = call("settings", "--secret", secret, "--api-keys", keys, *format_flag)
        assert done.status == 0
        assert secret not in done.out + done.err
        assert "sesame" not in done.out + done.err

    rows = {row["setting"]: row for row in done.json["settings"]}
    assert set(rows) == {f"QUINTET_{name.upper()}" for name in Settings.model_fields}
    assert rows["QUINTET_SECRET"]["value"].strip("*") == ""
    assert all(row["meaning"] for row in rows.values())


def test_on_the_local_log_topics_need_nothing_and_the_commands_say_so(call: Call) -> None:
    applied, listed = call("topics", "apply", "--json"), call("topics", "list")

    assert (applied.status, listed.status) == (0, 0)
    assert applied.json["streams"] == "local"
    assert {"events", "rewards"} <= {topic["name"] for topic in applied.json["topics"]}
    assert "nothing to do" in listed.out
