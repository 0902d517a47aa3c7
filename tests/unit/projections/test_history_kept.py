"""What a purchase makes of the value kept per shopper."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.history import kept
from projections.history.kept import NOTHING, Kept
from schemas import history as histories
from schemas.errors import HistoryNotReadable
from schemas.events import Line, Purchase
from schemas.history import unpack


def purchase(*rows: int | None, order_id: str | None = "o1", event_id: str = "e1") -> Purchase:
    return Purchase(
        event_id=event_id,
        occurred_at_ms=0,
        received_at_ms=0,
        user_key=b"user key",
        order_id=order_id,
        lines=tuple(Line(product_id=f"p{row}", row=row) for row in rows),
    )


def after(*purchases: Purchase) -> Kept:
    shopper = NOTHING
    for number, event in enumerate(purchases):
        shopper = kept.after_purchase(shopper, event, 100 + number)
    return shopper


def test_two_orders_count_as_two() -> None:
    shopper = after(purchase(1, order_id="o1"), purchase(1, 2, order_id="o2"))

    assert shopper.history.orders == 2
    assert shopper.history.counts.tolist() == [2, 1]
    assert shopper.newest_ms == 101


def test_lines_of_the_latest_order_are_added_to_it() -> None:
    shopper = after(purchase(1, event_id="e1"), purchase(1, 2, event_id="e2"))

    assert shopper.history.orders == 1
    assert shopper.history.recent.tolist() == [1, 2]


def test_lines_of_an_older_order_are_a_duplicate() -> None:
    shopper = after(purchase(1), purchase(2, order_id="o2"), purchase(3))

    assert shopper.history.rows.tolist() == [1, 2]
    assert shopper.newest_ms == 101


def test_an_event_without_order_id_counts_once_whatever_its_second_delivery_says() -> None:
    shopper = after(purchase(1, order_id=None), purchase(2, order_id=None))

    assert shopper.history.rows.tolist() == [1]


def test_an_order_id_and_an_event_id_of_the_same_name_are_two_orders() -> None:
    shopper = after(purchase(1, order_id=None, event_id="x"), purchase(2, order_id="x"))

    assert shopper.history.orders == 2


@pytest.mark.parametrize("rows", [(None,), (-1,), (2**31,), (2**70,)])
def test_lines_without_a_row_change_nothing(rows: tuple[int | None, ...]) -> None:
    assert after(purchase(*rows)) is NOTHING


def test_of_an_order_the_lines_with_a_row_count() -> None:
    assert after(purchase(None, 3)).history.rows.tolist() == [3]


def test_only_the_last_eight_orders_are_remembered() -> None:
    shopper = after(*(purchase(number, order_id=f"o{number}") for number in range(20)))

    assert len(shopper.orders) == kept.ORDERS
    assert kept.after_purchase(shopper, purchase(19, order_id="o12"), 500) is shopper
    assert kept.after_purchase(shopper, purchase(11, order_id="o11"), 500).history.orders == 21


@given(st.lists(st.lists(st.integers(0, 300), min_size=1, max_size=40), max_size=20))
def test_a_shopper_survives_packing(orders: list[list[int]]) -> None:
    events = [purchase(*rows, order_id=f"o{number}") for number, rows in enumerate(orders)]

    shopper = after(*events)
    packed = kept.pack(shopper)

    again = kept.unpack(packed)
    assert (again.newest_ms, again.orders) == (shopper.newest_ms, shopper.orders)
    assert kept.pack(again) == packed
    assert unpack(kept.packed_history(packed)).orders == len(orders)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.data())
def test_redelivered_events_change_nothing(rows: list[int], data: st.DataObject) -> None:
    events = [
        purchase(row, order_id=f"o{place}", event_id=f"e{place}") for place, row in enumerate(rows)
    ]
    noisy: list[Purchase] = []
    for place, event in enumerate(events):
        known = events[max(0, place - kept.ORDERS + 1) : place + 1]
        noisy += [event, *data.draw(st.lists(st.sampled_from(known), max_size=3))]

    clean, disturbed = after(*events), after(*noisy)

    assert histories.pack(disturbed.history) == histories.pack(clean.history)
    assert disturbed.orders == clean.orders


@pytest.mark.parametrize("cut", [1, 7, 9, 80])
def test_a_value_that_is_cut_short_is_refused(cut: int) -> None:
    packed = kept.pack(after(purchase(1, 2, 3)))

    with pytest.raises(HistoryNotReadable):
        kept.unpack(packed[:-cut])
