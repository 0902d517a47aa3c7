"""Rivals that do not learn."""

from datetime import UTC, datetime

import numpy as np

from evaluation.rivals import OwnFrequent
from evaluation.shop import Situation
from projections.orders import with_order
from schemas.history import EMPTY, pack
from simulator.world import Visit

POPULAR = np.array([9, 8, 7, 6, 5, 4, 3, 2, 1, 0])


def situation(*orders: list[int], viewed_row: int = -1) -> Situation:
    """Return the situation of a shopper after these orders, the oldest first."""
    history = EMPTY
    for order in orders:
        history = with_order(history, order)
    visit = Visit(0, 0, "u1", None, (), datetime(2026, 1, 1, tzinfo=UTC), {})
    return Situation(0, visit, viewed_row, pack(history))


def test_what_she_buys_most_comes_first_and_the_popular_fill_up() -> None:
    rival = OwnFrequent(POPULAR)

    rows = rival.banner(situation([2], [1, 2], [1, 2], [3]))

    assert rows.tolist() == [2, 1, 3, 9, 8]


def test_long_ago_counts_less_than_lately() -> None:
    rival = OwnFrequent(POPULAR)

    rows = rival.banner(situation([0], [0], *[[1]] * 30, [2]))

    assert rows.tolist()[:3] == [1, 2, 0]


def test_a_shopper_without_a_history_gets_the_popular() -> None:
    assert OwnFrequent(POPULAR).banner(situation()).tolist() == [9, 8, 7, 6, 5]


def test_the_product_viewed_is_neither_her_own_nor_popular() -> None:
    rival = OwnFrequent(POPULAR)

    own = rival.banner(situation([2], [1, 2], [1, 2], [3], viewed_row=2))
    popular = rival.banner(situation([2], [1], viewed_row=9))

    assert own.tolist() == [1, 3, 9, 8, 7]
    assert popular.tolist() == [1, 2, 8, 7, 6]
