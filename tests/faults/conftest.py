"""One demo whose processes are killed one after the other, for all tests that look at its log."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest

from tests.ring_checks import Told, read
from tests.rings import Ring, Shown, demo, read_report

BANNERS = 2_500
WINDOW_SECONDS = 8
"""So short that some of what shoppers do comes too late, the more so when a process was killed."""
KILLED_AT = {"serve": 400, "aggregate": 900, "train": 1_400, "console": 1_900}
"""Banners in the log before each process is killed."""


@dataclass(frozen=True)
class KilledRing:
    """A demo that ended, though each of its processes was killed once."""

    ring: Ring
    status: int
    report: dict[str, Any]
    told: Told


@pytest.fixture(scope="session")
def killed_ring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KilledRing]:
    ring = Ring(tmp_path_factory.mktemp("killed"), attribution_window_seconds=str(WINDOW_SECONDS))
    report = ring.folder / "report.json"
    try:
        ring.start(*demo(banners=BANNERS, report=report))
        with closing(ring.log()) as log, closing(Shown(log)) as shown:
            for name, banners in KILLED_AT.items():
                shown.reach(banners)
                ring.restarted(name, killed=ring.kill(name))
            status = ring.wait(150)
            told = read(log)
        yield KilledRing(ring, status, dict(read_report(report)), told)
    finally:
        ring.end()
