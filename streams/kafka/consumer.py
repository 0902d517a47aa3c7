"""A reader of Kafka: ownership told inside `poll`, commits in transactions, clean starts.

kafka-python tells of rebalances from a thread of its own. Here they are only noted there, and told
to the owner by the next `poll`, before the first record of what was won. After a commit that failed
or was refused, and after a protocol error, the connection is made anew: whatever the group then
gives this member starts at what is committed.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import structlog
from kafka import (
    ConsumerGroupMetadata,
    ConsumerRebalanceListener,
    KafkaConsumer,
    OffsetAndMetadata,
    TopicPartition,
)
from kafka.errors import KafkaError, RebalanceInProgressError
from kafka.structs import MemberState

from streams.errors import Fenced, LogError, LogUnavailable
from streams.kafka.cluster import Cluster
from streams.kafka.connection import connected
from streams.kafka.membership import Membership
from streams.kafka.producer import REPLACED, Routed
from streams.kafka.settings import DEAD_LETTER_BYTES, MESSAGE_BYTES, KafkaSettings
from streams.port import Output, Ownership, Partition, Record, StateChange, partition_of
from streams.topics import DEAD

log = structlog.get_logger(__name__)

_FAILURES_IN_A_ROW: Final = 3
_POSITION_MS: Final = 500
_CLOSE_MS: Final = 2_000


class _Rebalances(ConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python has no types
    """Notes what the group gives and takes; runs in kafka-python's thread."""

    def __init__(self) -> None:
        self.changes: deque[tuple[bool, frozenset[TopicPartition]]] = deque()

    def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        self.changes.append((False, frozenset(revoked)))

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self.changes.append((True, frozenset(assigned)))


class KafkaReader:
    """One reader of some topics, in a group or alone; made by `KafkaLog.consumer`."""

    def __init__(
        self,
        settings: KafkaSettings,
        cluster: Cluster,
        topics: Sequence[str],
        membership: Membership | None,
        *,
        on_assigned: Ownership | None,
        on_revoked: Ownership | None,
    ) -> None:
        self._settings = settings
        self._cluster = cluster
        self._topics = {cluster.real(topic): topic for topic in topics}
        self._partitions = [p for topic in topics for p in cluster.topic_partitions(topic)]
        self._membership = membership
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self._rebalances = _Rebalances()
        self._owned: frozenset[Partition] = frozenset()
        self._waiting: set[TopicPartition] = set()
        self._lost: frozenset[Partition] = frozenset()
        self._failures = 0
        self._client: KafkaConsumer | None = self._connect()

    def poll(self, *, max_records: int, timeout_seconds: float) -> Sequence[Record]:
        """Return the next records, in order per partition; empty after the timeout.

        While the cluster is away this is silent: no record comes.

        Raises:
            LogUnavailable: the cluster cannot be reached, or refused several times in a row.
            NameTaken: another living process bears this one's name.
        """
        self._tell_lost()
        if self._client is None:
            self._client = self._connect()
        elif self._membership is not None:
            with suppress(LogUnavailable):
                self._membership.check_name(self._cluster.admin)
        try:
            # Before, for what is told without a record; after, for what this poll brought.
            self._settle_ownership(self._client)
            _finish_joining(self._client)
            found = self._client.poll(
                timeout_ms=round(timeout_seconds * 1_000), max_records=max_records
            )
            _go_on_joining(self._client)
            self._settle_ownership(self._client)
        except KafkaError as problem:
            self._failed(problem)
            return ()
        except BaseException:
            # The owner could not take what it was given; what was read meanwhile comes again.
            self._start_over()
            raise
        self._failures = 0
        return [
            Record(self._named(p), r.offset, r.timestamp, r.key, r.value)
            for p, records in found.items()
            for r in records
        ]

    def assignment(self) -> frozenset[Partition]:
        """Return the partitions owned now."""
        return self._owned

    def seek(self, partition: Partition, offset: int) -> None:
        """Read `partition` from `offset` next; raises Fenced when it is not owned."""
        self._owned_client({partition}).seek(self._real(partition), offset)

    def commit(
        self,
        offsets: Mapping[Partition, int],
        *,
        outputs: Sequence[Output] = (),
        state: Sequence[StateChange] = (),
    ) -> None:
        """Commit offsets; with outputs or state, all in one transaction.

        Raises:
            Fenced: the partition belongs to another member now; nothing moved.
            LogUnavailable: not known whether it happened.
            TopicMismatch: an output's topic does not exist; nothing moved.
            MessageTooLarge: an output or a state is too large; nothing moved.
        """
        if self._membership is None:
            raise LogError("a reader without a group cannot commit")
        client = self._owned_client({*offsets, *(change.partition for change in state)})
        changelog, begun_ms = self._membership.changelog, self._membership.changelog.now_ms()
        messages = [self._routed(output) for output in outputs]
        messages += [changelog.message(change) for change in state]
        moved = {self._real(p): OffsetAndMetadata(offset, "", -1) for p, offset in offsets.items()}
        try:
            if messages:
                reached = self._membership.transactions.commit(
                    messages, moved, self._member(client)
                )
            else:
                self._commit_offsets(client, moved)
                reached = {}
        except LogError:
            self._start_over()
            raise
        changelog.committed(state, reached, begun_ms)

    def load_state(self, partition: Partition) -> Iterator[tuple[bytes, bytes]]:
        """Yield this group's committed (key, value) state of an owned partition.

        Raises:
            Fenced: the partition is not owned.
            LogUnavailable: the changelog cannot be read to its end.
        """
        self._owned_client({partition})
        if self._membership is None:
            return
        yield from self._membership.changelog.load(partition).items()

    def close(self) -> None:
        """Leave the group; nothing is committed by this."""
        self._disconnect()
        self._owned = frozenset()
        if self._membership is not None:
            self._membership.close()

    def _connect(self) -> KafkaConsumer:
        if self._membership is None:
            client = connected(KafkaConsumer, self._settings.consumer())
            client.assign(self._partitions)
            self._rebalances.on_partitions_assigned(set(self._partitions))
            self._owned = frozenset(self._named(p) for p in self._partitions)
            return client
        self._membership.check_name_before_joining_again(self._cluster.admin)
        # First: what this member's predecessor left open would hold back its offsets.
        self._membership.transactions.prepare()
        client = connected(KafkaConsumer, self._membership.options())
        client.subscribe(list(self._topics), listener=self._rebalances)
        return client

    def _disconnect(self) -> None:
        if self._client is not None:
            with suppress(KafkaError):
                self._client.close(timeout_ms=_CLOSE_MS)
            self._client = None
        if self._membership is not None:
            self._membership.changelog.close()
        self._rebalances.changes.clear()
        self._waiting.clear()

    def _start_over(self) -> None:
        """Own nothing until the next poll joins the group anew."""
        if self._membership is None:
            return
        self._disconnect()
        self._lost |= self._owned
        self._owned = frozenset()

    def _failed(self, problem: KafkaError) -> None:
        self._failures += 1
        log.warning("kafka_poll_failed", problem=repr(problem), failures=self._failures)
        self._start_over()
        if self._failures >= _FAILURES_IN_A_ROW:
            self._failures = 0
            raise LogUnavailable(f"Kafka refuses to be read: {problem}") from problem

    def _tell_lost(self) -> None:
        lost, self._lost = self._lost, frozenset()
        if lost and self._on_revoked is not None:
            self._on_revoked(lost)

    def _settle_ownership(self, client: KafkaConsumer) -> None:
        """Tell what the group took and gave, in its order.

        A partition is given only once its position is known: until then a predecessor's transaction
        may still be open, and its state could be read too early.
        """
        while self._rebalances.changes:
            given, partitions = self._rebalances.changes.popleft()
            if given:
                self._waiting |= partitions
                continue
            self._waiting -= partitions
            self._lost = self._owned & {self._named(p) for p in partitions}
            self._owned -= self._lost
            if self._membership is not None:
                self._membership.changelog.forget(self._lost)
            self._tell_lost()
        settled = {
            p for p in self._waiting if client.position(p, timeout_ms=_POSITION_MS) is not None
        }
        self._waiting -= settled
        if won := frozenset(self._named(p) for p in settled):
            self._owned |= won
            if self._on_assigned is not None:
                self._on_assigned(won)

    def _owned_client(self, partitions: set[Partition]) -> KafkaConsumer:
        if self._client is None or not partitions <= self._owned:
            raise Fenced(f"not the owner of {sorted(partitions - self._owned)}")
        return self._client

    def _member(self, client: KafkaConsumer) -> ConsumerGroupMetadata:
        """Return the membership the cluster checks; a member without one would not be checked."""
        member = client.group_metadata()
        if member.generation_id < 0 or not member.member_id:
            raise Fenced("this process is no member of the group any more")
        return member

    def _commit_offsets(
        self, client: KafkaConsumer, offsets: Mapping[TopicPartition, OffsetAndMetadata]
    ) -> None:
        try:
            client.commit(offsets, timeout_ms=self._settings.timeout_ms)
        except (*REPLACED, RebalanceInProgressError) as problem:
            raise Fenced(f"not the owner any more: {problem}") from problem
        except KafkaError as problem:
            raise LogUnavailable(f"Kafka did not commit: {problem}") from problem

    def _routed(self, output: Output) -> Routed:
        number = partition_of(output.key, self._cluster.partitions(output.topic))
        limit = DEAD_LETTER_BYTES if output.topic == DEAD.name else MESSAGE_BYTES
        return Routed(self._cluster.real(output.topic), number, output.key, output.value, limit)

    def _named(self, partition: TopicPartition) -> Partition:
        return Partition(self._topics[partition.topic], partition.partition)

    def _real(self, partition: Partition) -> TopicPartition:
        return TopicPartition(self._cluster.real(partition.topic), partition.number)


def _finish_joining(client: KafkaConsumer) -> None:
    """Take up a join that ended between two polls.

    kafka-python would pass it over and join again, for which the others must join again too: where
    their joins end between polls as well, the group shares for ever and reads nothing.
    """
    coordinator = client._coordinator  # noqa: SLF001 - nothing else tells of it
    join = coordinator._join_task  # noqa: SLF001
    if coordinator.rejoining and join is not None and join.succeeded():
        coordinator._net.run(_joined, coordinator, join.value)  # noqa: SLF001


async def _joined(coordinator: Any, assignment: bytes) -> None:  # noqa: ANN401 - no types
    """Do what kafka-python's `join_group_async` does where it sees a join's end."""
    coordinator._join_task = None  # noqa: SLF001
    with coordinator._lock:  # noqa: SLF001
        coordinator.rejoining = coordinator.rejoin_needed = False
        coordinator.state = MemberState.STABLE
        coordinator._enable_heartbeat()  # noqa: SLF001
    ours = coordinator._generation  # noqa: SLF001
    await coordinator._on_join_complete_async(  # noqa: SLF001
        ours.generation_id, ours.member_id, ours.protocol, assignment
    )


def _go_on_joining(client: KafkaConsumer) -> None:
    """See to it that a join that a poll was too short for is finished by a later one.

    The leader of a group joins again where it first joined before it knew the topic's partitions.
    kafka-python takes note of these while that join is under way and then sees no reason any more
    to wait for its end: the member would read nothing, for ever, and no error would tell.
    """
    coordinator = client._coordinator  # noqa: SLF001 - nothing else tells of it
    if coordinator.rejoining and not coordinator.need_rejoin():
        coordinator.request_rejoin()
