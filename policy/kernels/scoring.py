"""The scores of every product: encoder, terms and exclusions of each context, then one scan of all.

For each request of a group `prepare_scores`, for all of them `scan.multiply`, for each again
`finish_scores`.
"""

import math
from typing import Final

import numpy as np
from numba import njit

from policy.architecture import VECTOR
from policy.kernels.copurchase import add_copurchase_terms
from policy.kernels.encoder import context_traits, encode
from policy.kernels.layout import PLACES, Bytes, Floats, Ints, UInts
from policy.kernels.repeats import add_repeat_terms
from policy.kernels.scan import review
from policy.kernels.scratch import (
    MAXIMA_AT,
    OTHER_AT,
    OWN_AT,
    RECENT_AT,
    REPEAT_AT,
    WEIGHTS_AT,
)
from schemas.history import LAYOUT
from schemas.limits import RECENT_PURCHASES, REPEATS

HISTORY_NOT_READABLE: Final = -1
SCORES_NOT_FINITE: Final = -2

_COPURCHASE: Final = PLACES["copurchase_scale"][0]
_SHARPNESS: Final = PLACES["sharpness"][0]
_DOT: Final = np.float32(2.0 / math.sqrt(VECTOR))
_NEVER: Final = np.float32(-np.inf)
_ZERO: Final = np.float32(0.0)


@njit()
def _readable(history: UInts) -> bool:  # pragma: no cover
    if len(history) < 4 or history[0] != LAYOUT:
        return False
    if history[1] > RECENT_PURCHASES or history[2] > REPEATS:
        return False
    return len(history) >= 4 + int(history[1]) + 5 * int(history[2])


@njit()
def _known_recent(history: UInts, products: int, recent: Ints) -> int:  # pragma: no cover
    known = 0
    for place in range(4, 4 + int(history[1])):
        if history[place] < products:
            recent[known] = np.int32(history[place])
            known += 1
    return known


@njit()
def _exclude(
    viewed: int, excluded: Ints, eligible: Bytes, terms: Floats
) -> int:  # pragma: no cover
    """Make the terms of what may not be shown -inf; return how many eligible products that hits."""
    hit = 0
    for row in excluded:
        if 0 <= row < len(eligible) and terms[row] != _NEVER:
            hit += eligible[row] != 0
            terms[row] = _NEVER
    if viewed >= 0 and terms[viewed] != _NEVER:
        hit += eligible[viewed] != 0
        terms[viewed] = _NEVER
    return hit


@njit()
def _forget(
    viewed: int, excluded: Ints, touched: Ints, history: UInts, products: int, terms: Floats
) -> None:  # pragma: no cover
    """Make every term 0 again."""
    for row in excluded:
        if 0 <= row < products:
            terms[row] = _ZERO
    if viewed >= 0:
        terms[viewed] = _ZERO
    for row in touched:
        terms[row] = _ZERO
    start = 4 + int(history[1])
    for place in range(start, start + int(history[2])):
        if history[place] < products:
            terms[history[place]] = _ZERO


@njit()
def prepare_scores(
    viewed: int, history: UInts, eligible: Bytes, excluded: Ints, small: Floats, table: Floats,
    categories: Ints, neighbour_rows: Ints, neighbour_weights: Floats, mass: Floats,
    integers: Ints, floats: Floats, user: Floats, terms: Floats, touched: Ints,
) -> tuple[int, int]:  # pragma: no cover  # fmt: skip
    """Write the factors of the scan and the terms of one request.

    Args:
        viewed: row of the product viewed; -1: none that the catalogue knows.
        history: the words of a packed history.
        eligible: (N,) 0 keeps a product out.
        excluded: rows that are kept out too.
        small: the small tensors (`layout.PLACES`).
        table: (N, TABLE_COLUMNS).
        categories: (N,) category codes.
        neighbour_rows: (N', M) co-purchase neighbours.
        neighbour_weights: (N', M) their weights.
        mass: (tiles * TILE,) zeros.
        integers: scratch space.
        floats: scratch space.
        user: (FACTORS,) the result.
        terms: (tiles * TILE,) zeros, and the result.
        touched: (TOUCHED,) rows of neighbours whose terms are not zero, the result.

    Returns:
        How many of `touched` count, below 0 when the history cannot be read; and how many eligible
        products are excluded.
    """
    if not _readable(history):
        user[:] = _ZERO
        return HISTORY_NOT_READABLE, 0
    recent = integers[RECENT_AT:OWN_AT]
    known = _known_recent(history, len(categories), recent)
    encode(small, table, viewed, recent, known, floats[:REPEAT_AT], user[:VECTOR])
    context_traits(table, viewed, recent, known, user[VECTOR:])
    sharpness = small[_SHARPNESS]
    neighbours = add_copurchase_terms(
        neighbour_rows, neighbour_weights, recent, known, sharpness * small[_COPURCHASE],
        mass, touched, terms,
    )  # fmt: skip
    if viewed >= 0:
        recent[known] = viewed
        neighbours += add_copurchase_terms(
            neighbour_rows, neighbour_weights, recent[known:], 1,
            sharpness * small[_COPURCHASE + 1], mass, touched[neighbours:], terms,
        )  # fmt: skip
    add_repeat_terms(
        small, table, categories, viewed, history, sharpness, floats[REPEAT_AT:MAXIMA_AT], terms
    )
    for component in range(VECTOR):
        user[component] *= sharpness * _DOT
    return neighbours, _exclude(viewed, excluded, eligible, terms)


@njit()
def finish_scores(
    viewed: int, history: UInts, eligible: Bytes, excluded: Ints, prepared: tuple[int, int],
    products: int, counts: Ints, floats: Floats, scores: Floats, terms: Floats, touched: Ints,
) -> int:  # pragma: no cover  # fmt: skip
    """Return how many products are eligible, or why there are no scores (below 0).

    Args:
        viewed: as in `prepare_scores`.
        history: as in `prepare_scores`.
        eligible: as in `prepare_scores`.
        excluded: as in `prepare_scores`.
        prepared: what `prepare_scores` returned.
        products: N.
        counts: (tiles,) eligible products of each tile, the result.
        floats: scratch space; the maxima of `scan.review` stand in it afterwards.
        scores: (tiles * TILE,) from `scan.multiply`; -inf where not eligible, afterwards.
        terms: (tiles * TILE,) zeros again afterwards.
        touched: from `prepare_scores`.
    """
    neighbours, hit = prepared
    if neighbours < 0:
        return neighbours
    marked, scored = review(
        eligible, scores, counts, floats[MAXIMA_AT:OTHER_AT], floats[OTHER_AT:WEIGHTS_AT]
    )
    _forget(viewed, excluded, touched[:neighbours], history, products, terms)
    return scored if marked - hit == scored else SCORES_NOT_FINITE
