"""A short form of the suite that `make faults` plays in full."""

import subprocess
import sys
from io import StringIO
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from tests.faults.suite import NAMES
from tests.faults.suite.finding import Finding
from tests.faults.suite.play import play
from tests.faults.suite.table import show
from tests.servers import REPOSITORY


@pytest.mark.timeout(600)
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


def test_a_finding_is_replayed_by_its_file_and_an_unknown_fault_is_refused(tmp_path: Path) -> None:
    kept = tmp_path / "F99-7.json"
    kept.write_bytes(msgspec.json.encode(Finding(fault="F99", seed=7)))

    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.suite", "--replay", str(kept)],
        cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip

    assert done.returncode == 2
    assert "unknown: F99; known are F1, F2" in done.stderr
