"""The state of a group: read back from the compacted changelog, or from a copy and what came after.

A copy is used only where nothing can be missing from it. It is made anew when it cannot be read,
when the topic is another one than it was made of, when the log ends before what it reached or
begins after that, and when it is so old that the cluster may have dropped a tombstone written since
(which it may do `delete.retention.ms` after a tombstone was compacted): a key forgotten by another
process would live on.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

import structlog
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from streams.errors import LogUnavailable, TopicMismatch
from streams.kafka.cluster import Cluster
from streams.kafka.connection import connected
from streams.kafka.kept_state import KeptState, StateDoubtful, StateHeld, discard, discard_old
from streams.kafka.producer import Routed
from streams.kafka.reading import records_to
from streams.kafka.settings import KafkaSettings
from streams.port import Partition, StateChange
from streams.topics import AGGREGATE_STATE

log = structlog.get_logger(__name__)

_SEPARATOR: Final = b"\0"
_READ_AT_ONCE: Final = {"max_partition_fetch_bytes": 16 * 1024 * 1024, "max_poll_records": 10_000}


@dataclass(frozen=True, slots=True)
class StateFolder:
    """Where copies of state are kept, and the clock their age is told by.

    Attributes:
        path: a folder of this machine's own disk; made when missing.
        clock: milliseconds since 1970.
    """

    path: Path
    clock: Callable[[], int]


class Changelog:
    """One group's state, by partition; used by the thread of its reader alone.

    Args:
        settings: the way to the cluster.
        cluster: answers where the changelog begins and ends.
        group: whose state.
        folder: where copies are kept; None: nowhere, state is read from the changelog each time.
    """

    def __init__(
        self, settings: KafkaSettings, cluster: Cluster, group: str, folder: StateFolder | None
    ) -> None:
        self._settings = settings
        self._cluster = cluster
        self._group = group
        self._folder = folder
        self._kept: dict[Partition, KeptState] = {}

    def message(self, change: StateChange) -> Routed:
        """Return what tells the changelog of a change."""
        topic, number = self._of(change.partition)
        return Routed(topic, number, self._prefix(change.partition) + change.key, change.value)

    def load(self, partition: Partition) -> dict[bytes, bytes]:
        """Return the last value of each key of a partition's state.

        Raises:
            LogUnavailable: the changelog cannot be read to its end.
        """
        self.forget([partition])
        if self._folder is None:
            return self._read_into({}, partition, 0, self._end(partition))
        path = self._path(self._folder, partition)
        discard_old(path.parent, now_ms=self._folder.clock())
        for _ in range(2):
            try:
                return self._load_with_copy(self._folder, path, partition)
            except StateDoubtful as problem:
                log.warning("state_copy_not_used", partition=partition, problem=str(problem))
                self._drop(partition)
                if isinstance(problem, StateHeld):
                    break
                discard(path)
        return self._read_into({}, partition, 0, self._end(partition))

    def committed(
        self, state: Sequence[StateChange], reached: Mapping[TopicPartition, int], begun_ms: int
    ) -> None:
        """Take changes that were committed.

        Args:
            state: the changes.
            reached: the offset after the last record of each partition of the transaction.
            begun_ms: when the commit began.
        """
        changes: dict[Partition, dict[bytes, bytes | None]] = {}
        for change in state:
            if change.partition in self._kept:
                changes.setdefault(change.partition, {})[change.key] = change.value
        for partition, changed in changes.items():
            try:
                self._kept[partition].note(changed, reached[self._of(partition)], begun_ms)
            except StateDoubtful as problem:
                log.warning("state_copy_not_used", partition=partition, problem=str(problem))
                self._drop(partition)

    def now_ms(self) -> int:
        """Return the time that copies are dated by; 0 without copies."""
        return 0 if self._folder is None else self._folder.clock()

    def forget(self, partitions: Iterable[Partition]) -> None:
        """Close the copies of partitions that are not owned any more."""
        for partition in partitions:
            self._drop(partition)

    def close(self) -> None:
        """Close every copy."""
        self.forget(list(self._kept))

    def _load_with_copy(
        self, folder: StateFolder, path: Path, partition: Partition
    ) -> dict[bytes, bytes]:
        changelog = self._of(partition)
        origin = f"{self._cluster.admin.origin(AGGREGATE_STATE.name)}/{changelog.partition}"
        kept = self._kept[partition] = KeptState(path, f"{origin}/{self._group}/{partition.topic}")
        now_ms = folder.clock()
        start, end = self._cluster.start(changelog), self._end(partition)
        age_ms, limit_ms = now_ms - kept.complete_ms, self._oldest_copy_ms()
        if not (start <= kept.position <= end and 0 <= age_ms <= limit_ms):
            kept.empty()
        state = kept.load()
        known, warm = kept.position, len(state)
        changes: dict[bytes, bytes | None] = {}
        self._read_into(state, partition, known, end, changes)
        kept.note(changes, max(end, known), now_ms)
        log.info(
            "state_loaded", partition=partition, entries=len(state), from_copy=warm,
            changelog_offsets=end - max(known, start),
        )  # fmt: skip
        return state

    def _oldest_copy_ms(self) -> int:
        """Return how old a copy may be: half the time tombstones live, since clocks differ."""
        name = "delete.retention.ms"
        return int(self._cluster.admin.configuration(AGGREGATE_STATE.name, [name])[name]) // 2

    def _end(self, partition: Partition) -> int:
        """Return the offset after everything written, transactions still open included.

        What they hold is waited for, because the group's offsets may already be beyond them.
        """
        return self._cluster.highest(self._of(partition))

    def _read_into(
        self,
        state: dict[bytes, bytes],
        partition: Partition,
        start: int,
        end: int,
        changes: dict[bytes, bytes | None] | None = None,
    ) -> dict[bytes, bytes]:
        """Apply what the changelog says from `start` to `end`, and note it in `changes`."""
        if start >= end:
            return state
        prefix, changelog = self._prefix(partition), self._of(partition)
        try:
            with closing(connected(KafkaConsumer, self._options())) as consumer:
                consumer.assign([changelog])
                if start:
                    consumer.seek(changelog, start)
                for record in records_to(consumer, changelog, end, self._settings):
                    if not record.key.startswith(prefix):
                        continue
                    key = record.key[len(prefix) :]
                    if record.value is None:
                        state.pop(key, None)
                    else:
                        state[key] = record.value
                    if changes is not None:
                        changes[key] = record.value
        except KafkaError as problem:
            raise LogUnavailable(f"Kafka does not give the state back: {problem}") from problem
        return state

    def _options(self) -> dict[str, object]:
        return self._settings.consumer() | _READ_AT_ONCE

    def _drop(self, partition: Partition) -> None:
        kept = self._kept.pop(partition, None)
        if kept is not None:
            kept.close()

    def _path(self, folder: StateFolder, partition: Partition) -> Path:
        group = quote(self._cluster.real(self._group), safe="")
        return folder.path / group / f"{quote(partition.topic, safe='')}-{partition.number}.db"

    def _prefix(self, partition: Partition) -> bytes:
        """Return what the group's keys begin with in the changelog, which all groups share."""
        return _SEPARATOR.join((self._group.encode(), partition.topic.encode(), b""))

    def _of(self, partition: Partition) -> TopicPartition:
        if partition.number >= self._cluster.partitions(AGGREGATE_STATE.name):
            raise TopicMismatch(
                f"{partition} keeps no state: topic {AGGREGATE_STATE.name!r} has fewer partitions"
            )
        return TopicPartition(self._cluster.real(AGGREGATE_STATE.name), partition.number)
