"""Making kafka-python's clients, and leaving nothing behind where that fails.

A constructor that cannot reach the cluster raises, but its thread and sockets live on: a process
that tries again for an hour would collect thousands. So the network client inside is remembered.
Whatever went wrong, kafka-python says that time ran out; so the connection's own end is remembered
too, and explained.
"""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeVar
from weakref import WeakSet

from kafka.errors import (
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    RequestTimedOutError,
)
from kafka.net.compat import KafkaNetClient
from kafka.net.connection import KafkaConnection
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector

from streams.errors import LogUnavailable
from streams.kafka.diagnosis import explanation

C = TypeVar("C")
_TELLS_LITTLE: Final = (KafkaConnectionError, KafkaTimeoutError, RequestTimedOutError)


class _Manager(KafkaConnectionManager):  # type: ignore[misc]  # kafka-python has no types
    """kafka-python's connections, and how the last that failed to open ended."""

    failure: BaseException | None = None

    def get_connection(self, *arguments: Any, **options: Any) -> KafkaConnection:  # noqa: ANN401
        connection = super().get_connection(*arguments, **options)
        if not connection.init_future.is_done:
            connection.init_future.add_errback(self._remember)
        return connection

    def _remember(self, failure: BaseException) -> None:
        # Whatever happened first, later tries end in silence, or because time runs out.
        if self.failure is None or not isinstance(failure, _TELLS_LITTLE):
            self.failure = failure


class _Network(NetworkSelector):  # type: ignore[misc]  # kafka-python has no types
    """kafka-python's loop, whose end is the end of every socket that it waited for.

    Its own `close` leaves open what still had something to send, and what was being connected.
    """

    def __init__(self, **configuration: Any) -> None:  # noqa: ANN401 - kafka-python's
        super().__init__(**configuration)
        self._noting = threading.Lock()
        self._waited_for: WeakSet[socket.socket] = WeakSet()
        self._left: list[socket.socket] | None = None
        """Once it is being closed: what is held until then, so that nobody drops it unclosed."""

    def _wait_io(self, fileobj: socket.socket, *arguments: Any) -> None:  # noqa: ANN401
        with self._noting:
            self._waited_for.add(fileobj)
            if self._left is not None:
                self._left.append(fileobj)
        super()._wait_io(fileobj, *arguments)

    def close(self) -> None:
        with self._noting:
            self._left = list(self._waited_for)
        super().close()
        for each in self._left:
            each.close()


def connected(kind: Callable[..., C], options: dict[str, Any]) -> C:
    """Return a client of the cluster; raises LogUnavailable and closes what it had opened."""
    opened: list[KafkaNetClient] = []

    def open_network(**configuration: Any) -> KafkaNetClient:  # noqa: ANN401 - kafka-python's
        net = _Network(**configuration)
        opened.append(KafkaNetClient(net, _Manager(net, **configuration), **configuration))
        return opened[-1]

    try:
        return kind(**options, kafka_client=open_network)
    except KafkaError as problem:
        failure = next((each._manager.failure for each in opened), None) or problem  # noqa: SLF001
        for network in opened:
            with suppress(KafkaError):
                network.close()
        raise LogUnavailable(
            f"Kafka cannot be reached at {','.join(options['bootstrap_servers'])}:"
            f" {explanation(options, failure)}"
        ) from problem
