"""Reading one partition up to a known offset: a group's state, the last records."""

import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from streams.errors import LogUnavailable
from streams.kafka.connection import connected
from streams.kafka.settings import KafkaSettings
from streams.port import Partition

_POLL_MS: Final = 100
_SEPARATOR: Final = b"\0"


def records_to(
    consumer: KafkaConsumer, partition: TopicPartition, end: int, settings: KafkaSettings
) -> Iterator[Any]:
    """Yield committed records from the consumer's position until that position reaches `end`.

    Raises:
        LogUnavailable: no progress for as long as an open transaction may last.
    """
    patience = settings.timeout_seconds + settings.transaction_timeout_seconds
    deadline, before = time.monotonic() + patience, -1
    while (position := consumer.position(partition, timeout_ms=settings.timeout_ms)) is None or (
        position < end
    ):
        if position != before:
            deadline, before = time.monotonic() + patience, position
        if time.monotonic() > deadline:
            raise LogUnavailable(f"{partition} cannot be read beyond offset {position}, of {end}")
        for records in consumer.poll(timeout_ms=_POLL_MS).values():
            yield from records


def state_key(group: str, partition: Partition, key: bytes) -> bytes:
    """Return the key of a group's state in the changelog, which all groups share."""
    return _SEPARATOR.join((group.encode(), partition.topic.encode(), key))


def read_state(
    settings: KafkaSettings,
    changelog: TopicPartition,
    end: int,
    *,
    group: str,
    partition: Partition,
) -> dict[bytes, bytes]:
    """Return the last value of each key of a group's state of one partition; raises LogUnavailable.

    Args:
        settings: the way to the cluster.
        changelog: the partition of the changelog with the number of `partition`.
        end: the offset after everything written to it, transactions still open included: what they
            hold is waited for, because the group's offsets may already be beyond them.
        group: whose state.
        partition: of which partition.
    """
    prefix = state_key(group, partition, b"")
    state: dict[bytes, bytes] = {}
    try:
        with closing(connected(KafkaConsumer, settings.consumer())) as consumer:
            consumer.assign([changelog])
            for record in records_to(consumer, changelog, end, settings):
                if not record.key.startswith(prefix):
                    continue
                key = record.key[len(prefix) :]
                if record.value is None:
                    state.pop(key, None)
                else:
                    state[key] = record.value
    except KafkaError as problem:
        raise LogUnavailable(f"Kafka does not give the state back: {problem}") from problem
    return state
