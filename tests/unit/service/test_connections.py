"""The server's side of a socket: early refusals, and clients that keep it waiting."""

import asyncio
import json
import resource
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from service.accepting import Server, connections_allowed
from service.admission import Admission, AdmissionSettings
from service.server import configuration, listening

SOON = 20.0
RECOMMEND = b"POST /recommend HTTP/1.1\r\nhost: shop\r\ncontent-length: 2\r\n\r\n{}"


class App:
    """Answers 200 with the body's length, once it is allowed to."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.seen = 0
        self.answer = b"x"

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        self.seen += 1
        message = await receive()
        while message.get("more_body"):
            message = await receive()
        await self.open.wait()
        length = [(b"content-length", b"%d" % len(self.answer))]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        await send({"type": "http.response.body", "body": self.answer})


class Served:
    """A running server, and what it refused."""

    def __init__(
        self, server: Server, app: App, port: int, admission: Admission, refused: list[str]
    ) -> None:
        self.server = server
        self.app, self.port, self.admission, self.refused = app, port, admission, refused
        self.clients: list[Client] = []

    def lane(self, path: bytes = b"/recommend", length: bytes = b"2"):
        return self.admission.lane(path, [(b"content-length", length)])

    async def client(self) -> "Client":
        self.clients.append(Client(*await asyncio.open_connection("127.0.0.1", self.port)))
        return self.clients[-1]


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        async with asyncio.timeout(SOON):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            body = await self.reader.readexactly(int(headers["content-length"]))
        return int(head[0].split()[1]), headers, body

    async def ended(self) -> bytes:
        """Return what came until the server closed the connection."""
        async with asyncio.timeout(SOON):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""


@asynccontextmanager
async def running(*, trusted_proxies: str = "", **settings) -> AsyncIterator[Served]:
    app, refused = App(), []
    given = {"refusal_seconds": 0.01, "watch_seconds": 0.02} | settings
    admission = Admission(
        AdmissionSettings(**given), refused=refused.append, monotonic=time.monotonic
    )
    listener = listening("127.0.0.1", 0)
    port = listener.getsockname()[1]
    server = Server(configuration(app, admission, trusted_proxies=trusted_proxies))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    served = Served(server, app, port, admission, refused)
    try:
        yield served
    finally:
        app.open.set()
        for client in served.clients:
            client.writer.close()
        server.should_exit = True
        await task


def play(story: Callable[[Served], Awaitable[None]], **settings) -> None:
    async def told() -> None:
        async with running(**settings) as served:
            await story(served)

    import uvloop

    uvloop.run(told())


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON):
        while not holds():  # noqa: ASYNC110 - the server runs in the same loop
            await asyncio.sleep(0.005)


def test_what_is_too_much_is_refused_as_a_problem_and_comes_through_later():
    async def story(served: Served) -> None:
        first, second = await served.client(), await served.client()
        served.app.open.clear()
        first.send(RECOMMEND)
        await until(lambda: served.lane().under_way == 1)

        second.send(RECOMMEND)
        status, headers, body = await second.answer()

        assert status == 503
        assert headers["retry-after"] == "1"
        assert headers["content-type"] == "application/problem+json"
        assert json.loads(body)["status"] == 503
        assert json.loads(body)["request_id"] is None
        assert (served.refused, served.app.seen) == (["banners"], 1)
        served.app.open.set()
        assert (await first.answer())[0] == 200
        second.send(RECOMMEND)
        assert (await second.answer())[0] == 200
        assert served.lane().under_way == 0

    play(story, banners=1)


def test_a_refusal_does_not_wait_for_the_body_which_is_then_left_alone():
    async def story(served: Served) -> None:
        client = await served.client()
        client.send(b"POST /recommend HTTP/1.1\r\nhost: shop\r\ncontent-length: 60000\r\n\r\n")

        assert (await client.answer())[0] == 503
        client.send(b"GET /x HTTP/1.1\r\n" * 3_000 + b"." * 9_000 + b"GET /livez HTTP/1.1\r\n\r\n")

        assert (await client.answer())[0] == 200
        assert served.app.seen == 1

    play(story, banners=0)


def test_refusals_keep_their_order_when_requests_are_sent_before_the_answers():
    async def story(served: Served) -> None:
        client = await served.client()
        client.send(RECOMMEND * 2 + b"GET /livez HTTP/1.1\r\n\r\n")

        assert [(await client.answer())[0] for _ in range(3)] == [503, 503, 503]
        client.send(b"GET /livez HTTP/1.1\r\n\r\n")
        assert (await client.answer())[0] == 200

    play(story, banners=0)


def test_requests_sent_before_the_answers_are_counted_one_by_one():
    async def story(served: Served) -> None:
        client = await served.client()
        client.send(RECOMMEND + b"GET /livez HTTP/1.1\r\n\r\n" + RECOMMEND)

        assert [(await client.answer())[0] for _ in range(3)] == [200, 200, 200]
        assert served.lane().under_way == 0

    play(story)


def test_one_connection_cannot_take_everybodys_place_by_sending_before_the_answers(caplog):
    async def story(served: Served) -> None:
        served.app.open.clear()
        client, other = await served.client(), await served.client()
        client.send(RECOMMEND * 100)

        assert await client.ended() == b""
        assert served.refused == ["pipelined"]
        await until(lambda: served.lane().under_way == 0)
        served.app.open.set()
        other.send(RECOMMEND * 8)
        assert [(await other.answer())[0] for _ in range(8)] == [200] * 8
        assert served.lane().under_way == 0

    play(story, banners=20)
    assert caplog.records == []


def test_a_client_that_closes_after_its_request_is_answered_and_closed():
    async def story(served: Served) -> None:
        client = await served.client()
        client.send(RECOMMEND.replace(b"host: shop", b"connection: close"))

        assert b"connection: close" in await client.ended()

    play(story, banners=0)


def test_a_connection_that_is_to_end_does_so_whatever_is_sent_meanwhile():
    async def story(served: Served) -> None:
        client = await served.client()
        client.send(RECOMMEND)
        await until(lambda: len(served.refused) == 1)

        (connection,) = served.server.server_state.connections
        connection.shutdown()
        client.send(RECOMMEND)

        said = await client.ended()
        assert said.count(b"HTTP/1.1 503 ") == said.count(b"connection: close") == 1

    play(story, banners=0, refusal_seconds=0.5)


def test_a_refused_head_request_is_answered_by_a_head_alone():
    async def story(served: Served) -> None:
        client = await served.client()
        client.send(b"HEAD /recommend HTTP/1.1\r\nhost: shop\r\n\r\n")

        head, end, body = (await client.ended()).partition(b"\r\n\r\n")

        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"connection: close" in head
        assert (end, body) == (b"\r\n\r\n", b"")

    play(story, banners=0)


@pytest.mark.parametrize("sent", [RECOMMEND, RECOMMEND[:-1]])
def test_who_is_turned_away_gets_the_id_of_the_request_back(sent):
    async def story(served: Served) -> None:
        client = await served.client()
        client.send(sent.replace(b"host: shop", b"x-request-id: page-17"))

        _, headers, body = await client.answer()

        assert headers["x-request-id"] == json.loads(body)["request_id"] == "page-17"

    play(story, banners=0 if sent is RECOMMEND else 1, request_seconds=0.1)


def test_refusals_that_nobody_waits_for_end():
    async def story(served: Served) -> None:
        client = await served.client()
        client.send(RECOMMEND * 100)

        assert await client.ended() == b""

    play(story, banners=0, refusal_seconds=1.0)


def test_what_is_not_http_is_counted():
    async def story(served: Served) -> None:
        client = await served.client()
        client.send(b"hello\r\n\r\n")

        assert (await client.ended()).startswith(b"HTTP/1.1 400 ")
        assert served.refused == ["not_http"]

    play(story)


def test_what_operators_ask_is_answered_while_everything_else_is_refused():
    async def story(served: Served) -> None:
        client = await served.client()
        client.send(b"GET /metrics HTTP/1.1\r\n\r\n")

        assert (await client.answer())[0] == 200

    play(story, banners=0, events=0, large_bodies=0)


def test_a_client_that_leaves_gives_its_place_back():
    async def story(served: Served) -> None:
        client = await served.client()
        served.app.open.clear()
        client.send(RECOMMEND)
        await until(lambda: served.lane().under_way == 1)

        client.writer.close()

        await until(lambda: served.lane().under_way == 0)

    play(story)


@pytest.mark.parametrize("path", [b"/recommend", b"/events"])
def test_a_body_that_does_not_come_takes_nobodys_place_and_gets_a_408(path: bytes):
    async def story(served: Served) -> None:
        slow, quick = await served.client(), await served.client()
        slow.send(b"POST " + path + b" HTTP/1.1\r\ncontent-length: 10\r\n\r\n{")
        await until(lambda: served.app.seen == 1)

        quick.send(RECOMMEND)

        assert (await quick.answer())[0] == 200
        said = await slow.ended()
        assert said.startswith(b"HTTP/1.1 408 ")
        assert b"application/problem+json" in said
        assert served.refused == ["slow_request"]

    play(story, banners=1, events=1, request_seconds=0.1)


def test_a_head_that_does_not_come_gets_a_408():
    async def story(served: Served) -> None:
        client = await served.client()
        client.send(b"POST /recommend HTTP/1.1\r\nhost:")

        assert (await client.ended()).startswith(b"HTTP/1.1 408 ")

    play(story, request_seconds=0.1)


def test_large_bodies_that_do_not_come_hold_their_places_only_so_long():
    async def story(served: Served) -> None:
        large = b"POST /events HTTP/1.1\r\ncontent-length: 70000\r\n\r\n"
        slow, other = await served.client(), await served.client()
        slow.send(large)
        await until(lambda: served.app.seen == 1)

        other.send(large + b"." * 70_000)

        assert (await other.answer())[0] == 503
        assert (await slow.ended()).startswith(b"HTTP/1.1 408 ")
        other.send(large + b"." * 70_000)
        assert (await other.answer())[0] == 200
        assert served.refused == ["large_bodies", "slow_request"]

    play(story, large_bodies=1, request_seconds=0.3)


LARGE = b"POST /events HTTP/1.1\r\ncontent-length: 70000\r\n"


def test_one_address_cannot_take_every_place_of_large_bodies():
    async def story(served: Served) -> None:
        slow = [await served.client() for _ in range(3)]
        for one in slow:
            one.send(LARGE + b"\r\n")
        await until(lambda: served.refused == ["large_bodies"])

        assert served.app.seen == 2
        for one in slow:
            one.writer.close()
        await until(lambda: served.lane(b"/events", b"70000").under_way == 0)
        client = await served.client()
        client.send(LARGE + b"\r\n" + b"." * 70_000)
        assert (await client.answer())[0] == 200

    play(story, large_bodies_each=2)


def test_a_trusted_proxy_speaks_for_many_addresses():
    async def story(served: Served) -> None:
        named = [b"2.2.2.2", b"2.2.2.2, 127.0.0.1", b"2.2.2.3", b"2.2.2.2"]
        for address in named:
            (await served.client()).send(LARGE + b"x-forwarded-for: " + address + b"\r\n\r\n")
        for _ in range(3):
            (await served.client()).send(LARGE + b"\r\n")
        await until(lambda: served.app.seen == 6)

        assert served.refused == ["large_bodies"]

    play(story, large_bodies_each=2, trusted_proxies="127.0.0.1")


def test_large_bodies_sent_before_the_answers_find_no_more_places():
    async def story(served: Served) -> None:
        served.app.open.clear()
        client = await served.client()
        client.send(RECOMMEND + (LARGE + b"\r\n" + b"." * 70_000) * 2)

        assert await client.ended() == b""
        assert served.refused == ["pipelined"]
        await until(lambda: served.lane(b"/events", b"70000").under_way == 0)

    play(story, large_bodies_each=1)


def test_connections_without_a_request_are_closed_and_cost_nobody_an_answer():
    async def story(served: Served) -> None:
        idle = [await served.client() for _ in range(100)]
        client = await served.client()
        client.send(RECOMMEND)

        assert (await client.answer())[0] == 200
        assert [await one.ended() for one in idle] == [b""] * 100
        assert served.refused == []

    play(story, idle_seconds=0.2)


def test_a_client_that_does_not_take_its_answer_is_cut():
    async def story(served: Served) -> None:
        served.app.answer = b"x" * 20_000_000
        client = await served.client()
        client.send(b"GET /docs HTTP/1.1\r\n\r\n")

        await until(lambda: served.refused == ["slow_reader"])

        assert len(await client.ended()) < 20_000_000

    play(story, answer_seconds=0.2)


def test_who_finds_no_room_waits_in_the_queue_and_the_process_keeps_files_to_open(monkeypatch):
    async def story(served: Served) -> None:
        first, second = await served.client(), await served.client()
        for client in (first, second):
            client.send(RECOMMEND)
            assert (await client.answer())[0] == 200

        third = await served.client()
        third.send(RECOMMEND)
        await asyncio.sleep(0.5)
        assert served.app.seen == 2
        first.writer.close()

        assert (await third.answer())[0] == 200

    monkeypatch.setattr("service.accepting.connections_allowed", lambda: 2)
    with capture_logs() as said:
        play(story)
    assert [line["event"] for line in said].count("no_connection_taken") == 1


@pytest.mark.parametrize(("soft", "allowed"), [(65_536, 65_280), (1_024, 768), (256, 128)])
def test_most_files_are_for_connections_but_not_all(monkeypatch, soft, allowed):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, 65_536))

    assert connections_allowed() == allowed
