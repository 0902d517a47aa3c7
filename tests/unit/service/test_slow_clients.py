"""Clients that keep the server waiting lose their places, and cost nobody else an answer."""

import pytest

from tests.unit.service.running_server import RECOMMEND, Served, play, until


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
