"""The log as its users see it.

Promises every adapter keeps (`tests/contracts/test_log.py` runs them over all):
    order       records of one partition are read in the order of their offsets; offsets only grow
    time        `appended_at_ms` is the log's own clock and never goes back inside a partition
    durable     when `append` returns, its records survive `kill -9` of every process
    routing     records with the same key go to the same partition, `partition_of(key, partitions)`
    ownership   a partition is owned by at most one consumer of a group; a dead one is replaced
        within seconds
    atomic      `commit` moves offsets, outputs and state together or not at all; after `Fenced`
        nothing moved
    at least    without a commit the same records come again
    threads     a Log may be used by several threads, a Consumer by one
"""

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Partition(NamedTuple):
    """One partition of a topic."""

    topic: str
    number: int


class Message(NamedTuple):
    """What is appended: a key, a value or both. A null key goes to partition 0."""

    key: bytes | None
    value: bytes | None


class Output(NamedTuple):
    """A message that `commit` appends to a topic."""

    topic: str
    key: bytes | None
    value: bytes | None


class StateChange(NamedTuple):
    """A value kept by a group for one partition it reads; a null value forgets the key."""

    partition: Partition
    key: bytes
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Record:
    """A message as the log holds it."""

    partition: Partition
    offset: int
    appended_at_ms: int
    key: bytes | None
    value: bytes | None


def partition_of(key: bytes | None, partitions: int) -> int:
    """Return the partition number of a key.

    Example:
        >>> partition_of(None, 4), partition_of(b"a", 1)
        (0, 0)
    """
    return 0 if key is None else zlib.crc32(key) % partitions


Ownership = Callable[[frozenset[Partition]], None]


class Consumer(Protocol):
    """One reader: with a group it shares the partitions with the group, without one it has all."""

    def poll(self, *, max_records: int, timeout_seconds: float) -> Sequence[Record]:
        """Return the next records, in order per partition; empty after the timeout.

        A consumer of a group starts at the group's committed offset (else at the beginning), one
        without a group at the beginning or where it was told to `seek`. Ownership callbacks run
        inside this call, in the caller's thread: `on_assigned` before the first record of what was
        won, `on_revoked` when a partition went to another member or a commit failed. After a failed
        commit the next poll loses everything and takes it anew, from what is committed.

        Raises:
            LogUnavailable: the log cannot be reached.
        """
        ...

    def assignment(self) -> frozenset[Partition]:
        """Return the partitions owned now (empty while another member owns them)."""
        ...

    def seek(self, partition: Partition, offset: int) -> None:
        """Read `partition` from `offset` next (for an owned partition)."""
        ...

    def commit(
        self,
        offsets: Mapping[Partition, int],
        *,
        outputs: Sequence[Output] = (),
        state: Sequence[StateChange] = (),
    ) -> None:
        """Make offsets (next to read), outputs and state durable together.

        Raises:
            Fenced: the partition belongs to another member now; nothing moved.
            LogUnavailable: not known whether it happened; drop what was not committed and poll on,
                or make a new consumer, and read state again.
            TopicMismatch: an output's topic does not exist; nothing moved.
        """
        ...

    def load_state(self, partition: Partition) -> Iterator[tuple[bytes, bytes]]:
        """Yield this group's committed (key, value) state of an owned partition, in any order."""
        ...

    def close(self) -> None:
        """Give the partitions back; nothing is committed by this."""
        ...


class Log(Protocol):
    """The event log."""

    def append(self, topic: str, messages: Sequence[Message]) -> None:
        """Append messages, in order per key; when this returns they are durable.

        Raises:
            LogUnavailable: not all are known to be durable.
            TopicMismatch: the topic does not exist.
            MessageTooLarge: a message is larger than the log takes; nothing was appended.
        """
        ...

    def consumer(
        self,
        topics: Sequence[str],
        *,
        group: str | None,
        on_assigned: Ownership | None = None,
        on_revoked: Ownership | None = None,
    ) -> Consumer:
        """Return a reader; with `group=None` it owns every partition and cannot commit."""
        ...

    def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has; raises TopicMismatch when it does not exist."""
        ...

    def end_offsets(self, topic: str) -> Mapping[Partition, int]:
        """Return the offset after the last readable record of each partition.

        Where nothing is readable it is the start offset. Who has read the record before it has read
        everything; on some logs the next record gets a higher offset than this.
        """
        ...

    def start_offsets(self, topic: str) -> Mapping[Partition, int]:
        """Return the offset of the first record still kept of each partition."""
        ...

    def close(self) -> None:
        """Release connections; appended records stay."""
        ...
