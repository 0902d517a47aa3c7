"""A log in front of which messages wait on disk while it is away.

The one rule of order: while the spool holds anything, everything goes to its end, and only the
feeder takes from its front. A message leaves the spool after the log has taken it, so a crash in
between sends it twice: readers know events and banners by their ids.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Final, Protocol

import structlog

from streams.errors import LogError, LogUnavailable, SpoolFull, TopicMismatch
from streams.port import Consumer, Log, Message, Ownership, Partition
from streams.spooled.file import Batch
from streams.spooled.spool import Spool
from streams.topics import EVENTS, TOPICS

log = structlog.get_logger(__name__)
_NAMES: Final = frozenset(topic.name for topic in TOPICS)


@dataclass(frozen=True, slots=True)
class SpoolSettings:
    """How long the log is waited for.

    Attributes:
        patience_seconds: an append that takes longer goes to the spool.
        retry_seconds: pause after the log did not take what the spool holds.
        reopen_seconds: pause after the disk did not let the spool be opened.
        drain_records: messages taken from the spool by one append, at most.
    """

    patience_seconds: float = 1.0
    retry_seconds: float = 0.25
    reopen_seconds: float = 60.0
    drain_records: int = 1_000


class Meter(Protocol):
    """Is told what a spooled log does."""

    def drained(self, records: int) -> None:
        """So many messages left the spool for the log."""
        ...

    def passed_over(self, records: int) -> None:
        """So many left it for nowhere: no try would bring them into the log."""
        ...

    def refused(self) -> None:
        """An append found log and spool without room."""
        ...


class _Unmeasured:
    def drained(self, records: int) -> None:
        pass

    def passed_over(self, records: int) -> None:
        pass

    def refused(self) -> None:
        pass


@dataclass(slots=True)
class _Sending:
    """An append on its way to the log.

    Attributes:
        answer: gets None or what went wrong.
        taken: the log took it, maybe after the caller had given up.
        spooled: what then stands in the spool instead.
    """

    topic: str
    messages: Sequence[Message]
    answer: "SimpleQueue[Exception | None]" = field(default_factory=SimpleQueue)
    taken: bool = False
    spooled: Batch | None = None


class SpooledLog:
    """A Log over another: `append` returns within seconds, whatever the other one does.

    One thread, the feeder, is the only one to append to the other log; `step` is its whole work,
    `start` only loops. Reading goes to the other log: what waits in the spool is not yet readable.

    Args:
        log: the other one, which may be away; its own patience may be longer.
        spool: of this process alone; what it holds already goes first.
        meter: is told what happens.
        settings: how long the log is waited for.

    Attributes:
        spooling: True while messages go to the spool.
    """

    def __init__(
        self,
        log: Log,
        spool: Spool,
        *,
        meter: Meter | None = None,
        settings: SpoolSettings = SpoolSettings(),
    ) -> None:
        self.spooling = spool.records > 0
        self._log = log
        self._spool = spool
        self._meter = meter or _Unmeasured()
        self._settings = settings
        self._turn = threading.Lock()
        self._sendings: SimpleQueue[_Sending | None] = SimpleQueue()
        self._doubtful: _Sending | None = None
        self._answers = False
        self._singly = 0
        self._said = ""
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def append(self, topic: str, messages: Sequence[Message]) -> None:
        """Append messages, to the log or to the spool before it; either way they are durable.

        Raises:
            SpoolFull: the log does not answer and the spool has no room.
            TopicMismatch: the topic does not exist.
            MessageTooLarge: a message is larger than the log takes; nothing was appended.
        """
        if topic not in _NAMES:
            raise TopicMismatch(f"no topic {topic!r}; topics are declared in streams.topics")
        if not messages:
            return
        with self._turn:
            if self.spooling:
                self._put(topic, messages)
            else:
                self._send(topic, messages)

    def _send(self, topic: str, messages: Sequence[Message]) -> None:
        sending = _Sending(topic, messages)
        self._sendings.put(sending)
        problem: Exception | None
        try:
            problem = sending.answer.get(timeout=self._settings.patience_seconds)
        except Empty:
            problem = LogUnavailable(f"no answer in {self._settings.patience_seconds} s")
        if problem is None:
            return
        if _is_final(problem):
            raise problem
        log.warning("spooling", problem=str(problem))
        self.spooling, self._answers = True, False
        try:
            sending.spooled = self._put(topic, messages)
            if self._spool.records == len(messages):
                # Else they stand behind what an earlier process left, and are sent in any case.
                self._doubtful = sending
        finally:
            self._sendings.put(None)  # the feeder looks again

    def _put(self, topic: str, messages: Sequence[Message]) -> Batch:
        try:
            return self._spool.put(topic, messages)
        except SpoolFull:
            self._meter.refused()
            raise

    def step(self, *, timeout_seconds: float = 0.0) -> bool:
        """Do what is next: append what is handed over, else what is spooled; wait for the former.

        Returns:
            False: the log did not take it, a pause is due.
        """
        try:
            wait = 0.0 if self.spooling else timeout_seconds
            sending = self._sendings.get(block=wait > 0, timeout=wait or None)
        except Empty:
            return self._drain() if self.spooling else True
        if sending is not None:
            problem = self._taken(sending.topic, sending.messages)
            sending.taken = problem is None
            sending.answer.put(problem)
        return True

    def _drain(self) -> bool:
        """Append the front of the spool; when it is empty, go back to the log itself."""
        with self._turn:
            late, self._doubtful = self._doubtful, None
        if late is not None and late.taken and late.spooled is not None:
            # The log was slow, not away: what it took after all is not sent again.
            self._removed(late.spooled)
        records = 1 if self._singly else self._settings.drain_records
        batch = self._spool.first(max_records=records)
        if batch is None:
            return self._finish()
        problem = self._taken(batch.topic, batch.messages)
        if problem is not None:
            return self._passed_over(batch, problem)
        self._singly = max(self._singly - 1, 0)
        self._removed(batch)
        return True

    def _removed(self, batch: Batch) -> None:
        self._spool.remove(batch)
        self._meter.drained(len(batch.messages))

    def _passed_over(self, batch: Batch, problem: Exception) -> bool:
        """Whether to go on at once: past the one message that no try would bring into the log."""
        if not _is_final(problem) or isinstance(problem, TopicMismatch):
            if str(problem) != self._said:
                log.warning("spool_waits", problem=str(problem), records=self._spool.records)
                self._said = str(problem)
            return False
        if len(batch.messages) > 1:
            self._singly = len(batch.messages)  # to find which one it is
            return True
        log.error("spooled_message_dropped", topic=batch.topic, problem=str(problem))
        self._spool.remove(batch)
        self._meter.passed_over(len(batch.messages))
        return True

    def _finish(self) -> bool:
        if not self._answers:
            try:
                self._log.end_offsets(EVENTS.name)
            except LogError:
                return False
        with self._turn:
            if not self._spool.records:
                self._spool.tidy()
                self.spooling, self._said = False, ""
                log.info("spool_drained")
        return True

    def _taken(self, topic: str, messages: Sequence[Message]) -> Exception | None:
        """Append to the log; return what went wrong."""
        try:
            self._log.append(topic, messages)
        except LogError as problem:
            self._answers = False
            return problem
        except Exception as problem:
            # The feeder must outlive a bug of a client that lost its cluster.
            log.exception("append_failed", topic=topic)
            self._answers = False
            return problem
        self._answers = True
        return None

    def consumer(
        self,
        topics: Sequence[str],
        *,
        group: str | None,
        on_assigned: Ownership | None = None,
        on_revoked: Ownership | None = None,
    ) -> Consumer:
        """Return a reader of the log itself."""
        return self._log.consumer(
            topics, group=group, on_assigned=on_assigned, on_revoked=on_revoked
        )

    def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has; raises TopicMismatch when it does not exist."""
        return self._log.partitions(topic)

    def end_offsets(self, topic: str) -> Mapping[Partition, int]:
        """Return the offset after the last readable record of each partition."""
        return self._log.end_offsets(topic)

    def start_offsets(self, topic: str) -> Mapping[Partition, int]:
        """Return the offset of the first record still kept of each partition."""
        return self._log.start_offsets(topic)

    def start(self) -> None:
        """Start the feeder."""
        self._thread = threading.Thread(target=self._run, name="feeder", daemon=True)
        self._thread.start()

    def stop(self, *, timeout_seconds: float = 2.0) -> None:
        """End the feeder; what is spooled stays on disk for the next process.

        An append that is still on its way is waited for, up to the timeout.
        """
        self._stopping.set()
        self._sendings.put(None)
        if self._thread is not None:
            self._thread.join(timeout_seconds)
        if self._thread is None or not self._thread.is_alive():
            self._spool.close()

    def close(self) -> None:
        """End the feeder and close the log."""
        self.stop()
        self._log.close()

    def _run(self) -> None:
        reopen_at = time.monotonic() + self._settings.reopen_seconds
        while not self._stopping.is_set():
            try:
                done = self.step(timeout_seconds=self._settings.reopen_seconds)
                if not self._spool.is_open and time.monotonic() >= reopen_at:
                    self._reopen()
                    reopen_at = time.monotonic() + self._settings.reopen_seconds
            except Exception:
                # A spool that cannot be read now is tried again; nothing passes it meanwhile.
                log.exception("spool_failed")
                done = False
            if not done:
                self._stopping.wait(self._settings.retry_seconds)

    def _reopen(self) -> None:
        """Look once more for what an earlier process left, and send it."""
        # Who has the turn may wait for the feeder: not for long, therefore.
        if self._turn.acquire(timeout=self._settings.patience_seconds / 10):
            try:
                self._spool.open()
                self.spooling = self.spooling or self._spool.records > 0
            finally:
                self._turn.release()


def _is_final(problem: Exception) -> bool:
    """Whether trying again does not help."""
    return isinstance(problem, LogError) and not isinstance(problem, LogUnavailable)
