"""New connections are taken many at a time, but not all by one of several processes."""

import asyncio
import socket
from contextlib import ExitStack

import pytest

from service import accepting
from service.server import listening

COUNT = 100


async def taken(listener: socket.socket, seconds: float) -> int:
    """Return how many of COUNT callers an acceptor takes, until it has all, within so long."""
    found: set[asyncio.Protocol] = set()
    has_all = asyncio.Event()

    class Caller(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            found.add(self)
            transport.abort()
            if len(found) == COUNT:
                has_all.set()

    acceptor = accepting.Acceptor(listener, Caller)
    try:
        await asyncio.wait_for(has_all.wait(), seconds)
    except TimeoutError:
        pass
    finally:
        acceptor.close()
        await acceptor.wait_closed()
    return len(found)


def left(listener: socket.socket) -> int:
    count = 0
    while True:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            return count
        connection.close()
        count += 1


@pytest.fixture
def listener():
    with ExitStack() as stack:
        found = stack.enter_context(listening("127.0.0.1", 0))
        for _ in range(COUNT):
            stack.enter_context(socket.create_connection(found.getsockname()))
        yield found


@pytest.mark.timeout(30)
def test_everybody_in_the_queue_is_taken(listener):
    assert asyncio.run(taken(listener, 20)) == COUNT


@pytest.mark.timeout(30)
def test_a_process_leaves_the_queue_to_others_for_a_moment(listener, monkeypatch):
    monkeypatch.setattr(accepting, "_TURN_SECONDS", 60.0)

    count = asyncio.run(taken(listener, 0.3))

    assert count < COUNT / 2
    assert count + left(listener) == COUNT
