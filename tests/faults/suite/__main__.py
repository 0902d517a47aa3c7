"""`python -m tests.faults.suite`: every fault, one table, exit status 1 when any is red.

Where `CI` is set one that could not be played fails too. A red finding is kept with its seed;
`--replay FILE` plays it again.
"""

import argparse
import logging
import os
import resource
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
import structlog
from rich.console import Console

from tests.faults.suite import NAMES, TITLES
from tests.faults.suite.finding import Finding
from tests.faults.suite.play import play
from tests.faults.suite.table import show

KEPT = Path("quintet-data") / "faults"
AGREEING = 2
"""So many times, of three at most, decide about one that was slow."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Play, print, keep what is red; return the exit status."""
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--only", help="names, comma-separated: F1,F6")
    parser.add_argument("--seed", type=int, default=1, help="decides shoppers and moments")
    parser.add_argument("--replay", type=Path, help="a finding kept by an earlier run")
    parser.add_argument("--short", action="store_true", help="fewer repetitions")
    options = parser.parse_args(arguments)
    names, seed = options.only.split(",") if options.only else NAMES, options.seed
    long = not options.short
    if options.replay:
        kept = msgspec.json.decode(options.replay.read_bytes(), type=Finding)
        names, seed, long = [kept.fault], kept.seed, kept.long
    if unknown := [name for name in names if name not in NAMES]:
        parser.error(f"unknown: {', '.join(unknown)}; known are {', '.join(NAMES)}")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # for thousands of connections
    console = Console(stderr=True)
    findings = []
    for name in names:
        console.print(f"{name} {TITLES[name]} ...", markup=False)
        finding = played(name, seed=seed, long=long, console=console)
        findings.append(finding)
        console.print(f"{name} {finding.verdict} after {finding.seconds:.0f} s", markup=False)
    show(findings)
    failing = {"red", "not played"} if os.environ.get("CI") else {"red"}
    return int(any(finding.verdict in failing for finding in findings))


def played(name: str, *, seed: int, long: bool, console: Console) -> Finding:
    """Return what a fault came to; of one that was slow and nothing else two times of three decide.

    A machine that others share may be half as fast from one moment to the next. What is lost,
    doubled or wrong is never played again, and which times were missed is told.
    """
    missed: list[str] = []
    fine = 0
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"quintet-{name}-"))
        finding = play(name, seed=seed, folder=folder, long=long)
        finding.told += missed
        fine += not finding.slow
        slow = len(missed) + bool(finding.slow)
        if finding.wrong or not slow or AGREEING in {fine, slow}:
            _keep(finding, folder)
            return finding
        shutil.rmtree(folder, ignore_errors=True)
        if finding.slow:
            missed.append(f"was slow once: {', '.join(finding.slow)}")
        console.print(f"{name} {missed[0]}; played again", markup=False)


def _keep(finding: Finding, folder: Path) -> None:
    """Keep a red finding, with its ledger and what the ring said; forget everything else."""
    if finding.verdict == "red":
        KEPT.mkdir(parents=True, exist_ok=True)
        name = f"{finding.fault}-{finding.seed}"
        (KEPT / f"{name}.json").write_bytes(msgspec.json.format(msgspec.json.encode(finding)))
        for source in ("ledger.jsonl", "ring/said.txt", "traceback.txt"):
            if (folder / source).exists():
                shutil.copy(folder / source, KEPT / f"{name}.{Path(source).name}")
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    sys.exit(main())
