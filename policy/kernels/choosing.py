"""The candidates of one request, as `policy.candidates` defines them."""

from typing import Final

import numpy as np
from numba import njit

from policy.architecture import FULL_CANDIDATES, TOP_CANDIDATES
from policy.kernels.layout import Bytes, Doubles, Floats, Ints, UInts
from policy.kernels.scratch import (
    BINS_AT,
    BITS_AT,
    BOTH_AT,
    CANDIDATES_AT,
    FEW_AT,
    MAXIMA_AT,
    OTHER_AT,
    OWN_AT,
    VALUES,
    WORK,
)
from policy.kernels.selection import above, ascending, keep_top, kth_largest, merge, uniform_rows

_NEVER: Final = np.float32(-np.inf)


@njit()
def top_rows(
    count: int, scores: Floats, planes: Floats, flags: Bytes, rows: Ints, integers: Ints,
    floats: Floats,
) -> int:  # pragma: no cover  # fmt: skip
    """Write the rows and scores of the `count` highest, ascending by row; return how many."""
    # At least `count` products score no less than the count-th highest group maximum. Of 10,000
    # some 600 do, and only they are looked at closely.
    bins = integers[BINS_AT:BITS_AT]
    maxima = floats[MAXIMA_AT:OTHER_AT]
    floor = kth_largest(maxima, len(maxima), count, bins)
    found = above(scores, floor, flags, rows, planes[VALUES])
    return int(keep_top(rows, planes[VALUES], found, count, planes[WORK], bins))


@njit()
def _own_rows(history: UInts, scores: Floats, products: int, own: Ints) -> int:  # pragma: no cover
    """Write the shopper's repeats that are eligible, ascending; return how many there are."""
    start, found = 4 + int(history[1]), 0
    for place in range(start, start + int(history[2])):
        if history[place] < products and scores[history[place]] > _NEVER:
            own[found] = np.int32(history[place])
            found += 1
    return int(ascending(own, found))


@njit()
def choose(
    eligible: int, history: UInts, products: int, uniforms: Doubles, scores: Floats, planes: Floats,
    flags: Bytes, counts: Ints, rows: Ints, integers: Ints, floats: Floats,
) -> int:  # pragma: no cover  # fmt: skip
    """Write the candidates and their scores; return how many there are."""
    values = planes[VALUES]
    candidates = integers[CANDIDATES_AT:]
    if eligible <= FULL_CANDIDATES:
        return int(above(scores, _NEVER, flags, candidates, values))
    top = top_rows(TOP_CANDIDATES, scores, planes, flags, rows, integers, floats)
    own, few = integers[OWN_AT:FEW_AT], integers[FEW_AT:BOTH_AT]
    owned = _own_rows(history, scores, products, own)
    drawn = uniform_rows(scores, counts, eligible, uniforms, few)
    both = merge(own, owned, few, drawn, integers[BOTH_AT:BINS_AT])
    found = merge(rows, top, integers[BOTH_AT:BINS_AT], both, candidates)
    for place in range(found):
        values[place] = scores[candidates[place]]
    return int(found)


@njit()
def best_first(rows: Ints, values: Floats, count: int, banner: Ints) -> None:  # pragma: no cover
    """Write a few rows into `banner`, the highest score first; of equal scores the lower row."""
    for position in range(count):
        best = position
        for place in range(position + 1, count):
            higher = values[place] > values[best]
            if higher or (values[place] == values[best] and rows[place] < rows[best]):
                best = place
        banner[position] = rows[best]
        rows[best], values[best] = rows[position], values[position]
