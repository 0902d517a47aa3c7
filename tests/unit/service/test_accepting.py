"""New connections are taken many at a time, but not all by one of several processes."""

import asyncio
import math
import socket
import time
from contextlib import ExitStack, suppress

import pytest

from service import accepting
from service.server import listening
from tests.unit.service.running_server import RECOMMEND, play, until

COUNT = 100


class Leaving(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.abort()


async def taken(listener: socket.socket, seconds: float, *, is_shared: bool) -> int:
    """Return how many of COUNT callers an acceptor takes, until it has all, within so long."""
    found: set[asyncio.Protocol] = set()
    has_all = asyncio.Event()

    class Caller(Leaving):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            found.add(self)
            if len(found) == COUNT:
                has_all.set()

    acceptor = accepting.Acceptor(listener, Caller, is_shared=is_shared)
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
@pytest.mark.parametrize("is_shared", [False, True])
def test_everybody_in_the_queue_is_taken(listener, is_shared):
    assert asyncio.run(taken(listener, 20, is_shared=is_shared)) == COUNT


@pytest.mark.timeout(30)
def test_a_process_that_has_the_queue_for_itself_does_not_wait_between_turns(listener, monkeypatch):
    monkeypatch.setattr(accepting, "_TURN_SECONDS", 60.0)

    assert asyncio.run(taken(listener, 20, is_shared=False)) == COUNT


@pytest.mark.timeout(30)
def test_a_process_leaves_the_queue_to_others_for_a_moment(listener, monkeypatch):
    monkeypatch.setattr(accepting, "_TURN_SECONDS", 60.0)

    count = asyncio.run(taken(listener, 0.3, is_shared=True))

    assert count < COUNT / 2
    assert count + left(listener) == COUNT


@pytest.mark.timeout(30)
def test_a_turn_that_comes_late_takes_the_callers_of_those_it_missed(listener, monkeypatch):
    late: list[float] = []
    one_each = 1
    monkeypatch.setattr(accepting, "at_once", lambda seconds: late.append(seconds) or one_each)

    async def shared() -> None:
        acceptor = accepting.Acceptor(listener, Leaving, is_shared=True)
        await until(lambda: len(late) > 1)
        before = len(late)
        time.sleep(0.1)  # noqa: ASYNC251 - the loop is busy
        await until(lambda: len(late) > before)
        acceptor.close()
        await acceptor.wait_closed()
        assert late[before] > 0.09

    async def alone() -> None:
        acceptor = accepting.Acceptor(listener, Leaving)
        time.sleep(0.1)  # noqa: ASYNC251 - the loop is busy
        await until(lambda: bool(late))
        acceptor.close()
        await acceptor.wait_closed()
        assert late[0] > 0.09

    asyncio.run(shared())
    late.clear()
    asyncio.run(alone())


def answer_of(client: socket.socket) -> bytes:
    """Return the answer; empty: the connection was closed instead."""
    answer = b""
    with suppress(ConnectionResetError):
        while not answer.endswith(b"\r\n\r\nx") and (more := client.recv(4096)):
            answer += more
    return answer


@pytest.mark.timeout(30)
def test_an_ending_process_says_so_in_its_last_answers():
    async def story(served) -> None:
        with socket.create_connection(("127.0.0.1", served.port)) as client:
            client.sendall(RECOMMEND)
            before = await asyncio.to_thread(answer_of, client)
            served.server.should_exit = True
            await until(lambda: served.server.servers[0]._is_closed)
            client.sendall(RECOMMEND)
            after = await asyncio.to_thread(answer_of, client)
            ended = await asyncio.to_thread(client.recv, 1)

        assert b"connection: close" not in before
        assert after.startswith(b"HTTP/1.1 200")
        assert after.count(b"connection: close") == 1
        assert ended == b""

    play(story)


@pytest.mark.timeout(30)
def test_a_request_that_came_while_an_ending_process_stood_still_is_answered(monkeypatch):
    monkeypatch.setattr(accepting, "_ARRIVING_SECONDS", 0.2)

    async def story(served) -> None:
        with socket.create_connection(("127.0.0.1", served.port)) as client:
            client.sendall(RECOMMEND)
            await asyncio.to_thread(answer_of, client)
            sleep, slept = asyncio.sleep, []

            async def sleep_and_stand_still(seconds: float) -> None:
                await sleep(seconds)
                if seconds == accepting._LOOK_SECONDS:
                    slept.append(seconds)
                    if math.isclose(sum(slept), accepting._ARRIVING_SECONDS):
                        client.sendall(RECOMMEND)

            monkeypatch.setattr(asyncio, "sleep", sleep_and_stand_still)
            served.server.should_exit = True

            answer = await asyncio.to_thread(answer_of, client)

        assert answer.startswith(b"HTTP/1.1 200")

    play(story)
