"""The topic `inbox`: events from order services and raters, through the same intake as HTTP.

A record is the JSON of one event or of a list of at most 1,000; whoever may write to the topic is
trusted like a key with `events:server`. Commit order: outputs to `events` and `events.dead` and the
offsets of `inbox`, together; so a record that comes again was not taken before.
"""

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog

from schemas.codec import encode
from schemas.events import DeadLetter
from schemas.limits import BODY_BYTES
from service import bodies, intake
from service.errors import RequestNotValid, ServiceError
from service.metrics import UNREADABLE, Metrics
from streams.errors import Fenced, LogError
from streams.port import Consumer, Log, Output, Partition, Record

log = structlog.get_logger(__name__)
GROUP: Final = "intake"
_INBOX: Final = "inbox"
_EVENTS: Final = "events"
_DEAD: Final = "events.dead"
_KEPT_BYTES: Final = 700_000
"""A dead letter holds at most so many bytes of the record, because a log's message has a limit."""


class Inbox:
    """Takes the inbox in; for one thread.

    Args:
        log: the log.
        judge: decides on every event.
        rows: gives the row of every product now.
        clock: milliseconds since 1970.
        metrics: what is counted.
    """

    def __init__(
        self,
        log: Log,
        judge: intake.Intake,
        *,
        rows: Callable[[], Mapping[str, int]],
        clock: Callable[[], int],
        metrics: Metrics,
    ) -> None:
        self._log = log
        self._intake = judge
        self._rows = rows
        self._clock = clock
        self._metrics = metrics
        self._consumer: Consumer | None = None
        self._buried: Counter[str] = Counter()
        self._verdicts: Counter[tuple[str, str]] = Counter()

    def step(self, *, max_records: int = 500, timeout_seconds: float = 0.0) -> int:
        """Take in the next records; return how many.

        Raises:
            LogError: the log could not be read or written, or another member took over; what was
                not committed comes again.
        """
        try:
            if self._consumer is None:
                self._consumer = self._log.consumer([_INBOX], group=GROUP)
            records = self._consumer.poll(max_records=max_records, timeout_seconds=timeout_seconds)
            if records:
                self._buried.clear()
                self._verdicts.clear()
                outputs = [output for record in records for output in self._outputs(record)]
                self._consumer.commit(_next_offsets(records), outputs=outputs)
                self._metrics.buried(self._buried)
                self._metrics.judged(self._verdicts)
        except LogError:
            self.close()
            raise
        return len(records)

    def run(self, stop: threading.Event, *, retry_seconds: float = 1.0) -> None:
        """Take in until told to stop."""
        while not stop.is_set():
            try:
                self.step(timeout_seconds=0.5)
            except Fenced:
                continue
            except LogError as problem:
                log.warning("inbox_unavailable", problem=str(problem))
                stop.wait(retry_seconds)
            except Exception:  # what was not committed comes again; the shop's orders must not stop
                log.exception("inbox_failed")
                self.close()
                stop.wait(retry_seconds)
        self.close()

    def close(self) -> None:
        """Give the partitions back."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _outputs(self, record: Record) -> list[Output]:
        if record.value is None:
            return [self._dead(record, b"", "tombstone", "empty")]
        if len(record.value) > BODY_BYTES:
            return [self._dead(record, record.value, "too_large", "larger than 2 MB")]
        try:
            raws = _events_of(record.value)
        except ServiceError as fault:
            return [self._dead(record, record.value, "unreadable", str(fault))]
        return [output for raw in raws for output in self._judged(record, raw)]

    def _judged(self, record: Record, raw: bytes) -> list[Output]:
        event = bodies.read_event(raw)
        if isinstance(event, bodies.Unreadable):
            self._verdicts[UNREADABLE, "invalid"] += 1
            return [self._dead(record, raw, "unreadable", event.reason)]
        verdict = self._intake.judge(event, intake.SERVER, self._rows(), self._clock())
        self._verdicts[event.type, verdict.outcome] += 1
        if not verdict.messages:
            why = f"{verdict.outcome}: {verdict.reason}"
            return [self._dead(record, raw, "refused", why)]
        return [Output(_EVENTS, message.key, message.value) for message in verdict.messages]

    def _dead(self, record: Record, value: bytes, kind: str, reason: str) -> Output:
        self._buried[kind] += 1
        if len(value) > _KEPT_BYTES:
            reason = f"{reason} (only the first {_KEPT_BYTES} bytes are kept)"
        letter = DeadLetter(
            topic=record.partition.topic,
            partition=record.partition.number,
            offset=record.offset,
            appended_at_ms=record.appended_at_ms,
            reason=reason,
            reader=GROUP,
            key=record.key,
            value=value[:_KEPT_BYTES],
        )
        return Output(_DEAD, None, encode(letter))


def _events_of(value: bytes) -> Sequence[bytes]:
    """Return the bytes of each event of a record.

    Raises:
        NotJson: the bytes are not JSON.
        RequestNotValid: a list of no events, or of too many.
    """
    if not value.lstrip().startswith(b"["):
        return [value]
    raws = bodies.raw_events(value)
    if not raws:
        raise RequestNotValid("a list of no events")
    return raws


def _next_offsets(records: Sequence[Record]) -> dict[Partition, int]:
    return {record.partition: record.offset + 1 for record in records}
