"""New connections are taken many at a time, but not all by one of several processes."""

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from service import accepting
from service.server import listening

COUNT = 100


async def taken(
    listener: socket.socket,
    seconds: float,
    expected: int = COUNT,
    gone: Callable[[], None] = lambda: None,
) -> int:
    """Return how many callers an acceptor takes, until it has all, within so long."""
    found: set[asyncio.Protocol] = set()
    has_all = asyncio.Event()

    class Caller(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            found.add(self)
            transport.abort()
            if len(found) == expected:
                has_all.set()

    acceptor = accepting.Acceptor(listener, Caller, gone=gone)
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
def test_who_has_reset_the_connection_is_counted_and_not_taken(listener):
    leaves_at_once = struct.pack("ii", 1, 0)
    for _ in range(3):
        with socket.create_connection(listener.getsockname()) as caller:
            caller.sendall(b"GET / HTTP/1.1\r\n\r\n")
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, leaves_at_once)
    gone = []

    with socket.create_connection(listener.getsockname()) as last:
        last.sendall(b"GET / HTTP/1.1\r\n\r\n")
        last.shutdown(socket.SHUT_WR)  # has sent everything, and waits for the answer
        count = asyncio.run(taken(listener, 20, COUNT + 1, lambda: gone.append(1)))

    assert count == COUNT + 1
    assert len(gone) == 3


@pytest.mark.timeout(30)
def test_a_process_leaves_the_queue_to_others_for_a_moment(listener, monkeypatch):
    monkeypatch.setattr(accepting, "_TURN_SECONDS", 60.0)

    count = asyncio.run(taken(listener, 0.3))

    assert count < COUNT / 2
    assert count + left(listener) == COUNT
