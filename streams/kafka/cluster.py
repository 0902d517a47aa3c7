"""What there is on the cluster: topics as declared, first and last offsets."""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeVar

import structlog
from kafka import IsolationLevel, KafkaAdminClient, KafkaConsumer, OffsetSpec, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError, NoError, TopicAlreadyExistsError

from streams.errors import LogUnavailable, TopicMismatch
from streams.kafka.connection import connected
from streams.kafka.reading import records_to
from streams.kafka.settings import KafkaSettings
from streams.topics import TOPICS, Topic

log = structlog.get_logger(__name__)

T = TypeVar("T")
_LOOK_BACK: Final = (2, 16, 256, 4_096)


class Cluster:
    """Topics and offsets of the cluster, asked over connections made when first needed."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._lock = threading.RLock()
        self._admin: KafkaAdminClient | None = None
        self._reader: KafkaConsumer | None = None
        self._partitions: dict[str, int] = {}
        self._ensured = True
        self._ends: dict[TopicPartition, tuple[int, int]] = {}

    def real(self, topic: str) -> str:
        """Return the cluster's name of a topic."""
        return self._settings.topic_prefix + topic

    def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has; raises TopicMismatch when it does not exist."""
        with self._lock:
            if not self._ensured:
                self.ensure_topics()
            if topic not in self._partitions:
                found = self._found([topic])
                if topic not in found:
                    raise TopicMismatch(
                        f"Kafka has no topic {self.real(topic)!r}; the commands of quintet make"
                        " the declared topics when they start"
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

    def ensure_topics(self, topics: Sequence[Topic] = TOPICS) -> None:
        """Make the topics that are missing and check the others; processes may race.

        Raises:
            TopicMismatch: a topic differs from its declaration; the text names in what.
            LogUnavailable: the cluster cannot be reached.
        """
        with self._lock:
            found = self._found([topic.name for topic in topics])
            missing = [topic for topic in topics if topic.name not in found]
            if missing:
                self._create(missing)
                found |= self._found([topic.name for topic in missing])
            faults = [fault for topic in topics for fault in self._faults(topic, found)]
            if faults:
                raise TopicMismatch(
                    "; ".join(faults) + ". Alter the topic, or set another topic prefix"
                )
            self._partitions |= found
            self._ensured = True

    def declared_faults(self, topics: Sequence[Topic] = TOPICS) -> list[str]:
        """Return in what the cluster's topics differ from their declaration; nothing is changed.

        Raises:
            LogUnavailable: the cluster cannot be reached.
        """
        with self._lock:
            found = self._found([topic.name for topic in topics])
            missing = [topic for topic in topics if topic.name not in found]
            faults = [f"{self.real(topic.name)!r} does not exist" for topic in missing]
            present = (topic for topic in topics if topic not in missing)
            return faults + [fault for topic in present for fault in self._faults(topic, found)]

    def _create(self, topics: Iterable[Topic]) -> None:
        wanted = {
            self.real(topic.name): {
                "num_partitions": topic.partitions,
                "replication_factor": self._settings.replication,
                "configs": self._settings.topic_configuration(topic),
            }
            for topic in topics
        }
        answer = self._ask(
            lambda admin: admin.create_topics(
                wanted, timeout_ms=self._settings.timeout_ms, raise_errors=False
            )
        )
        for topic in answer["topics"]:
            if topic["error_code"] not in {NoError.errno, TopicAlreadyExistsError.errno}:
                raise TopicMismatch(
                    f"Kafka refused topic {topic['name']!r}: {topic['error_message']}"
                )
        self._ask(lambda admin: admin.wait_for_topics(list(wanted), self._settings.timeout_ms))
        log.info("topics_created", topics=sorted(wanted))

    def _faults(self, topic: Topic, found: Mapping[str, int]) -> Iterable[str]:
        name = self.real(topic.name)
        if found.get(topic.name) != topic.partitions:
            yield f"{name!r} has {found.get(topic.name)} partitions, declared {topic.partitions}"
        required = self._settings.required_configuration(topic)
        resource = ConfigResource(ConfigResourceType.TOPIC, name, list(required))
        answer = self._ask(lambda admin: admin.describe_configs([resource], config_filter="all"))
        actual = answer["topic"][name]
        for key, value in required.items():
            if actual[key]["value"] != value:
                yield f"{name!r} has {key}={actual[key]['value']}, declared {value}"

    def _found(self, topics: Sequence[str]) -> dict[str, int]:
        names = {self.real(topic): topic for topic in topics}
        answer = self._ask(lambda admin: admin.describe_topics(list(names)))
        return {
            names[topic["name"]]: len(topic["partitions"])
            for topic in answer
            if topic["error_code"] == NoError.errno
        }

    def starts(self, topic: str) -> dict[TopicPartition, int]:
        """Return the first offset of each partition of a topic."""
        return self._offsets(self.topic_partitions(topic), OffsetSpec.EARLIEST)

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
        answer = self._ask(
            lambda admin: admin.list_partition_offsets(
                dict.fromkeys(partitions, spec),
                isolation_level=isolation,
                timeout_ms=self._settings.timeout_ms,
            )
        )
        return {partition: found.offset for partition, found in answer.items()}

    def _ask(self, question: Callable[[KafkaAdminClient], T]) -> T:
        with self._lock:
            if self._admin is None:
                self._admin = connected(KafkaAdminClient, self._settings.connection())
            try:
                return question(self._admin)
            except KafkaError as problem:
                raise LogUnavailable(f"Kafka does not answer: {problem}") from problem

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            if self._admin is not None:
                self._admin.close()
                self._admin = None
            if self._reader is not None:
                self._reader.close()
                self._reader = None
