"""What became of requests that were due at set times, second by second.

Every request has a moment at which it was due, whatever the service made of those before it. Its
latency counts from that moment and not from when a busy client got round to sending it: otherwise
a service that stands still would slow down the very requests that should tell of it (coordinated
omission).
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Final, Literal

import msgspec
import numpy as np

Outcome = Literal["good", "shed", "wrong"]
"""`good`: the right answer in time; `shed`: the declared 503; `wrong`: anything else."""
CAPPED: Final = "over the hot shopper's cap"
"""Becomes of her events that are more than one shopper may send: as it should be."""
GRACE_SECONDS: Final = 0.05
"""A client that sends so late, at p99, is at its own limit: it offered less than it was told to."""


class Second(msgspec.Struct, frozen=True):
    """One second of a scenario, by when requests were due.

    Attributes:
        offered: requests due.
        good, shed, wrong: what became of them.
        p50_ms, p99_ms: latency of the good ones; 0 where there are none.
    """

    offered: int
    good: int
    shed: int
    wrong: int
    p50_ms: float
    p99_ms: float


class Played(msgspec.Struct, frozen=True):
    """What a client measured.

    Attributes:
        seconds: one by one.
        p50_ms, p99_ms: latency of all good answers, from when they were due.
        late_ms: p99 of how long after it was due the client came to a request.
        cpu_share: of one core, that the client took.
        ended: seconds after the start at which the last answer came.
        faults: what was wrong, by how often.
        reported: events, by what became of them.
    """

    seconds: Sequence[Second]
    p50_ms: float
    p99_ms: float
    late_ms: float
    cpu_share: float
    ended: float = 0.0
    faults: dict[str, int] = {}
    reported: dict[str, int] = {}

    def total(self, what: Outcome | Literal["offered"]) -> int:
        """Return how many requests were offered, good, shed or wrong."""
        return sum(getattr(second, what) for second in self.seconds)

    def per_second(self, what: Outcome | Literal["offered"]) -> float:
        """Return the same a second."""
        return self.total(what) / max(len(self.seconds), 1)

    @property
    def kept_up(self) -> bool:
        """False: the client was at its own limit and offered less than it was told to."""
        return self.late_ms <= 1e3 * GRACE_SECONDS


class Tally:
    """Collects what became of requests.

    Example:
        >>> tally = Tally()
        >>> tally.add(due=0.2, sent=0.2, done=0.21, outcome="good")
        >>> tally.add(due=1.1, sent=1.1, done=1.15, outcome="shed")
        >>> played = tally.played(seconds=2, cpu_share=0.1)
        >>> [(second.good, second.shed) for second in played.seconds], round(played.p99_ms)
        ([(1, 0), (0, 1)], 10)
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[int, str], int] = defaultdict(int)
        self._latencies: dict[int, list[float]] = defaultdict(list)
        self._late: list[float] = []
        self._ended = 0.0
        self.faults: dict[str, int] = defaultdict(int)
        self.reported: dict[str, int] = defaultdict(int)

    def add(self, *, due: float, sent: float, done: float, outcome: Outcome) -> None:
        """Take one request; times in seconds since the start."""
        second = int(due)
        self._counts[second, outcome] += 1
        self._late.append(sent - due)
        self._ended = max(self._ended, done)
        if outcome == "good":
            self._latencies[second].append(done - due)

    def played(self, *, seconds: int, cpu_share: float) -> Played:
        """Return what came of `seconds` seconds."""
        every = [each for latencies in self._latencies.values() for each in latencies]
        return Played(
            seconds=[self._second(number) for number in range(seconds)],
            p50_ms=_milliseconds(every, 0.5),
            p99_ms=_milliseconds(every, 0.99),
            late_ms=_milliseconds(self._late, 0.99),
            cpu_share=cpu_share,
            ended=self._ended,
            faults=dict(self.faults),
            reported=dict(self.reported),
        )

    def _second(self, number: int) -> Second:
        good, shed, wrong = (self._counts[number, what] for what in ("good", "shed", "wrong"))
        latencies = self._latencies[number]
        return Second(
            good + shed + wrong, good, shed, wrong,
            _milliseconds(latencies, 0.5), _milliseconds(latencies, 0.99),
        )  # fmt: skip


def _milliseconds(seconds: Sequence[float], quantile: float) -> float:
    return 1e3 * float(np.quantile(seconds, quantile)) if len(seconds) else 0.0


def calm_after(seconds: Sequence[Second], *, p99_ms: float) -> int | None:
    """Return after how many seconds it was calm for good; None: it was not by the end.

    A second is calm when nothing is shed or wrong and p99 is at most `p99_ms`.

    Example:
        >>> rough, calm = Second(9, 5, 4, 0, 1.0, 90.0), Second(9, 9, 0, 0, 1.0, 9.0)
        >>> calm_after([rough, calm, rough, calm, calm], p99_ms=10.0)
        3
    """
    calm = [not (each.shed or each.wrong) and each.p99_ms <= p99_ms for each in seconds]
    if not calm or not calm[-1]:
        return None
    return len(calm) - calm[::-1].index(False) if False in calm else 0


def slope_per_minute(at_seconds: Sequence[float], values: Sequence[float]) -> float:
    """Return how much values grow in a minute, by least squares over the second half of them.

    What a process takes in while it warms up is no leak, so the first half does not count.

    Example:
        >>> round(slope_per_minute([0, 10, 20, 30, 40, 50], [0, 90, 100, 101, 102, 103]), 6)
        6.0
    """
    half = len(values) // 2
    if len(values) - half < 2:
        return 0.0
    return 60.0 * float(np.polyfit(at_seconds[half:], values[half:], 1)[0])
