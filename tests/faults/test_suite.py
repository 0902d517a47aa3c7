"""A short form of the suite that `make faults` plays in full."""

import copy
import socket
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from tests.faults.suite import NAMES
from tests.faults.suite.__main__ import main, played
from tests.faults.suite.finding import Finding
from tests.faults.suite.ledger import Ledger
from tests.faults.suite.load import Load
from tests.faults.suite.play import play
from tests.faults.suite.table import show
from tests.servers import REPOSITORY


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", ["F4"])
def test_the_ring_survives_a_fault_in_its_short_form(name: str, tmp_path: Path) -> None:
    finding = play(name, seed=3, folder=tmp_path / name, long=False)

    assert finding.verdict == "green", finding.wrong
    assert finding.banners > 100
    assert finding.events > 100


def test_the_table_has_a_row_for_every_fault_and_says_why_one_is_red() -> None:
    said = StringIO()
    findings = [Finding(fault=name, seed=1) for name in NAMES]
    findings[0].wrong.append("a banner lost something")

    show(findings, console=Console(file=said, width=140))

    assert all(f" {name} " in said.getvalue() for name in NAMES)
    assert said.getvalue().count("red") == 1
    assert f"{NAMES[0]}: a banner lost something" in said.getvalue()


@pytest.mark.parametrize(
    ("findings", "plays", "verdict"),
    [
        ([{}], 1, "green"),
        ([{"slow": ["p99"]}, {}, {}], 3, "green"),
        ([{"slow": ["p99"]}, {}, {"slow": ["p99"]}], 3, "red"),
        ([{"slow": ["p99"]}] * 2, 2, "red"),
        ([{"slow": ["p99"]}, {"wrong": ["lost"]}], 2, "red"),
        ([{"slow": ["p99"], "wrong": ["lost"]}], 1, "red"),
    ],
)
def test_only_what_was_slow_and_nothing_else_is_played_again(
    findings: list[dict[str, list[str]]],
    plays: int,
    verdict: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    folders: list[Path] = []

    def as_told(name: str, *, seed: int, folder: Path, long: bool) -> Finding:
        folders.append(folder)
        given: Any = copy.deepcopy(findings[len(folders) - 1])
        return Finding(fault=name, seed=seed, long=long, **given)

    monkeypatch.setattr("tests.faults.suite.__main__.play", as_told)
    monkeypatch.chdir(tmp_path)

    found = played("F4", seed=1, long=True, console=Console(file=StringIO()))

    assert (len(folders), found.verdict) == (plays, verdict)
    assert len([each for each in found.told if "p99" in each]) == (plays > 1)
    assert (tmp_path / "quintet-data" / "faults" / "F4-1.json").exists() == (verdict == "red")
    assert not any(folder.exists() for folder in folders)


@pytest.mark.parametrize(("ci", "status"), [("", 0), ("true", 1)])
def test_what_cannot_be_played_is_said_and_fails_where_ci_is_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ci: str, status: int
) -> None:
    def nothing_installed(*_: object) -> None:
        pytest.skip("not installed: java")

    monkeypatch.setattr("tests.faults.suite.play.missing_parts", lambda _: ())
    monkeypatch.setattr("tests.faults.suite.play.new_kafka_broker", nothing_installed)
    monkeypatch.setenv("CI", ci)
    monkeypatch.chdir(tmp_path)

    try:
        finding = play("F6", seed=3, folder=tmp_path / "F6", long=False)
    except pytest.skip.Exception:
        pytest.fail("the other faults are not played either")

    assert (finding.verdict, finding.skipped) == ("not played", "not installed: java")
    assert main(["--only", "F6", "--short"]) == status


@pytest.mark.parametrize("long", [True, False])
def test_a_finding_is_replayed_in_the_form_in_which_it_was_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, long: bool
) -> None:
    played = []

    def play_red(name: str, *, seed: int, folder: Path, long: bool) -> Finding:
        played.append((name, seed, long))
        return Finding(fault=name, seed=seed, long=long, wrong=["red"])

    monkeypatch.setattr("tests.faults.suite.__main__.play", play_red)
    monkeypatch.chdir(tmp_path)

    main(["--only", "F6", "--seed", "7", *([] if long else ["--short"])])
    main(["--replay", "quintet-data/faults/F6-7.json"])

    assert played == [("F6", 7, long)] * 2


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """Somebody who listens and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def load_on(silent: socket.socket, folder: Path, *, rate: float) -> Load:
    url = f"http://127.0.0.1:{silent.getsockname()[1]}"
    return Load(url, Ledger(folder / "ledger"), frozenset({"a"}), 1, rate=rate)


def test_what_the_shoppers_died_of_is_told_when_they_are_stopped(
    silent: socket.socket, tmp_path: Path
) -> None:
    load = load_on(silent, tmp_path, rate=0.0)
    load.start()
    silent.close()

    with pytest.raises(ExceptionGroup) as raised:
        load.stop()

    load.ledger.close()
    assert raised.group_contains(ZeroDivisionError)


@pytest.mark.timeout(10)
def test_shoppers_who_wait_for_an_answer_leave_at_once(
    silent: socket.socket, tmp_path: Path
) -> None:
    load = load_on(silent, tmp_path, rate=40.0)
    load.start()
    waiting, _ = silent.accept()

    load.leave()

    waiting.close()
    load.ledger.close()
    assert not load.is_there()


def test_a_finding_is_replayed_by_its_file_and_an_unknown_fault_is_refused(tmp_path: Path) -> None:
    kept = tmp_path / "F99-7.json"
    kept.write_bytes(msgspec.json.encode(Finding(fault="F99", seed=7)))

    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.suite", "--replay", str(kept)],
        cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip

    assert done.returncode == 2
    assert "unknown: F99; known are F1, F2" in done.stderr
