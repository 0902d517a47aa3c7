"""What there is on the cluster: how many partitions, first and last offsets."""

import threading
from collections.abc import Sequence
from typing import Final

import structlog
from kafka import IsolationLevel, KafkaConsumer, OffsetSpec, TopicPartition
from kafka.errors import KafkaError

from streams.errors import LogUnavailable, TopicMismatch
from streams.kafka import topics
from streams.kafka.admin import Admin
from streams.kafka.connection import connected
from streams.kafka.reading import records_to
from streams.kafka.settings import KafkaSettings

log = structlog.get_logger(__name__)

_LOOK_BACK: Final = (2, 16, 256, 4_096)


class Cluster:
    """Topics and offsets of the cluster, asked over connections made when first needed."""

    def __init__(self, settings: KafkaSettings) -> None:
        self.admin = Admin(settings)
        self._settings = settings
        self._lock = threading.RLock()
        self._reader: KafkaConsumer | None = None
        self._partitions: dict[str, int] = {}
        self._ensured = True
        self._ends: dict[TopicPartition, tuple[int, int]] = {}

    def real(self, topic: str) -> str:
        """Return the cluster's name of a topic."""
        return self.admin.real(topic)

    def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has; raises TopicMismatch when it does not exist."""
        with self._lock:
            if not self._ensured:
                self.ensure_topics()
            if topic not in self._partitions:
                found = topics.counts(self.admin, [topic])
                if topic not in found:
                    raise TopicMismatch(
                        f"Kafka has no topic {self.real(topic)!r}; `quintet topics apply` makes the"
                        " declared ones, and so does every process that starts"
                    )
                self._partitions |= found
            return self._partitions[topic]

    def topic_partitions(self, topic: str) -> list[TopicPartition]:
        """Return a topic's partitions as kafka-python names them."""
        return [TopicPartition(self.real(topic), n) for n in range(self.partitions(topic))]

    def ensure_topics_soon(self) -> None:
        """Make and check the declared topics now, or before the first question that is answered.

        Raises:
            TopicMismatch: a topic differs from its declaration; the text names in what.
        """
        self._ensured = False
        try:
            self.ensure_topics()
        except LogUnavailable as problem:
            log.warning("kafka_not_reached", problem=str(problem))

    def ensure_topics(self) -> None:
        """Make the topics that are missing and check the others; processes may race.

        Raises:
            TopicMismatch: a topic differs from its declaration; the text names in what.
            LogUnavailable: the cluster cannot be reached.
        """
        with self._lock:
            self._partitions |= topics.ensure(self.admin)
            self._ensured = True

    def starts(self, topic: str) -> dict[TopicPartition, int]:
        """Return the first offset of each partition of a topic."""
        return self._offsets(self.topic_partitions(topic), OffsetSpec.EARLIEST)

    def start(self, partition: TopicPartition) -> int:
        """Return the first offset that is still kept."""
        return self._offsets([partition], OffsetSpec.EARLIEST)[partition]

    def highest(self, partition: TopicPartition) -> int:
        """Return the offset after everything written, open transactions included."""
        return self._offsets([partition], OffsetSpec.LATEST)[partition]

    def ends(self, topic: str) -> dict[TopicPartition, int]:
        """Return the offset after the last committed record of each partition of a topic.

        The cluster's own answer counts its transaction markers, which nobody can read; so the last
        records are looked at.
        """
        partitions = self.topic_partitions(topic)
        starts = self._offsets(partitions, OffsetSpec.EARLIEST)
        stable = self._offsets(partitions, OffsetSpec.LATEST, IsolationLevel.READ_COMMITTED)
        with self._lock:
            for partition in partitions:
                known, _ = self._ends.get(partition, (-1, 0))
                if known != stable[partition]:
                    end = self._last_readable(partition, starts[partition], stable[partition])
                    self._ends[partition] = (stable[partition], end)
            return {p: max(self._ends[p][1], starts[p]) for p in partitions}

    def _last_readable(self, partition: TopicPartition, start: int, stable: int) -> int:
        if stable == start:
            return start
        try:
            if self._reader is None:
                self._reader = connected(KafkaConsumer, self._settings.consumer())
            self._reader.assign([partition])
            for back in (*_LOOK_BACK, stable - start):
                begin = max(start, stable - back)
                self._reader.seek(partition, begin)
                end = 0
                for record in records_to(self._reader, partition, stable, self._settings):
                    end = record.offset + 1
                if end:
                    return end
                if begin == start:
                    break
        except KafkaError as problem:
            raise LogUnavailable(f"Kafka does not tell its last records: {problem}") from problem
        return start

    def _offsets(
        self,
        partitions: Sequence[TopicPartition],
        spec: OffsetSpec,
        isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
    ) -> dict[TopicPartition, int]:
        answer = self.admin.ask(
            lambda admin: admin.list_partition_offsets(
                dict.fromkeys(partitions, spec),
                isolation_level=isolation,
                timeout_ms=self._settings.timeout_ms,
            )
        )
        return {partition: found.offset for partition, found in answer.items()}

    def close(self) -> None:
        """Close the connections."""
        self.admin.close()
        with self._lock:
            if self._reader is not None:
                self._reader.close()
                self._reader = None
