"""The history follows the log `events`, and is the same however often it is read."""

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from projections.errors import HistoryUnavailable
from projections.history import kept
from projections.history.metrics import HistoryMetrics
from projections.history.projector import HistoryProjector
from projections.history.sqlite import SqliteHistoryStore
from schemas.codec import encode
from schemas.events import Fact, Line, Purchase, Refund, Tick, UserErased
from streams.local import LocalLog
from streams.port import Message, Partition

ANN, BOB = b"user ann", b"user bob"
DAY_MS = 86_400_000
EVENTS = Partition("events", 0)


class Clock:
    now = 1_000_000

    def __call__(self) -> int:
        return self.now


class Shop:
    """A log, a store and what reads the one into the other."""

    def __init__(self, folder: Path, *, partitions: int = 1) -> None:
        self.clock = Clock()
        self.folder = folder
        self.log = LocalLog(
            folder / "log.sqlite", clock=self.clock, partitions={"events": partitions}
        )
        self.store = SqliteHistoryStore(folder / "history.sqlite")
        self.registry = CollectorRegistry()
        self.metrics = HistoryMetrics(self.registry)
        self.projector = self.new_projector()

    def new_projector(self, store: SqliteHistoryStore | None = None) -> HistoryProjector:
        return HistoryProjector(
            self.log,
            store or self.store,
            clock=self.clock,
            retention_ms=90 * DAY_MS,
            metrics=self.metrics,
            poll_seconds=0,
        )

    def happens(self, *events: Fact | bytes, key: bytes = ANN) -> None:
        values = [event if isinstance(event, bytes) else encode(event) for event in events]
        self.log.append("events", [Message(key, value) for value in values])

    def follow(self) -> None:
        # The first idle step may only find out that the store is elsewhere, the next seeks there.
        idle = 0
        while idle < 3:
            idle = 0 if self.projector.step() else idle + 1

    def count(self, name: str) -> float:
        return self.registry.get_sample_value(name) or 0.0

    def shoppers(self) -> dict[bytes, bytes]:
        return self.store.load([ANN, BOB])

    def close(self) -> None:
        self.projector.close()
        self.store.close()
        self.log.close()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path)
    yield made
    made.close()


def purchase(*rows: int | None, order_id: str = "o1", user_key: bytes | None = ANN) -> Purchase:
    return Purchase(
        event_id=f"event of {order_id}",
        occurred_at_ms=0,
        received_at_ms=0,
        user_key=user_key,
        order_id=order_id,
        lines=tuple(Line(product_id="p", row=row) for row in rows),
    )


def erased(user_key: bytes = ANN) -> UserErased:
    return UserErased(event_id="erased", occurred_at_ms=0, user_key=user_key)


def rows_of(shop: Shop, user_key: bytes) -> list[int]:
    return [int(row) for row in kept.unpack(shop.shoppers()[user_key]).history.rows]


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


def test_an_emptied_store_is_filled_again_with_the_same_bytes(shop: Shop) -> None:
    for number in range(30):
        shop.happens(purchase(number, 3, order_id=f"o{number}"))
        shop.happens(purchase(number, user_key=BOB, order_id="the same"), key=BOB)
        shop.follow()
    before = shop.shoppers()

    shop.store.clear()
    shop.follow()

    assert shop.shoppers() == before
    assert len(before) == 2


def test_a_store_emptied_under_a_busy_projector_loses_nothing(shop: Shop) -> None:
    shop.happens(purchase(1))
    shop.follow()

    shop.store.clear()
    shop.happens(purchase(2, order_id="o2"))
    shop.follow()

    assert rows_of(shop, ANN) == [1, 2]


def test_a_store_ahead_of_the_log_belongs_to_another_and_is_filled_anew(shop: Shop) -> None:
    shop.store.apply({BOB: kept.pack(kept.NOTHING)}, {EVENTS: 1000}, since={})
    shop.happens(purchase(1))

    shop.follow()

    assert list(shop.shoppers()) == [ANN]
    assert shop.store.positions() == {EVENTS: 1}


def test_values_of_another_layout_are_made_anew_from_the_log(shop: Shop) -> None:
    shop.happens(purchase(1))
    shop.follow()
    position = shop.store.positions()
    old_layout = (99).to_bytes(4, "little") + kept.pack(kept.NOTHING)[4:]
    with pytest.raises(Exception, match="layout"):
        shop.store.apply({ANN: old_layout}, position, since=position)
    shop.store._connection().execute("UPDATE shoppers SET value = ?", (old_layout,))

    shop.happens(purchase(2, order_id="o2"))
    shop.follow()

    assert rows_of(shop, ANN) == [1, 2]


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


class AwayStore(SqliteHistoryStore):
    """A store that fails when it is told to, before or after it did what was asked."""

    def __init__(self, path: Path, failures: Iterator[str]) -> None:
        super().__init__(path)
        self._failures = failures

    def apply(
        self,
        changes: Mapping[bytes, bytes | None],
        positions: Mapping[Partition, int],
        *,
        since: Mapping[Partition, int],
    ) -> None:
        failure = next(self._failures, "")
        if failure == "before":
            raise HistoryUnavailable("away")
        super().apply(changes, positions, since=since)
        if failure == "after":
            raise HistoryUnavailable("the answer was lost")


ACTIONS = st.lists(
    st.one_of(
        st.tuples(
            st.just("buy"), st.sampled_from([ANN, BOB]), st.integers(0, 9), st.integers(0, 4)
        ),
        st.tuples(st.just("erase"), st.sampled_from([ANN, BOB]), st.just(0), st.just(0)),
        st.tuples(
            st.sampled_from(["step", "killed", "emptied"]), st.just(b""), st.just(0), st.just(0)
        ),
    ),
    max_size=30,
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(ACTIONS, st.lists(st.sampled_from(["", "before", "after"]), max_size=6))
def test_whatever_fails_between_the_history_is_the_logs(
    tmp_path_factory: pytest.TempPathFactory,
    actions: list[tuple[str, bytes, int, int]],
    failures: list[str],
) -> None:
    shop = Shop(tmp_path_factory.mktemp("shop"))
    shop.projector.close()
    store = AwayStore(shop.folder / "history.sqlite", iter(failures))
    shop.projector = shop.new_projector(store)

    def attempt(step: Callable[[], object]) -> None:
        try:
            step()
        except HistoryUnavailable:
            attempt(step)

    for action, user, row, order in actions:
        if action == "buy":
            shop.happens(purchase(row, order_id=f"o{order}", user_key=user), key=user)
        elif action == "erase":
            shop.happens(erased(user), key=user)
        elif action == "step":
            attempt(shop.projector.step)
        elif action == "killed":
            shop.projector.close()
            shop.projector = shop.new_projector(store)
        else:
            store.clear()
    attempt(shop.follow)

    followed = shop.shoppers()
    shop.store.clear()
    shop.projector.close()
    shop.projector = shop.new_projector()
    shop.follow()
    assert shop.shoppers() == followed
    store.close()
    shop.close()


def test_run_waits_for_a_store_that_is_away_and_ends_when_told(shop: Shop) -> None:
    stop = threading.Event()

    class Stopping(AwayStore):
        def apply(
            self,
            changes: Mapping[bytes, bytes | None],
            positions: Mapping[Partition, int],
            *,
            since: Mapping[Partition, int],
        ) -> None:
            super().apply(changes, positions, since=since)
            stop.set()

    store = Stopping(shop.folder / "history.sqlite", iter(["before"]))
    shop.happens(purchase(1))

    shop.new_projector(store).run(stop)

    assert rows_of(shop, ANN) == [1]
    assert (
        shop.registry.get_sample_value("aggregate_history_failures_total", {"away": "store"}) == 1
    )
    store.close()
