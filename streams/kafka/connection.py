"""Making kafka-python's clients, and leaving nothing behind where that fails.

A constructor that cannot reach the cluster raises, but its thread and sockets live on: a process
that tries again for an hour would collect thousands. So the network client inside is remembered.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from kafka.errors import KafkaError
from kafka.net.compat import KafkaNetClient

from streams.errors import LogUnavailable

C = TypeVar("C")


def connected(kind: Callable[..., C], options: dict[str, Any]) -> C:
    """Return a client of the cluster; raises LogUnavailable and closes what it had opened."""
    opened: list[KafkaNetClient] = []

    def open_network(**configuration: object) -> KafkaNetClient:
        opened.append(KafkaNetClient(**configuration))
        return opened[-1]

    try:
        return kind(**options, kafka_client=open_network)
    except KafkaError as problem:
        for network in opened:
            with suppress(KafkaError):
                network.close()
        raise LogUnavailable(f"Kafka cannot be reached: {problem}") from problem
