"""When the shoppers of `load.shoppers` come, and what became of their visits."""

import random
import time
from typing import Final

import msgspec

from load.traffic import Tally

SPAWNED_SECONDS: Final = 2.0
"""The first visit is due so long after the start."""
LAST_SECONDS: Final = 3.0
"""What is under way at the end has so long."""


class Phase(msgspec.Struct, frozen=True):
    """Some seconds at one rate."""

    seconds: float
    rate: float


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """What the shoppers are told.

    Attributes:
        url: of the service.
        phases: one after another.
        products, shoppers: so many there are, named as `load.shop` names them.
        browser_key, server_key: of the scopes; empty: none is sent.
        hot_share: of the visits are one shopper's.
        large_share: of the visits are large: long lists, or batches of 1,000 events.
        seed: equal seeds give equal visits.
        is_limit: more is asked than Locust can do; what it did not get round to is left out.
    """

    url: str
    phases: tuple[Phase, ...]
    products: int
    shoppers: int
    browser_key: str = ""
    server_key: str = ""
    hot_share: float = 0.0
    large_share: float = 0.0
    seed: int = 0
    is_limit: bool = False

    @property
    def seconds(self) -> float:
        """Return how long all phases take."""
        return sum(phase.seconds for phase in self.phases)

    def due(self, number: int) -> float | None:
        """Return when a visit comes, seconds since the start; None: there are no more.

        Example:
            >>> spec = Spec(url="", phases=(Phase(2, 1), Phase(1, 4)), products=1, shoppers=1)
            >>> [spec.due(number) for number in range(7)]
            [0.0, 1.0, 2.0, 2.25, 2.5, 2.75, None]
        """
        start = 0.0
        for phase in self.phases:
            visits = round(phase.seconds * phase.rate)
            if number < visits:
                return start + number / phase.rate
            number -= visits
            start += phase.seconds
        return None


class Shop:
    """What all shoppers of this process share: the schedule, and what became of their visits.

    Attributes:
        spec: the schedule.
        tally: of what has an outcome.
        visits: without an outcome: when each was made, seconds since the start, by when it was due;
            None: not yet.
        reports: the same by event.
        hot_taken: browser's events of the hot shopper that were accepted.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.tally = Tally()
        self.visits: dict[float, float | None] = {}
        self.reports: dict[str, float] = {}
        self.hot_taken = 0
        while (due := spec.due(len(self.visits))) is not None:
            self.visits[due] = None
        self.random = random.Random(spec.seed)  # noqa: S311 - no secret
        self.started = time.monotonic() + SPAWNED_SECONDS
        self.spent = time.process_time()
        self.left = 0
        self._next = 0

    def now(self) -> float:
        """Return seconds since the start."""
        return time.monotonic() - self.started

    def next_visit(self) -> float | None:
        """Return when the next visit is due; whoever asks makes it."""
        self._next += 1
        return self.spec.due(self._next - 1)

    def close(self) -> None:
        """Count as wrong what has no outcome by now; reports only where they had some seconds."""
        now = self.now()
        for due, sent in self.visits.items():
            self.tally.faults["no answer"] += 1
            made = now if sent is None else sent
            self.tally.add(due=due, sent=made, done=now, outcome="wrong")
        late = sum(now - sent > LAST_SECONDS for sent in self.reports.values())
        if late:
            self.tally.reported["no answer"] += late
