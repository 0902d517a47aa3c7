"""No visit of the shoppers of `make load` vanishes, whatever the service answers, or does not."""

import asyncio
from contextlib import contextmanager
from http import HTTPStatus
from types import SimpleNamespace

import msgspec
import pytest

from load.client import run_client
from load.schedule import LAST_SECONDS, Phase, Shop, Spec
from load.shoppers import PATIENCE_SECONDS, Shoppers
from load.traffic import CAPPED, Played

BANNER = {
    "recommendation_id": "r", "attribution_token": "t",
    "products": [{"product_id": f"product-{row}"} for row in range(5)],
}  # fmt: skip
REFUSED = {"Retry-After": "1"}


class Answers:
    """Locust's client with answers of its own; the clock moves on meanwhile."""

    def __init__(self, shop: Shop, status: int, answer: object, headers=None, seconds=0.0) -> None:
        self.shop, self.given, self.seconds = shop, (status, answer, headers or {}), seconds

    @contextmanager
    def post(self, path, **_):
        self.shop.started -= self.seconds
        status, answer, headers = self.given
        content = answer if isinstance(answer, bytes) else msgspec.json.encode(answer)
        yield SimpleNamespace(
            success=lambda: None, status_code=status, content=content, headers=headers
        )


def shop_of(*phases: Phase, **more) -> Shop:
    spec = Spec(url="", phases=phases or (Phase(1, 1),), products=9, shoppers=9, **more)
    shop = Shop(spec)
    shop.started -= 2.0  # the first visit is due
    return shop


def visited(status: int, answer: object, headers=None, seconds: float = 0.0, **more) -> Played:
    shop = shop_of(seed=1, **more)
    client = Answers(shop, status, answer, headers, seconds)
    Shoppers(shop, client, lambda *_: None).visit(shop.next_visit())
    shop.close()
    return shop.tally.played(seconds=1, cpu_share=0.0)


def total(played: Played) -> tuple[int, int, int]:
    return played.total("good"), played.total("shed"), played.total("wrong")


@pytest.mark.parametrize(
    "answer",
    [None, b"\xff", b'"\xff"', [], {"products": None}, {**BANNER, "products": [1, 2, 3, 4, 5]},
     {**BANNER, "products": [{}]}, {"products": BANNER["products"]}],
)  # fmt: skip
def test_a_banner_that_cannot_be_read_is_wrong(answer):
    assert total(visited(HTTPStatus.OK, answer)) == (0, 0, 1)
    assert total(visited(HTTPStatus.OK, BANNER)) == (1, 0, 0)


@pytest.mark.parametrize("answer", [None, {"results": []}, {"results": [{}]}])
def test_a_batch_whose_answer_cannot_be_read_is_wrong(answer):
    found = [
        visited(HTTPStatus.ACCEPTED, given, large_share=1.0)
        for given in (answer, {"results": [{"outcome": "accepted"}] * 1_000})
    ]

    assert [total(played) for played in found] == [(0, 0, 1), (1, 0, 0)]


def test_a_refusal_must_come_within_a_shoppers_patience():
    shed, late = (
        visited(HTTPStatus.SERVICE_UNAVAILABLE, {}, REFUSED, seconds)
        for seconds in (0.0, PATIENCE_SECONDS + 0.1)
    )

    assert total(shed) == (0, 1, 0)
    assert total(late) == (0, 0, 1)


@pytest.mark.parametrize(
    ("status", "answer", "headers", "reported"),
    [
        (HTTPStatus.ACCEPTED, {"results": [{"outcome": "accepted"}]}, {}, "accepted"),
        (HTTPStatus.ACCEPTED, None, {}, "unreadable"),
        (HTTPStatus.ACCEPTED, {"results": []}, {}, "unreadable"),
        (HTTPStatus.SERVICE_UNAVAILABLE, {}, {"Retry-After": "soon"}, "status 503"),
    ],
)
def test_a_report_whose_answer_cannot_be_read_is_told(status, answer, headers, reported):
    shop = shop_of()

    someone = Shoppers(shop, Answers(shop, status, answer, headers), lambda *_: None)
    someone._report("shopper-1", {}, "", 3)
    shop.started -= 60.0
    shop.close()

    assert shop.tally.reported == {reported: 1}


@pytest.mark.parametrize(
    ("taken", "reported"), [(0, {"rate_limited": 2}), (60, {CAPPED: 1, "rate_limited": 1})]
)
def test_what_the_hot_shopper_sends_beyond_her_cap_is_told_apart(taken, reported):
    shop = shop_of()
    shop.hot_taken = taken
    answer = {"results": [{"outcome": "rate_limited"}]}
    shoppers = Shoppers(shop, Answers(shop, HTTPStatus.ACCEPTED, answer, {}), lambda *_: None)

    shoppers._report("shopper-0", {}, "", 3)
    shoppers._report("shopper-1", {}, "", 3)

    assert shop.tally.reported == reported


def test_what_has_no_outcome_in_the_end_is_wrong():
    shop = shop_of(Phase(2, 2))
    shop.visits[0.5] = 0.6
    shop.reports = {"hangs": shop.now() - LAST_SECONDS - 0.1, "was just sent": shop.now()}

    shop.close()

    played = shop.tally.played(seconds=2, cpu_share=0.0)
    assert [each.wrong for each in played.seconds] == [2, 2]
    assert played.reported == {"no answer": 1}


@pytest.mark.timeout(90)
def test_a_service_that_hangs_or_answers_nonsense_leaves_no_visit_out(tmp_path):
    async def played() -> Played:
        taken = iter(range(10_000))

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if next(taken) % 2:
                await reader.readuntil(b"}")
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnull")
            await reader.read()
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            spec = Spec(
                url=f"http://127.0.0.1:{port}", phases=(Phase(1, 20),), products=9, shoppers=9
            )
            return await asyncio.to_thread(run_client, "load.shoppers", spec, tmp_path, Played)

    found = asyncio.run(played())

    assert total(found) == (0, 0, 20)
    assert set(found.faults) == {"/recommend 200", "no answer"}
