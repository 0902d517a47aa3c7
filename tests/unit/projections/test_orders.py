"""`projections.orders` against a slow model made of dictionaries."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.errors import NoOrderYet
from projections.orders import with_lines_added, with_order
from schemas import history as histories
from schemas.history import EMPTY, History
from schemas.limits import REPEATS


class SlowHistory:
    """The same rules, one product at a time."""

    def __init__(self) -> None:
        self.orders = 0
        self.recent: list[int] = []
        self.repeats: dict[int, list[float]] = {}  # row: decayed, count, first, last

    def order(self, rows: list[int]) -> None:
        if rows:
            self.orders += 1
            self.lines(rows)

    def lines(self, rows: list[int]) -> None:
        for row in rows:
            if row in self.repeats and self.repeats[row][3] == self.orders:
                continue
            decayed, count, first, last = self.repeats.get(row, [0.0, 0, self.orders, self.orders])
            decayed = float(np.float32(decayed * 2 ** (-(self.orders - last) / 7) + 1))
            self.repeats[row] = [decayed, count + 1, first, self.orders]
            self.recent = [*self.recent, row][-10:]

    def evict(self) -> None:
        def worth(row: int) -> tuple[float, float, int]:
            decayed, _, _, last = self.repeats[row]
            return decayed * 2 ** (-(self.orders - last) / 7), last, -row

        while len(self.repeats) > REPEATS:
            del self.repeats[min(self.repeats, key=worth)]

    def matches(self, history: History) -> bool:
        rows = sorted(self.repeats)
        table = [[*self.repeats[row]] for row in rows]
        columns = [history.decayed, history.counts, history.first, history.last]
        found = [list(map(float, line)) for line in zip(*columns, strict=True)]
        return (
            history.orders == self.orders
            and history.recent.tolist() == self.recent
            and history.rows.tolist() == rows
            and np.allclose(np.array(found).reshape(-1), np.array(table).reshape(-1), rtol=1e-6)
        )


BASKETS = st.lists(st.lists(st.integers(0, 12), max_size=6), max_size=25)


@given(BASKETS)
def test_a_history_equals_the_slow_model(baskets: list[list[int]]) -> None:
    slow, history = SlowHistory(), EMPTY

    for basket in baskets:
        slow.order(basket)
        history = with_order(history, basket)

    assert slow.matches(history)


@given(st.integers(0, 2**32 - 1), st.integers(3, 12))
def test_beyond_256_repeats_the_slow_model_forgets_the_same_products(
    seed: int, orders: int
) -> None:
    random = np.random.default_rng(seed)
    slow, history = SlowHistory(), EMPTY

    for _ in range(orders):
        basket = random.integers(0, 600, 120).tolist()
        slow.order(basket)
        slow.evict()
        history = with_order(history, basket)

    assert slow.matches(history)
    assert len(history.rows) <= REPEATS


@given(BASKETS, st.lists(st.integers(0, 12), min_size=1), st.lists(st.integers(0, 12)))
def test_an_order_in_two_parts_is_the_order_in_one(
    before: list[list[int]], first: list[int], rest: list[int]
) -> None:
    history = EMPTY
    for basket in before:
        history = with_order(history, basket)

    parts = with_lines_added(with_order(history, first), rest)

    assert histories.pack(parts) == histories.pack(with_order(history, first + rest))
    assert histories.pack(with_lines_added(parts, first + rest)) == histories.pack(parts)


@given(BASKETS)
def test_a_history_survives_packing(baskets: list[list[int]]) -> None:
    history, packed = EMPTY, histories.pack(EMPTY)

    for basket in baskets:
        history = with_order(history, basket)
        packed = histories.pack(with_order(histories.unpack(packed), basket))

    assert packed == histories.pack(history)


def test_of_equally_decayed_products_the_higher_row_is_forgotten() -> None:
    history = with_order(EMPTY, range(REPEATS))

    history = with_lines_added(history, [REPEATS + 5, REPEATS + 3])

    assert history.rows.tolist() == list(range(REPEATS))
    assert history.recent.tolist()[-2:] == [REPEATS + 5, REPEATS + 3]


def test_the_product_not_bought_for_longest_is_forgotten_first() -> None:
    history = with_order(with_order(EMPTY, [900]), range(REPEATS))

    assert 900 not in history.rows
    assert len(history.rows) == REPEATS


def test_the_history_it_was_given_stays_as_it_was() -> None:
    history = with_order(EMPTY, [1, 2])
    before = histories.pack(history)

    with_order(history, [2, 3])
    with_lines_added(history, [4])

    assert histories.pack(history) == before


def test_an_order_of_unknown_products_alone_changes_nothing() -> None:
    history = with_order(EMPTY, [1])

    assert with_order(history, []) is history


def test_lines_without_an_order_are_refused() -> None:
    with pytest.raises(NoOrderYet):
        with_lines_added(EMPTY, [1])
