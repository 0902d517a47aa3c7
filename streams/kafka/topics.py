"""Topics on the cluster beside their declarations: made where missing, named where they differ.

What is declared stands in `streams.topics` (which topics, how many partitions, what is kept or
compacted) and in `KafkaSettings.topic_configuration` (how the cluster is told that), nowhere else.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from kafka.errors import NoError, TopicAlreadyExistsError

from streams.errors import TopicMismatch
from streams.kafka.admin import Admin
from streams.topics import TOPICS, Topic

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TopicSetting:
    """One setting of a topic: as declared and as the cluster has it.

    Attributes:
        name: Kafka's name of it.
        declared: what the topic is made with.
        actual: None: there is no such topic.
        required: False: another value is the operator's business.
    """

    name: str
    declared: str
    actual: str | None
    required: bool


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic beside its declaration.

    Attributes:
        name: as the cluster names it.
        declared_partitions: fixed at creation.
        partitions: None: there is no such topic.
        settings: every declared one.
        faults: what forbids its use, one sentence each: what differs, and what to do.
    """

    name: str
    declared_partitions: int
    partitions: int | None
    settings: tuple[TopicSetting, ...]
    faults: tuple[str, ...]


def states(admin: Admin, topics: Sequence[Topic] = TOPICS) -> list[TopicState]:
    """Return every declared topic beside what the cluster has; raises LogUnavailable."""
    found = counts(admin, [topic.name for topic in topics])
    return [_state(admin, topic, found.get(topic.name)) for topic in topics]


def make_missing(admin: Admin, topics: Sequence[Topic] = TOPICS) -> list[str]:
    """Make the topics that are missing; return their names on the cluster. Processes may race.

    Raises:
        TopicMismatch: the cluster refuses one; the text says why.
        LogUnavailable: the cluster cannot be reached.
    """
    found = counts(admin, [topic.name for topic in topics])
    missing = [topic for topic in topics if topic.name not in found]
    if missing:
        _create(admin, missing)
    return [admin.real(topic.name) for topic in missing]


def ensure(admin: Admin, topics: Sequence[Topic] = TOPICS) -> dict[str, int]:
    """Make the topics that are missing, check the others, return the partitions of each.

    Raises:
        TopicMismatch: a topic differs from its declaration; the text names in what, and what to do.
        LogUnavailable: the cluster cannot be reached.
    """
    make_missing(admin, topics)
    found = counts(admin, [topic.name for topic in topics])
    faults = [
        fault for topic in topics for fault in _state(admin, topic, found.get(topic.name)).faults
    ]
    if faults:
        raise TopicMismatch("; ".join(faults) + " (`quintet topics list` shows them all)")
    return found


def counts(admin: Admin, topics: Sequence[str]) -> dict[str, int]:
    """Return the number of partitions of those topics that exist."""
    names = {admin.real(topic): topic for topic in topics}
    answer: Any = admin.ask(lambda client: client.describe_topics(list(names)))
    return {
        names[topic["name"]]: len(topic["partitions"])
        for topic in answer
        if topic["error_code"] == NoError.errno
    }


def _create(admin: Admin, topics: Iterable[Topic]) -> None:
    settings = admin.settings
    wanted = {
        admin.real(topic.name): {
            "num_partitions": topic.partitions,
            "replication_factor": settings.replication,
            "configs": settings.topic_configuration(topic),
        }
        for topic in topics
    }
    answer: Any = admin.ask(
        lambda client: client.create_topics(
            wanted, timeout_ms=settings.timeout_ms, raise_errors=False
        )
    )
    for topic in answer["topics"]:
        if topic["error_code"] not in {NoError.errno, TopicAlreadyExistsError.errno}:
            raise TopicMismatch(f"Kafka refused topic {topic['name']!r}: {topic['error_message']}")
    admin.ask(lambda client: client.wait_for_topics(list(wanted), settings.timeout_ms))
    log.info("topics_created", topics=sorted(wanted))


def _state(admin: Admin, topic: Topic, partitions: int | None) -> TopicState:
    name, declared = admin.real(topic.name), admin.settings.topic_configuration(topic)
    required = admin.settings.required_configuration(topic)
    actual: Mapping[str, str] = (
        {} if partitions is None else admin.configuration(topic.name, list(declared))
    )
    settings = tuple(
        TopicSetting(key, value, actual.get(key), key in required)
        for key, value in declared.items()
    )
    faults = () if partitions is None else tuple(_faults(admin, topic, partitions, settings))
    return TopicState(name, topic.partitions, partitions, settings, faults)


def _faults(
    admin: Admin, topic: Topic, partitions: int, settings: Iterable[TopicSetting]
) -> Iterable[str]:
    name = admin.real(topic.name)
    if partitions != topic.partitions:
        yield (
            f"{name!r} has {partitions} partitions, declared {topic.partitions}: the number is"
            " fixed at creation, because keys would move; set another QUINTET_KAFKA_TOPIC_PREFIX,"
            " or remove the topic with all it holds"
        )
    differs = [s for s in settings if s.required and s.actual != s.declared]
    for setting in differs:
        yield (
            f"{name!r} has {setting.name}={setting.actual}, declared {setting.declared}: alter it"
            f" with kafka-configs.sh --alter --entity-type topics --entity-name {name}"
            f" --add-config {setting.name}={setting.declared}"
        )
