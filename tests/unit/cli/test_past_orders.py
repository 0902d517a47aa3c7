"""What pretraining learns from: the orders that the log still tells of."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from rich.progress import Progress

from cli.importing import Watch, past_orders
from schemas.codec import encode
from schemas.events import Fact, Line, Purchase, UserErased
from streams.local import LocalLog
from streams.port import Message

ANN, BOB = b"user ann", b"user bob"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[LocalLog]:
    with closing(LocalLog(tmp_path / "log.db", clock=lambda: 1)) as opened:
        yield opened


def tell(log: LocalLog, *told: tuple[bytes, Fact]) -> None:
    log.append("events", [Message(key, encode(fact)) for key, fact in told])


def purchase(user_key: bytes | None, *rows: int | None, order_id: str = "o1") -> Purchase:
    return Purchase(
        event_id=f"event of {order_id}",
        occurred_at_ms=5,
        received_at_ms=5,
        user_key=user_key,
        order_id=order_id,
        lines=tuple(Line(product_id="p", row=row) for row in rows),
    )


def orders(log: LocalLog) -> list[tuple[bytes, tuple[int, ...]]]:
    return [
        (order.user_key, order.rows) for order in past_orders(log, Watch(Progress(disable=True)))
    ]


def test_an_order_told_twice_or_in_parts_is_one(log: LocalLog) -> None:
    tell(log, (ANN, purchase(ANN, 1, None)), (ANN, purchase(ANN, 1)), (ANN, purchase(ANN, 2)))
    tell(log, (b"a banner", purchase(BOB, 3)), (BOB, purchase(BOB, 3)))
    tell(log, (b"a banner", purchase(None, 4)), (b"another", purchase(BOB, 5, order_id="o2")))

    assert orders(log) == [(ANN, (1, 2)), (BOB, (3,))]


def test_promise_10_pretraining_knows_nothing_of_an_erased_user(log: LocalLog) -> None:
    erased = UserErased(event_id="erased", occurred_at_ms=0, user_key=ANN)
    tell(log, (ANN, purchase(ANN, 1)), (BOB, purchase(BOB, 2)), (ANN, erased))
    tell(log, (b"a banner", purchase(ANN, 3, order_id="o9")))

    assert orders(log) == [(BOB, (2,))]
