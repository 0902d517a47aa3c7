"""From the event loop to the log: a bounded queue and one thread that appends in groups.

Recommendations are offered and forgotten: the answer does not wait, a full queue drops and counts.
What somebody waits for (events, products, erasures) is appended at once, and its future says when
it is durable. Both leave in one append, so that a group costs one synchronisation to disk.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from service.errors import TryLater
from service.metrics import Metrics
from streams.errors import LogError
from streams.port import Log, Message

log = structlog.get_logger(__name__)
EVENTS_TOPIC: Final = "events"


class Writable(Protocol):
    """What can be made a message later, off the event loop."""

    def message(self) -> Message:
        """Return the message."""
        ...


@dataclass(frozen=True, slots=True)
class AppenderSettings:
    """How the appender groups and waits.

    Attributes:
        queue_records: recommendations kept while the log cannot take them.
        waiting_messages: messages that callers may wait for at once; more are refused.
        group_seconds: how long a recommendation waits for others to be appended with.
        group_messages: messages in one append at most, unless one caller brings more.
        retry_seconds: pause after an append that the log did not take.
    """

    queue_records: int = 50_000
    waiting_messages: int = 20_000
    group_seconds: float = 0.03
    group_messages: int = 4_000
    retry_seconds: float = 0.25


@dataclass(frozen=True, slots=True)
class _Waiting:
    topic: str
    messages: Sequence[Message]
    durable: "Future[None]"


class Appender:
    """One thread between the service and the log; `step` is its whole work, `start` only loops.

    Attributes:
        available: False from an append that the log did not take until one that it took.
    """

    def __init__(
        self,
        log: Log,
        *,
        metrics: Metrics,
        settings: AppenderSettings = AppenderSettings(),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.available = True
        self._log = log
        self._metrics = metrics
        self._settings = settings
        self._monotonic = monotonic
        self._offered: deque[Writable] = deque()
        self._unsent: deque[Message] = deque()
        self._under_way = 0
        self._waiting: deque[_Waiting] = deque()
        self._waiting_messages = 0
        self._counting = threading.Lock()
        self._wake, self._urgent = threading.Event(), threading.Event()
        self._idle = threading.Condition()
        self._busy = False
        self._stopping = False
        self._thread: threading.Thread | None = None
        metrics.queue.set_function(self.queued)
        metrics.log_away.set_function(lambda: float(not self.available))

    def queued(self) -> int:
        """Return how many recommendations are not in the log yet: they wait or are under way."""
        return len(self._offered) + len(self._unsent) + self._under_way

    def takes(self) -> bool:
        """Return False when a recommendation offered now may never reach the log."""
        return self.available and self.queued() < self._settings.queue_records

    def doubt(self) -> None:
        """Count the log as away, after somebody waited for it in vain, until it takes an append."""
        self.available = False

    def offer(self, record: Writable) -> bool:
        """Queue a recommendation; False: the queue is full and it was dropped."""
        if self.queued() >= self._settings.queue_records:
            self._metrics.dropped.inc()
            return False
        self._offered.append(record)
        if not self._wake.is_set():
            self._wake.set()
        return True

    def append(self, topic: str, messages: Sequence[Message]) -> "Future[None]":
        """Append messages; the future is done when they are durable.

        The future raises TryLater when the log did not take them or too many wait already: nothing
        is known to be durable then.
        """
        durable: Future[None] = Future()
        with self._counting:
            full = self._waiting_messages > self._settings.waiting_messages
            if not full:
                self._waiting_messages += len(messages)
        if self._stopping or full:
            durable.set_exception(TryLater("too many events wait for the log"))
            return durable
        self._waiting.append(_Waiting(topic, messages, durable))
        self._urgent.set()
        self._wake.set()
        return durable

    def step(self) -> bool:
        """Append what waits, one group; False: the log did not take it.

        Recommendations go first, so that in the log a banner stands before what names it.
        """
        waiting = self._take_waiting()
        groups: dict[str, list[Message]] = {EVENTS_TOPIC: self._take_offered()}
        recommended = len(groups[EVENTS_TOPIC])
        for one in waiting:
            groups.setdefault(one.topic, []).extend(one.messages)
        refused: dict[str, Exception] = {}
        for topic, messages in groups.items():
            try:
                if messages:
                    self._log.append(topic, messages)
            except LogError as problem:
                refused[topic] = problem
            except Exception as problem:
                # The thread must outlive a bug in an adapter; callers get their 503.
                log.exception("append_failed", topic=topic)
                refused[topic] = problem
        if EVENTS_TOPIC in refused:
            self._unsent.extendleft(reversed(groups[EVENTS_TOPIC][:recommended]))
        self._under_way = 0
        self._answer(waiting, refused)
        if any(groups.values()):
            self._note(refused)
        return not refused

    def _take_waiting(self) -> list[_Waiting]:
        taken: list[_Waiting] = []
        size = 0
        while self._waiting and size < self._settings.group_messages:
            one = self._waiting.popleft()
            with self._counting:
                self._waiting_messages -= len(one.messages)
            if one.durable.set_running_or_notify_cancel():
                taken.append(one)
                size += len(one.messages)
        return taken

    def _take_offered(self) -> list[Message]:
        taken: list[Message] = []
        while self._unsent and len(taken) < self._settings.group_messages:
            self._under_way += 1  # before it leaves the queue, which must not look shorter
            taken.append(self._unsent.popleft())
        while self._offered and len(taken) < self._settings.group_messages:
            self._under_way += 1
            record = self._offered.popleft()
            try:
                taken.append(record.message())
            except Exception:
                # One record that cannot be written must not take the others with it.
                log.exception("recommendation_not_written")
                self._metrics.dropped.inc()
                self._under_way -= 1
        return taken

    @staticmethod
    def _answer(waiting: Sequence[_Waiting], refused: dict[str, Exception]) -> None:
        for one in waiting:
            problem = refused.get(one.topic)
            if problem is None:
                one.durable.set_result(None)
            else:
                failure = TryLater("the log cannot take events now; send them again")
                failure.__cause__ = problem
                one.durable.set_exception(failure)

    def _note(self, refused: dict[str, Exception]) -> None:
        if refused:
            self._metrics.append_failures.inc(len(refused))
        if self.available and refused:
            log.warning("log_unavailable", problem=str(next(iter(refused.values()))))
        elif refused == {} and not self.available:
            log.info("log_available_again", queued=self.queued())
        self.available = not refused

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="appender", daemon=True)
        self._thread.start()

    def stop(self, *, timeout_seconds: float = 10.0) -> None:
        """Append what is queued and end the thread; gives up after the timeout."""
        self._stopping = True
        self._wake.set()
        self._urgent.set()
        if self._thread is not None:
            self._thread.join(timeout_seconds)
        while self._waiting:
            one = self._waiting.popleft()
            if one.durable.set_running_or_notify_cancel():
                one.durable.set_exception(TryLater("the service is stopping"))
        if lost := self.queued():
            self._metrics.dropped.inc(lost)
            log.error("recommendations_lost_at_shutdown", count=lost)

    def wait_idle(self, *, timeout_seconds: float = 10.0) -> bool:
        """Wait until nothing is queued or on its way; False: the timeout came first."""
        self._urgent.set()
        self._wake.set()
        with self._idle:
            return self._idle.wait_for(self._is_idle, timeout_seconds)

    def _is_idle(self) -> bool:
        return not (self._busy or self._offered or self._unsent or self._waiting)

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._urgent.wait(self._settings.group_seconds)
            self._busy = True
            self._wake.clear()
            self._urgent.clear()
            done = self.step()
            self._busy = False
            if self._is_idle():
                with self._idle:
                    self._idle.notify_all()
                if self._stopping:
                    return
                continue
            self._wake.set()
            if self._stopping and not done:
                return
            if not done:
                self._urgent.wait(self._settings.retry_seconds)
