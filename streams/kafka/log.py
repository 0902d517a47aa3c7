"""The log on Kafka: topics made explicitly, keyed by us, stamped with the broker's append time.

The promise of time rests on the brokers' clocks: an append time is the leader's, and goes back
where the leader's clock does; readers that need more keep the highest they saw.
"""

import threading
import uuid
from collections.abc import Mapping, Sequence
from functools import partial

from streams.kafka import topics
from streams.kafka.changelog import Changelog, StateFolder
from streams.kafka.cluster import Cluster
from streams.kafka.consumer import KafkaReader
from streams.kafka.membership import Membership, StaticName
from streams.kafka.producer import Routed, Transactions, Writer
from streams.kafka.settings import DEAD_LETTER_BYTES, MESSAGE_BYTES, KafkaSettings
from streams.kafka.topics import TopicState
from streams.port import Consumer, Message, Ownership, Partition, partition_of
from streams.topics import DEAD


class KafkaLog:
    """The event log on a Kafka cluster; connections are made when first needed.

    Args:
        settings: the way to the cluster.
        state_folder: where copies of groups' state are kept, so that a restart need not read all of
            it again; None: nowhere.

    Raises:
        LogError: no cluster could be reached with these settings; the text names which.

    Example:
        `log = KafkaLog(KafkaSettings("broker:9092")); log.ensure_topics()`
    """

    def __init__(self, settings: KafkaSettings, *, state_folder: StateFolder | None = None) -> None:
        settings.check()
        self._settings = settings
        self._cluster = Cluster(settings)
        self._writer = Writer(settings)
        self._state_folder = state_folder
        self._process = uuid.uuid4().hex
        self._member = settings.member or self._process
        self._names: dict[str, StaticName] = {}
        self._lock = threading.Lock()
        self._slots: set[tuple[str, int]] = set()

    def ensure_topics(self) -> None:
        """Make the declared topics that are missing and check the others; processes may race.

        Raises:
            TopicMismatch: a topic differs from its declaration; the text names in what.
            LogUnavailable: the cluster cannot be reached.
        """
        self._cluster.ensure_topics()

    def topic_faults(self) -> list[str]:
        """Return in what the topics differ from their declaration; nothing is made or changed.

        Raises:
            LogUnavailable: the cluster cannot be reached.
        """
        states = self.topic_states()
        missing = [one.name for one in states if one.partitions is None]
        absent = [f"{name!r} does not exist: `quintet topics apply` makes it" for name in missing]
        return absent + [fault for one in states for fault in one.faults]

    def ensure_topics_soon(self) -> None:
        """Make and check the topics now or, while the cluster is away, when it first answers.

        For processes that start beside the cluster and have work without it.

        Raises:
            TopicMismatch: a topic differs from its declaration; the text names in what.
        """
        self._cluster.ensure_topics_soon()

    def make_missing_topics(self) -> list[str]:
        """Make the declared topics that are missing, check none; return those that were made."""
        return topics.make_missing(self._cluster.admin)

    def topic_states(self) -> list[TopicState]:
        """Return every declared topic beside what the cluster has; raises LogUnavailable."""
        return topics.states(self._cluster.admin)

    def append(self, topic: str, messages: Sequence[Message]) -> None:
        """Append messages; when this returns every replica that has to has acknowledged them.

        Raises:
            LogUnavailable: not all were acknowledged in time; some may be in the log.
            TopicMismatch: the topic does not exist.
            MessageTooLarge: a message is larger than the topic takes; nothing was appended.
        """
        count, real = self._cluster.partitions(topic), self._cluster.real(topic)
        limit = DEAD_LETTER_BYTES if topic == DEAD.name else MESSAGE_BYTES
        if messages:
            self._writer.append(
                [Routed(real, partition_of(m.key, count), m.key, m.value, limit) for m in messages]
            )

    def consumer(
        self,
        topics: Sequence[str],
        *,
        group: str | None,
        on_assigned: Ownership | None = None,
        on_revoked: Ownership | None = None,
    ) -> Consumer:
        """Return a reader; with `group=None` it owns every partition and cannot commit.

        Raises:
            LogUnavailable: the cluster cannot be reached.
            TopicMismatch: a topic does not exist.
        """
        membership = None if group is None else self._membership(group)
        try:
            return KafkaReader(
                self._settings,
                self._cluster,
                topics,
                membership,
                on_assigned=on_assigned,
                on_revoked=on_revoked,
            )
        except BaseException:
            if membership is not None:
                membership.close()
            raise

    def _membership(self, group: str) -> Membership:
        """Return the first free slot of the group: a name this process has again when restarted."""
        with self._lock:
            slot = (
                group,
                next(n for n in range(len(self._slots) + 1) if (group, n) not in self._slots),
            )
            self._slots.add(slot)
            name = f"{self._settings.topic_prefix}{group}.{self._member}.{slot[1]}"
            static = None
            if self._settings.static and self._settings.member:
                static = self._names.setdefault(name, StaticName(name, self._process))
        return Membership(
            self._settings,
            group,
            transactions=Transactions(self._settings, name),
            changelog=Changelog(self._settings, self._cluster, group, self._state_folder),
            static=static,
            give_back=partial(self._slots.discard, slot),
        )

    def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has; raises TopicMismatch when it does not exist."""
        return self._cluster.partitions(topic)

    def end_offsets(self, topic: str) -> Mapping[Partition, int]:
        """Return the offset after the last committed record of each partition."""
        return {Partition(topic, p.partition): o for p, o in self._cluster.ends(topic).items()}

    def start_offsets(self, topic: str) -> Mapping[Partition, int]:
        """Return the offset of the first record still kept of each partition."""
        return {Partition(topic, p.partition): o for p, o in self._cluster.starts(topic).items()}

    def close(self) -> None:
        """Close the connections; consumers have connections of their own."""
        self._writer.close()
        self._cluster.close()
