"""Freshness of a whole ring under load: the demo's own report."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import msgspec

from load.errors import ProcessFailed
from load.processes import free_port

BANNERS: Final = 6_000
RATE: Final = 200
_LIMIT_SECONDS: Final = 420


def freshness(folder: Path) -> tuple[float, float]:
    """Return p50 and p99 of event accepted to weights serving, in seconds.

    Raises:
        ProcessFailed: the demo failed or reported no freshness.
    """
    folder.mkdir(parents=True, exist_ok=True)
    report = folder / "report.json"
    command = [
        sys.executable, "-m", "cli.main", "demo", "--world", "synthetic", "--headless",
        "--banners", str(BANNERS), "--rate", str(RATE), "--report", str(report),
        "--data-dir", str(folder / "data"),
        "--port", str(free_port()), "--console-port", str(free_port()),
    ]  # fmt: skip
    done = subprocess.run(  # noqa: S603 - our own command
        command, capture_output=True, text=True, check=False, timeout=_LIMIT_SECONDS
    )
    if done.returncode != 0 or not report.exists():
        raise ProcessFailed(f"the demo failed:\n{done.stderr[-1000:]}")
    found = msgspec.json.decode(report.read_bytes())["freshness_seconds"]
    if found["p50"] is None:
        raise ProcessFailed("the demo reported no freshness")
    return float(found["p50"]), float(found["p99"])
