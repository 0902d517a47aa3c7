"""The server's side of a socket: early refusals, requests sent ahead, and room for connections."""

import asyncio
import json
import resource
import socket
import struct
import sys

import pytest
from structlog.testing import capture_logs

from service.accepting import connections_allowed
from tests.unit.service.running_server import RECOMMEND, Served, play, until


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


@pytest.mark.skipif(sys.platform != "linux", reason="no other system tells")
@pytest.mark.parametrize("abruptly", [False, True])
def test_who_asked_for_a_banner_and_left_at_once_is_not_looked_at_but_events_are(abruptly):
    async def story(served: Served) -> None:
        for path in (b"/recommend", b"/events"):
            with socket.create_connection(("127.0.0.1", served.port)) as client:
                client.sendall(RECOMMEND.replace(b"/recommend", path))
                if abruptly:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        await until(lambda: served.app.seen == 1)
        assert served.app.scope["path"] == "/events"
        assert (len(served.left), served.refused) == (1, [])
        await until(lambda: not served.server.server_state.connections)
        assert served.lane().under_way == 0

    play(story)


def test_an_app_is_told_that_a_client_has_left_before_its_answer():
    async def story(served: Served) -> None:
        served.app.open.clear()
        client = await served.client()
        client.send(RECOMMEND)
        await until(lambda: served.app.seen == 1)
        assert not served.app.scope["has_left"]()

        client.writer.transport.abort()

        await until(lambda: served.app.scope["has_left"]())

    play(story, banners=1)


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
