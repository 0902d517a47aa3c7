"""Every promise of SECURITY.md names a test, and the tests are there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_test_that_security_names_exists():
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "SECURITY.md").read_text()))
    there = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.M)
    }

    assert len(named) > 15
    assert not named - there


def test_every_threat_names_its_test():
    threats = (ROOT / "SECURITY.md").read_text().partition("## Threats")[2].partition("## What")[0]
    rows = [line for line in threats.splitlines() if line.startswith("| ")][1:]

    assert len(rows) > 10
    assert not [row for row in rows if "`test_" not in row]
