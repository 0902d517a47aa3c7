"""What a client of Kafka leaves open when it is closed: nothing."""

import gc
import socket
import warnings
from contextlib import closing
from typing import Any

import pytest
from kafka.net.compat import KafkaNetClient
from kafka.net.transport import KafkaTCPTransport

from streams.kafka.connection import connected


def opened_network(port: int = 9) -> KafkaNetClient:
    made: list[KafkaNetClient] = []

    def client(*, kafka_client: Any, **options: Any) -> None:
        made.append(kafka_client(**options))

    connected(client, {"bootstrap_servers": [f"127.0.0.1:{port}"]})
    return made[0]


def test_a_connection_that_still_had_something_to_send_is_closed() -> None:
    network = opened_network()
    here, there = socket.socketpair()
    here.setblocking(False)
    transport = KafkaTCPTransport(network._net, here)

    transport.write(b"what the group is told at the end")
    transport.close()
    network.close()

    assert here.fileno() == -1
    there.close()


@pytest.mark.parametrize("polls", [0, 1, 2, 3, 10])
def test_a_connection_that_nobody_has_taken_yet_is_closed(polls: int) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        # What is beyond the backlog of a listener on this machine stays half open.
        with closing(socket.create_connection(("127.0.0.1", port))):
            network = opened_network(port)
            network._manager.bootstrap_async()
            for _ in range(polls):
                network.poll(timeout_ms=0)

            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                network.close()
                gc.collect()

    assert [str(each.message) for each in told if each.category is ResourceWarning] == []
