"""The history follows the log `events`, forgets whom it must, and no record stops it."""

from pathlib import Path

import pytest

from projections.history import kept
from projections.history.sqlite import SqliteHistoryStore
from schemas.codec import encode
from schemas.events import Line, Refund, Tick
from streams.port import Message
from tests.unit.projections.followed_shop import (
    ANN,
    BOB,
    DAY_MS,
    EVENTS,
    Shop,
    erased,
    purchase,
    rows_of,
)


def test_purchases_become_history(shop: Shop) -> None:
    shop.happens(
        purchase(3, None, 1), Tick(event_id="t", occurred_at_ms=0), purchase(1, order_id="o2")
    )

    shop.follow()

    shopper = kept.unpack(shop.shoppers()[ANN])
    assert shopper.history.recent.tolist() == [3, 1, 1]
    assert shopper.history.orders == 2
    assert shopper.newest_ms == shop.clock.now
    assert shop.store.positions() == {EVENTS: 3}


def test_a_purchase_without_a_user_is_nobodys(shop: Shop) -> None:
    shop.happens(purchase(1, user_key=None))

    shop.follow()

    assert shop.shoppers() == {}
    assert shop.store.positions() == {EVENTS: 1}


def test_a_refund_leaves_the_history_as_it_was(shop: Shop) -> None:
    shop.happens(purchase(1))
    shop.follow()
    before = shop.shoppers()

    lines = (Line(product_id="p", row=1),)
    shop.happens(
        Refund(event_id="r", occurred_at_ms=0, received_at_ms=0, user_key=ANN, lines=lines)
    )
    shop.follow()

    assert shop.shoppers() == before


def test_a_history_is_written_from_its_shoppers_own_partition_alone(shop: Shop) -> None:
    shop.happens(purchase(1), key=b"abanner1")
    shop.follow()
    assert shop.shoppers() == {}

    shop.happens(purchase(1), key=ANN)
    shop.follow()
    assert rows_of(shop, ANN) == [1]


def test_promise_10_an_erased_user_is_gone_at_once_and_after_any_rebuild(shop: Shop) -> None:
    shop.happens(purchase(1), purchase(7, user_key=BOB))
    shop.happens(purchase(2, user_key=BOB), key=BOB)
    shop.follow()
    assert ANN in shop.store.load([ANN])

    shop.happens(erased())
    shop.follow()
    assert list(shop.shoppers()) == [BOB]
    shop.projector.close()
    shop.store.close()
    files = b"".join(file.read_bytes() for file in shop.folder.glob("history.sqlite*"))
    assert BOB in files
    assert ANN not in files

    shop.store = SqliteHistoryStore(shop.folder / "history.sqlite")
    shop.store.clear()
    shop.projector = shop.new_projector()
    shop.follow()
    assert list(shop.shoppers()) == [BOB]
    assert rows_of(shop, BOB) == [2]


def test_an_erased_user_is_forgotten_and_may_come_back(shop: Shop) -> None:
    shop.happens(purchase(1))
    shop.happens(purchase(2, user_key=BOB), key=BOB)
    shop.happens(erased())
    shop.follow()
    assert list(shop.shoppers()) == [BOB]

    shop.happens(purchase(3), erased(), purchase(4, order_id="o9"))
    shop.follow()

    assert rows_of(shop, ANN) == [4]


@pytest.mark.parametrize(
    "poison",
    [
        b"not json",
        b"",
        b"null",
        b"\xff\xfe",
        b'{"type":"purchase"}',
        encode(purchase(1)).replace(b'"schema_version":1', b'"schema_version":2'),
        encode(purchase(1, user_key=b"too short for a key"[:3])),
    ],
)
def test_what_cannot_be_read_is_counted_and_blocks_nothing(shop: Shop, poison: bytes) -> None:
    shop.happens(purchase(1), poison, purchase(2, order_id="o2"))

    shop.follow()

    assert rows_of(shop, ANN) == [1, 2]
    assert shop.count("aggregate_history_unreadable_records_total") == 1
    assert shop.store.positions() == {EVENTS: 3}


def test_a_tombstone_is_counted_and_blocks_nothing(shop: Shop) -> None:
    shop.log.append("events", [Message(ANN, None)])

    shop.follow()

    assert shop.count("aggregate_history_unreadable_records_total") == 1
    assert shop.store.positions() == {EVENTS: 1}


def test_a_row_beyond_all_catalogues_blocks_nothing(shop: Shop) -> None:
    shop.happens(purchase(2**40, 5))

    shop.follow()

    assert rows_of(shop, ANN) == [5]


def test_every_partition_is_followed(tmp_path: Path) -> None:
    shop = Shop(tmp_path, partitions=4)
    users = [bytes([number] * 8) for number in range(20)]

    for user in users:
        shop.happens(purchase(1, user_key=user), key=user)
    shop.follow()

    assert len(shop.store.load(users)) == len(users)
    assert sum(shop.store.positions().values()) == len(users)
    shop.close()


def test_shoppers_older_than_the_retention_are_forgotten(shop: Shop) -> None:
    shop.happens(purchase(1))
    shop.follow()

    shop.clock.now += 89 * DAY_MS
    shop.happens(purchase(1, user_key=BOB), key=BOB)
    shop.follow()
    assert list(shop.shoppers()) == [ANN, BOB]
    shop.clock.now += 2 * DAY_MS
    shop.follow()

    assert list(shop.shoppers()) == [BOB]
    assert shop.count("aggregate_history_expired_shoppers_total") == 1
