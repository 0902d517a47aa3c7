"""Keeps the history store up with the log `events`.

The order, on every step:
    1. place: of every partition owned and not yet placed, ask the store where it is and seek there
    2. poll records
    3. load the shoppers they touch, apply the events in order, in memory
    4. one `apply`: values and positions together, refused unless the store still is where we began
A failure or refusal anywhere forgets the placing, so the next step begins at 1 with what the store
says. The group decides who owns a partition; its offsets are never committed.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import structlog

from projections.errors import HistoryUnavailable, PositionsMoved
from projections.history import kept
from projections.history.kept import Kept
from projections.history.metrics import HistoryMetrics
from projections.history.port import HistoryStore
from schemas.codec import decode_event
from schemas.errors import HistoryNotReadable, SchemaError
from schemas.events import Purchase, UserErased
from schemas.identity import ROUTING_KEY_BYTES
from streams.errors import Fenced, LogUnavailable
from streams.port import Consumer, Log, Partition, Record
from streams.topics import EVENTS

log = structlog.get_logger(__name__)

GROUP: Final = "history"
_RECORDS: Final = 2000
_EXPIRE_EVERY_MS: Final = 3_600_000
_FIRST_WAIT_SECONDS: Final = 0.1
_LONGEST_WAIT_SECONDS: Final = 2.0


class HistoryProjector:
    """One reader of the log that owns some partitions of `events` and writes their shoppers.

    Args:
        events: the log.
        store: where the history is kept.
        clock: milliseconds since 1970, UTC.
        retention_ms: shoppers whose newest purchase is older are forgotten.
        metrics: where it counts.
        poll_seconds: how long a step waits for records.
    """

    def __init__(
        self,
        events: Log,
        store: HistoryStore,
        *,
        clock: Callable[[], int],
        retention_ms: int,
        metrics: HistoryMetrics,
        poll_seconds: float = 0.2,
    ) -> None:
        self._log = events
        self._store = store
        self._clock = clock
        self._retention_ms = retention_ms
        self._metrics = metrics
        self._poll_seconds = poll_seconds
        self._consumer: Consumer | None = None
        self._placed: dict[Partition, int] = {}
        self._expire_at_ms = 0

    def run(self, stop: threading.Event) -> None:
        """Step until `stop` is set; what is away is waited for, nothing is lost meanwhile."""
        wait = _FIRST_WAIT_SECONDS
        try:
            while not stop.is_set():
                try:
                    self.step()
                    wait = _FIRST_WAIT_SECONDS
                except (HistoryUnavailable, LogUnavailable) as problem:
                    away = "store" if isinstance(problem, HistoryUnavailable) else "log"
                    self._metrics.failures.labels(away).inc()
                    log.warning("history_waits", away=away, why=str(problem), seconds=wait)
                    stop.wait(wait)
                    wait = min(2 * wait, _LONGEST_WAIT_SECONDS)
        finally:
            self.close()

    def step(self) -> int:
        """Bring some records into the store and return how many.

        Raises:
            HistoryUnavailable: the store is away; the same records come again.
            LogUnavailable: the log is away; a new consumer is made by the next step.
        """
        try:
            return self._advance()
        except LogUnavailable:
            self.close()
            raise
        except HistoryUnavailable:
            self._placed.clear()
            raise
        except Fenced:
            self._placed.clear()
        except PositionsMoved as refusal:
            # Emptied, put back to an older copy, or written by the partition's new owner.
            log.warning("history_store_moved", why=str(refusal))
            self._placed.clear()
        except HistoryNotReadable as problem:
            log.error("history_store_not_readable", why=str(problem))  # noqa: TRY400
            self._start_over()
        return 0

    def close(self) -> None:
        """Give the partitions back; the store stays open."""
        self._placed.clear()
        if self._consumer is not None:
            consumer, self._consumer = self._consumer, None
            consumer.close()

    def _advance(self) -> int:
        consumer = self._consumer or self._join()
        self._place(consumer)
        polled = consumer.poll(max_records=_RECORDS, timeout_seconds=self._poll_seconds)
        # A partition assigned during this poll is not placed: its records come again.
        records = [
            record
            for record in polled
            if record.offset >= self._placed.get(record.partition, 2**63)
        ]
        if records:
            self._apply(records)
        elif self._placed:
            self._check_store()
        self._expire()
        return len(records)

    def _join(self) -> Consumer:
        self._consumer = self._log.consumer(
            [EVENTS.name], group=GROUP, on_assigned=self._displace, on_revoked=self._displace
        )
        return self._consumer

    def _displace(self, partitions: frozenset[Partition]) -> None:
        for partition in partitions:
            self._placed.pop(partition, None)

    def _place(self, consumer: Consumer) -> None:
        missing = consumer.assignment() - self._placed.keys()
        if not missing:
            return
        stored = self._store.positions()
        starts, ends = (
            offsets(EVENTS.name) for offsets in (self._log.start_offsets, self._log.end_offsets)
        )
        if any(stored.get(partition, 0) > ends.get(partition, 0) for partition in missing):
            log.warning("history_is_of_another_log", why="it is ahead of the log's end")
            self._start_over()
            return
        for partition in missing:
            position = stored.get(partition, 0)
            if position == 0:
                self._metrics.rebuilds.inc()
                log.info("history_is_read_from_the_start", partition=partition.number)
            consumer.seek(partition, max(position, starts.get(partition, 0)))
            self._placed[partition] = position

    def _start_over(self) -> None:
        self._placed.clear()
        self._store.clear()

    def _apply(self, records: Sequence[Record]) -> None:
        events = [(record, event) for record in records if (event := self._read(record))]
        before = self._store.load({event.user_key for _, event in events if event.user_key})
        after = _after(before, events)
        changes = {
            key: None if shopper is None else kept.pack(shopper) for key, shopper in after.items()
        }
        positions = {record.partition: record.offset + 1 for record in records}
        since = {partition: self._placed[partition] for partition in positions}
        self._store.apply(changes, positions, since=since)
        self._placed.update(positions)
        self._metrics.records.inc(len(records))
        self._metrics.applied_timestamp.set(records[-1].appended_at_ms / 1000)

    def _read(self, record: Record) -> Purchase | UserErased | None:
        try:
            event = decode_event(record.value)
        except SchemaError:
            self._metrics.unreadable.inc()  # the aggregator buries it in `events.dead`
            return None
        if not isinstance(event, Purchase | UserErased) or event.user_key is None:
            return None
        if len(event.user_key) != ROUTING_KEY_BYTES:
            self._metrics.unreadable.inc()
            return None
        # Of an order for an anonymous banner, the copy that lies where the shopper's others do.
        return event if event.user_key == record.key else None

    def _check_store(self) -> None:
        stored = self._store.positions()
        for partition, position in self._placed.items():
            if stored.get(partition, 0) != position:
                raise PositionsMoved(f"{partition.topic}/{partition.number} was at {position}")

    def _expire(self) -> None:
        now = self._clock()
        if now >= self._expire_at_ms:
            self._expire_at_ms = now + _EXPIRE_EVERY_MS
            self._metrics.expired.inc(self._store.expire(now - self._retention_ms))


def _after(
    before: dict[bytes, bytes], events: Iterable[tuple[Record, Purchase | UserErased]]
) -> dict[bytes, Kept | None]:
    """Return the shoppers that events changed; None: erased.

    A refund changes nothing: the shopper did buy the product, and what they will buy again is what
    the history is for. Its reward is taken back by the aggregator.
    """
    shoppers: dict[bytes, Kept | None] = {}
    changed: set[bytes] = set()
    for record, event in events:
        key = event.user_key or b""
        if key not in shoppers:
            shoppers[key] = kept.unpack(before[key]) if key in before else None
        if isinstance(event, UserErased):
            shoppers[key] = None
            changed.add(key)
            continue
        now = shoppers[key] or kept.NOTHING
        then = kept.after_purchase(now, event, record.appended_at_ms)
        if then is not now:
            shoppers[key] = then
            changed.add(key)
    return {key: shoppers[key] for key in changed}
