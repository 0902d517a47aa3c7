"""What every history store and reader promises (`projections/history/port.py`), over all."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from projections.errors import PositionsMoved
from projections.history.port import HistoryStore
from projections.history.redis import RedisHistoryReader, RedisHistoryStore, RedisSettings
from projections.history.sqlite import SqliteHistoryReader, SqliteHistoryStore
from projections.orders import with_order
from schemas import history as histories
from schemas.history import EMPTY
from streams.port import Partition
from tests.contracts.histories import ANN, BOB, EVENTS, OTHER, Adapter, read, value
from tests.servers import RedisServer


@pytest.fixture(params=["sqlite", "redis"])
def adapter(request: pytest.FixtureRequest, tmp_path: Path) -> Adapter:
    if request.param == "sqlite":
        path = tmp_path / "history.sqlite"
        return Adapter(lambda: SqliteHistoryStore(path), lambda: SqliteHistoryReader(path))
    server: RedisServer = request.getfixturevalue("redis_server")
    settings = RedisSettings(server.url, prefix=tmp_path.name, read_seconds=2)
    return Adapter(
        lambda: RedisHistoryStore(settings), lambda: RedisHistoryReader(settings, clock=lambda: 0)
    )


@pytest.fixture
def store(adapter: Adapter) -> Iterator[HistoryStore]:
    opened = adapter.store()
    yield opened
    opened.clear()
    opened.close()


def test_what_was_applied_is_read_without_its_tail(adapter: Adapter, store: HistoryStore) -> None:
    store.apply({ANN: value([3, 1])}, {EVENTS: 4}, since={})

    assert read(adapter, ANN, BOB) == [histories.pack(with_order(EMPTY, [3, 1])), None]
    assert store.load([ANN, BOB]) == {ANN: value([3, 1])}
    assert store.positions() == {EVENTS: 4}


def test_many_are_read_at_once_as_they_are_one_by_one(
    adapter: Adapter, store: HistoryStore
) -> None:
    crowd = [number.to_bytes(8, "big") for number in range(150)]
    store.apply({key: value([key[-1], 7]) for key in crowd[::2]}, {EVENTS: 4}, since={})

    async def ask() -> list[object]:
        reader = adapter.reader()
        try:
            return [*await reader.read_many([*crowd, crowd[0]]), *await reader.read_many([])]
        finally:
            await reader.close()

    assert asyncio.run(ask()) == read(adapter, *crowd, crowd[0])


def test_a_reader_before_the_first_purchase_answers_nothing(adapter: Adapter) -> None:
    assert read(adapter, ANN) == [None]


def test_a_reader_made_before_the_store_sees_what_is_applied_later(adapter: Adapter) -> None:
    async def ask() -> list[bytes | None]:
        reader = adapter.reader()
        before = await reader.read(ANN)
        store = adapter.store()
        store.apply({ANN: value([1])}, {EVENTS: 1}, since={})
        first = await reader.read(ANN)
        store.apply({ANN: value([2])}, {EVENTS: 2}, since={EVENTS: 1})
        second = await reader.read(ANN)
        await reader.close()
        store.close()
        return [before, first, second]

    before, *after = asyncio.run(ask())

    assert before is None
    assert after == [histories.pack(with_order(EMPTY, [row])) for row in (1, 2)]


def test_a_forgotten_shopper_is_gone(adapter: Adapter, store: HistoryStore) -> None:
    store.apply({ANN: value([1]), BOB: value([2])}, {EVENTS: 2}, since={})

    store.apply({ANN: None}, {EVENTS: 3}, since={EVENTS: 2})

    assert read(adapter, ANN) == [None]
    assert store.load([ANN, BOB]) == {BOB: value([2])}


@pytest.mark.parametrize("since", [{}, {EVENTS: 3}, {EVENTS: 5}])
def test_changes_made_from_elsewhere_are_refused_whole(
    store: HistoryStore, since: dict[Partition, int]
) -> None:
    store.apply({ANN: value([1])}, {EVENTS: 4}, since={})

    with pytest.raises(PositionsMoved):
        store.apply({ANN: None, BOB: value([2])}, {OTHER: 1, EVENTS: 9}, since=since)

    assert store.load([ANN, BOB]) == {ANN: value([1])}
    assert store.positions() == {EVENTS: 4}


def test_positions_never_go_back(store: HistoryStore) -> None:
    store.apply({}, {EVENTS: 4}, since={})

    with pytest.raises(PositionsMoved):
        store.apply({}, {EVENTS: 3}, since={EVENTS: 4})

    assert store.positions() == {EVENTS: 4}


def test_of_two_projectors_of_one_partition_one_gets_through(adapter: Adapter) -> None:
    owner, zombie = adapter.store(), adapter.store()
    since = zombie.positions()
    owner.apply({ANN: value([1])}, {EVENTS: 5}, since={})

    with pytest.raises(PositionsMoved):
        zombie.apply({ANN: value([9])}, {EVENTS: 2}, since=since)

    assert owner.load([ANN]) == {ANN: value([1])}
    owner.close()
    zombie.close()


def test_partitions_move_each_for_itself(store: HistoryStore) -> None:
    store.apply({ANN: value([1])}, {EVENTS: 4}, since={})

    store.apply({BOB: value([2])}, {OTHER: 7}, since={OTHER: 0})

    assert store.positions() == {EVENTS: 4, OTHER: 7}


def test_a_cleared_store_has_no_positions(adapter: Adapter, store: HistoryStore) -> None:
    store.apply({ANN: value([1])}, {EVENTS: 4}, since={})

    store.clear()

    assert store.positions() == {}
    assert read(adapter, ANN) == [None]


def test_shoppers_who_have_not_bought_for_long_expire(store: HistoryStore) -> None:
    many = {number.to_bytes(8, "big"): value([1], newest_ms=10) for number in range(1500)}
    store.apply(many, {EVENTS: 1}, since={})
    store.apply({BOB: value([2], newest_ms=20)}, {EVENTS: 2}, since={EVENTS: 1})

    assert store.expire(20) == 1500
    assert store.expire(20) == 0
    assert store.load([*many, BOB]) == {BOB: value([2], newest_ms=20)}
    assert store.positions() == {EVENTS: 2}


def test_a_purchase_puts_off_the_expiry(store: HistoryStore) -> None:
    store.apply({ANN: value([1], newest_ms=10)}, {EVENTS: 1}, since={})
    store.apply({ANN: value([1, 2], newest_ms=30)}, {EVENTS: 2}, since={EVENTS: 1})

    assert store.expire(20) == 0
    assert store.load([ANN]) == {ANN: value([1, 2], newest_ms=30)}
