"""Whatever fails, is emptied or belongs to another: the history ends up as the log's."""

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from projections.errors import HistoryUnavailable
from projections.history import kept
from projections.history.sqlite import SqliteHistoryStore
from streams.port import Partition
from tests.unit.projections.followed_shop import (
    ANN,
    BOB,
    EVENTS,
    Shop,
    erased,
    purchase,
    rows_of,
)


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
