"""A process that aggregates a local log until nothing is left, or kills itself at a named point.

Arguments: the log's file, the point (or `never`), and at which passing of it.
"""

import os
import signal
import sys
from pathlib import Path

from rewards.aggregator import Aggregator, Pace
from rewards.specification import RewardSpecification
from streams.local import LocalLog

NOW_MS = 1_750_000_100_000


def main(path, point, passing):
    passed = 0

    def crash_point(here):
        nonlocal passed
        if here == point:
            passed += 1
            if passed == int(passing):
                os.kill(os.getpid(), signal.SIGKILL)

    running = Aggregator(
        LocalLog(Path(path), clock=lambda: NOW_MS),
        RewardSpecification(),
        clock=lambda: NOW_MS,
        crash_point=crash_point,
        pace=Pace(poll_seconds=0.05, poll_records=20, commit_records=20, silence_ms=1 << 60),
    )
    quiet = 0
    while quiet < 2:
        quiet = 0 if running.step() else quiet + 1
    running.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
