"""Checks side by side, each with a deadline: a part that is away costs its own line, no more."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cli.doctor.findings import Finding, fail, warn


@dataclass(frozen=True, slots=True)
class Check:
    """One look at one thing.

    Attributes:
        area: what is looked at.
        look: gathers facts and judges them; it may block.
        remedy: what to do when it fails or takes too long.
        optional: what is looked at can be done without, so that it is a warning then.
    """

    area: str
    look: Callable[[], Sequence[Finding]]
    remedy: str
    optional: bool = False


def examine(checks: Sequence[Check], *, seconds: float) -> list[Finding]:
    """Return the findings of all checks, in their order, after `seconds` at the latest.

    A check that raises or takes longer is a finding itself. Its thread is left behind: it ends with
    the process.
    """
    answers: list[Sequence[Finding] | None] = [None] * len(checks)

    def look(place: int, check: Check) -> None:
        try:
            answers[place] = check.look()
        except Exception as problem:  # noqa: BLE001 - told as a finding; the others are told too
            said = str(problem) or type(problem).__name__
            answers[place] = [_refused(check, said)]

    threads = [
        threading.Thread(target=look, args=(place, check), name=check.area, daemon=True)
        for place, check in enumerate(checks)
    ]
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [
        finding
        for check, answer in zip(checks, answers, strict=True)
        for finding in ([_silent(check, seconds)] if answer is None else answer)
    ]


def _silent(check: Check, seconds: float) -> Finding:
    return _refused(check, f"no answer within {seconds:.0f} s")


def _refused(check: Check, said: str) -> Finding:
    return (warn if check.optional else fail)(check.area, said, check.remedy)
