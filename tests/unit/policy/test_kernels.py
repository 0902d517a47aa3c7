"""The steps of a request that have a simple counterpart in numpy."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from policy.kernels.exponential import exponentials
from policy.kernels.packing import pack
from policy.kernels.selection import BINS, above, keep_top, kth_largest, merge
from schemas import candidates as packing

rows_of = st.lists(st.integers(0, 5000), max_size=600, unique=True).map(sorted)
far_apart = st.lists(st.integers(0, 2**31 - 1), max_size=4, unique=True).map(sorted)
numbers = st.lists(
    st.one_of(
        st.just(-np.inf), st.floats(-100, 100, width=32), st.sampled_from([0.0, 1.0, 1e30, -1e30])
    ),
    min_size=1,
    max_size=300,
)


@settings(max_examples=200, deadline=None)
@given(rows=rows_of)
@example(rows=[])
@example(rows=list(range(1000)))
@example(rows=[127, 128, 256, 16_640])
def test_packed_candidates_are_the_bytes_of_the_schema(rows: list[int]) -> None:
    expected = packing.pack(np.array(rows, np.int32))

    assert pack(np.array(rows, np.int32)) == expected


@settings(max_examples=30, deadline=None)
@given(rows=far_apart.filter(lambda rows: not rows or rows[-1] < 3_000_000))
def test_rows_that_are_far_apart_pack_like_the_schema(rows: list[int]) -> None:
    assert pack(np.array(rows, np.int32)) == packing.pack(np.array(rows, np.int32))


def test_exponentials_are_exact_to_two_units_in_the_last_place() -> None:
    values = np.concatenate([np.linspace(-87.0, 0.0, 5000), [-87.1, -1e9, -np.inf]])
    values = values.astype(np.float32)
    found = np.zeros(len(values), np.float32)

    exponentials(values, len(values), np.float32(0.0), np.zeros(len(values), np.int32), found)

    expected = np.exp(values.astype(np.float64))
    np.testing.assert_allclose(found[:-3], expected[:-3], rtol=2.5e-7)
    assert found[-3:].tolist() == [0.0, 0.0, 0.0]


@settings(max_examples=200, deadline=None)
@given(values=numbers, data=st.data())
def test_the_kth_largest_is_that_of_a_sorted_list(values: list[float], data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, len(values) + 2))
    array = np.array(values, np.float32)

    found = kth_largest(array.copy(), len(array), rank, np.zeros(BINS, np.int32))

    finite = sorted((value for value in array if value > -np.inf), reverse=True)
    assert found == (finite[rank - 1] if rank <= len(finite) else -np.inf)


@settings(max_examples=200, deadline=None)
@given(values=numbers, top=st.integers(1, 40))
def test_the_top_are_the_highest_and_of_equals_the_lower_rows(
    values: list[float], top: int
) -> None:
    scores = np.full(-(-len(values) // 64) * 64, -np.inf, np.float32)
    scores[: len(values)] = values
    rows, kept = np.zeros(len(scores), np.int32), np.zeros(len(scores), np.float32)

    found = above(scores, np.float32(-np.inf), np.zeros(len(scores), np.uint8), rows, kept)
    count = keep_top(
        rows, kept, found, top, np.zeros(len(scores), np.float32), np.zeros(BINS, np.int32)
    )

    finite = np.flatnonzero(scores > -np.inf)
    expected = np.sort(finite[np.argsort(-scores[finite], kind="stable")[:top]])
    assert rows[:count].tolist() == expected.tolist()
    assert kept[:count].tolist() == scores[expected].tolist()


@pytest.mark.parametrize("floor", [-np.inf, -1.0, 0.0, 0.25, 2.0])
def test_products_above_a_floor_are_found_in_their_order(floor: float) -> None:
    scores = np.random.default_rng(1).normal(size=640).astype(np.float32)
    scores[::7] = -np.inf
    scores[3] = 0.25
    rows, values = np.zeros(640, np.int32), np.zeros(640, np.float32)

    count = above(scores, np.float32(floor), np.zeros(640, np.uint8), rows, values)

    expected = np.flatnonzero((scores >= floor) & (scores > -np.inf))
    assert rows[:count].tolist() == expected.tolist()
    assert values[:count].tolist() == scores[expected].tolist()


@settings(max_examples=100, deadline=None)
@given(left=rows_of, right=rows_of)
def test_a_merge_is_the_ascending_union(left: list[int], right: list[int]) -> None:
    merged = np.zeros(len(left) + len(right) + 1, np.int32)

    count = merge(
        np.array(left, np.int32), len(left), np.array(right, np.int32), len(right), merged
    )

    assert merged[:count].tolist() == sorted(set(left) | set(right))
