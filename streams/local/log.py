"""The log in one SQLite file, for one machine: several processes, durable when `append` returns.

Write-ahead logging with a sync per commit: readers never wait for writers, writers take turns. One
`append` is one transaction, so group commit is the caller's: append in batches. Times never go back
inside a partition, nor stand still, even where the clock goes back.

A group has one owner at a time on this log, whatever its topics: who holds the group's lock file.
The operating system frees it when its process dies, however it dies.
"""

import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from streams.errors import LogError
from streams.local.consumer import LocalConsumer
from streams.local.file import connect, open_file, translated, writing
from streams.local.records import Onward, drop, insert
from streams.port import Consumer, Message, Ownership, Partition
from streams.topics import TOPICS

_KEPT: Final = frozenset(topic.name for topic in TOPICS if topic.kept)


class LocalLog:
    """The event log in the file `path`, which is created when missing.

    Args:
        path: the file; lock files lie beside it.
        clock: milliseconds since 1970.
        partitions: how many partitions a topic has where not one; fixed once the file exists.
        busy_seconds: how long to wait for other writers before LogUnavailable.

    Raises:
        TopicMismatch: the file has a topic with another number of partitions.
        LogUnavailable: the file cannot be created.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], int],
        partitions: Mapping[str, int] | None = None,
        busy_seconds: float = 10.0,
    ) -> None:
        declared = {topic.name: 1 for topic in TOPICS} | dict(partitions or {})
        self._path = path
        self._clock = Onward(clock)
        self._busy_seconds = busy_seconds
        self._layout = open_file(path, declared, busy_seconds=busy_seconds)
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection = connect(path, busy_seconds=busy_seconds)

    def append(self, topic: str, messages: Sequence[Message]) -> None:
        """Append messages in one transaction; when this returns they are durable.

        Raises:
            LogUnavailable: the disk is full or the file stayed locked; nothing was appended.
            TopicMismatch: the topic does not exist.
        """
        ids = self._layout.of(topic)
        if messages:
            with self._lock, writing(self._connection):
                insert(self._connection, ids, messages, self._clock)

    def consumer(
        self,
        topics: Sequence[str],
        *,
        group: str | None,
        on_assigned: Ownership | None = None,
        on_revoked: Ownership | None = None,
    ) -> Consumer:
        """Return a reader; with `group=None` it owns every partition and cannot commit."""
        return LocalConsumer(
            self._path,
            self._layout,
            [Partition(topic, n) for topic in topics for n in range(self.partitions(topic))],
            group=group,
            clock=self._clock,
            busy_seconds=self._busy_seconds,
            on_assigned=on_assigned,
            on_revoked=on_revoked,
        )

    def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has; raises TopicMismatch when it does not exist."""
        return len(self._layout.of(topic))

    def end_offsets(self, topic: str) -> Mapping[Partition, int]:
        """Return the offset after the last record of each partition."""
        return self._offsets(topic, "SELECT number, end_offset FROM partitions WHERE topic = ?")

    def start_offsets(self, topic: str) -> Mapping[Partition, int]:
        """Return the offset of the first record still kept of each partition."""
        return self._offsets(topic, "SELECT number, start_offset FROM partitions WHERE topic = ?")

    def _offsets(self, topic: str, query: str) -> Mapping[Partition, int]:
        self._layout.of(topic)
        with self._lock, translated():
            rows = self._connection.execute(query, (topic,)).fetchall()
        return {Partition(topic, number): offset for number, offset in rows}

    def trim(self, topic: str, before_ms: int) -> int:
        """Drop the records appended before a time, a few thousand per transaction.

        Args:
            topic: a topic that is not declared as kept.
            before_ms: milliseconds since 1970.

        Returns:
            How many records were dropped; their bytes are overwritten, at the latest when the other
            records of their page are dropped too.

        Raises:
            LogError: the topic is kept for ever.
            LogUnavailable: the file stayed locked or the disk is full; what was dropped is dropped.
        """
        if topic in _KEPT:
            raise LogError(f"topic {topic!r} is kept for ever; it cannot be trimmed")
        dropped = 0
        for partition_id in self._layout.of(topic):
            while some := self._drop(partition_id, before_ms):
                dropped += some
        if dropped:
            with self._lock, translated():
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return dropped

    def _drop(self, partition_id: int, before_ms: int) -> int:
        with self._lock, writing(self._connection):
            return drop(self._connection, partition_id, before_ms=before_ms)

    def close(self) -> None:
        """Close the file; consumers have connections of their own."""
        with self._lock:
            self._connection.close()
