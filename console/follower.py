"""Follows the log in a thread of its own and keeps the newest report ready to be read.

Requests read one immutable object; nothing is locked and nothing waits for the log.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog

from console.coverage import Coverage
from console.curve import Point
from console.experiment import Experiment, Report
from streams.errors import LogError
from streams.port import Consumer, Log, Partition
from streams.topics import EVENTS, POLICIES, REWARDS

log = structlog.get_logger(__name__)

TOPICS: Final = (EVENTS.name, REWARDS.name, POLICIES.name)
POLL_RECORDS: Final = 5000
POLL_SECONDS: Final = 0.5
RETRY_SECONDS: Final = 1.0


class View:
    """What the log said when it was last read; replaced, never changed.

    Attributes:
        report: the experiment.
        curve: the learning curve.
        caught_up: True once everything that was in the log at the start has been read.
        read_at_ms: when it was made.
        coverage: what the newest banners showed, by arm.
    """

    __slots__ = ("caught_up", "coverage", "curve", "read_at_ms", "report")

    def __init__(
        self,
        report: Report,
        curve: Sequence[Point],
        *,
        caught_up: bool,
        read_at_ms: int,
        coverage: Mapping[str, Coverage] | None = None,
    ) -> None:
        self.report, self.curve = report, curve
        self.caught_up, self.read_at_ms = caught_up, read_at_ms
        self.coverage = coverage or {}


class Follower:
    """The loop around the experiment.

    Args:
        log: the log; read from its start, by no group.
        experiment: made anew by `experiment()` whenever reading starts over.
        clock: milliseconds since 1970.
        refresh_ms: a new view is made at most this often while records come.
    """

    def __init__(
        self,
        log: Log,
        experiment: Callable[[], Experiment],
        *,
        clock: Callable[[], int],
        refresh_ms: int = 500,
    ) -> None:
        self._log, self._make, self._clock, self._refresh_ms = log, experiment, clock, refresh_ms
        self._experiment = experiment()
        self._consumer: Consumer | None = None
        self._ends: dict[Partition, int] = {}
        self._changed = True
        self.view = View(self._experiment.report(), (), caught_up=False, read_at_ms=0)

    def step(self) -> int:
        """Read what is there, renew the view when it is due; return how many records came.

        Raises:
            LogUnavailable: the log cannot be reached; the next step starts over.
        """
        try:
            consumer = self._consumer or self._open()
            records = consumer.poll(max_records=POLL_RECORDS, timeout_seconds=POLL_SECONDS)
        except LogError:
            self.close()
            raise
        for record in records:
            self._experiment.apply(record)
            if record.offset + 1 >= self._ends.get(record.partition, 0):
                self._ends.pop(record.partition, None)
        self._changed = self._changed or bool(records)
        self._renew()
        return len(records)

    def _open(self) -> Consumer:
        """Start over from the beginning of the log, so that nothing is counted twice."""
        starts = {p: o for topic in TOPICS for p, o in self._log.start_offsets(topic).items()}
        ends = {p: o for topic in TOPICS for p, o in self._log.end_offsets(topic).items()}
        self._ends = {p: end for p, end in ends.items() if end > starts[p]}
        self._experiment = self._make()
        self._consumer = self._log.consumer(TOPICS, group=None)
        return self._consumer

    def _renew(self) -> None:
        now, caught_up = self._clock(), not self._ends
        due = now - self.view.read_at_ms >= self._refresh_ms
        if self._changed and (due or caught_up != self.view.caught_up):
            report, curve = self._experiment.report(), self._experiment.curve.points()
            self.view = View(
                report,
                curve,
                caught_up=caught_up,
                read_at_ms=now,
                coverage=self._experiment.coverage(),
            )
            self._changed = False

    def run(self, stop: threading.Event) -> None:
        """Follow the log until `stop` is set; an unreachable log is tried again each second."""
        while not stop.is_set():
            try:
                self.step()
            except LogError as problem:
                log.warning("log_unavailable", reason=str(problem))
                stop.wait(RETRY_SECONDS)
        self.close()

    def close(self) -> None:
        """Give the log back."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None
