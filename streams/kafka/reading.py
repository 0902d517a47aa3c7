"""Reading one partition up to a known offset: a group's state, the last records."""

import time
from collections.abc import Iterator
from typing import Any, Final

from kafka import KafkaConsumer, TopicPartition

from streams.errors import LogUnavailable
from streams.kafka.settings import KafkaSettings

_POLL_MS: Final = 100


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
