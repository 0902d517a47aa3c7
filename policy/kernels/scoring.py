"""The score of every product in one context: encoder, terms, exclusions, scan."""

import math
from typing import Final

import numpy as np
from numba import njit

from policy.architecture import VECTOR
from policy.kernels.copurchase import add_copurchase_terms
from policy.kernels.encoder import encode
from policy.kernels.layout import PLACES, Bytes, Floats, Ints, UInts
from policy.kernels.repeats import add_repeat_terms
from policy.kernels.scan import scan
from policy.kernels.scratch import (
    MASS,
    MAXIMA_AT,
    OTHER_AT,
    OWN_AT,
    RECENT_AT,
    REPEAT_AT,
    SCORES,
    TERMS,
    TOUCHED_AT,
    USER_AT,
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
def score_products(
    viewed_row: int, history: UInts, eligible: Bytes, excluded: Ints, small: Floats, tiles: Floats,
    table: Floats, categories: Ints, neighbour_rows: Ints, neighbour_weights: Floats,
    planes: Floats, counts: Ints, integers: Ints, floats: Floats,
) -> int:  # pragma: no cover  # fmt: skip
    """Score every product; return how many are eligible, or why it cannot be done (below 0)."""
    if not _readable(history):
        return HISTORY_NOT_READABLE
    products = len(categories)
    viewed = viewed_row if 0 <= viewed_row < products else -1
    recent = integers[RECENT_AT:TOUCHED_AT]
    known = _known_recent(history, products, recent)
    user = floats[USER_AT:REPEAT_AT]
    encode(small, table, viewed, recent, known, floats[:USER_AT], user)

    terms, mass = planes[TERMS], planes[MASS]
    sharpness, touched = small[_SHARPNESS], integers[TOUCHED_AT:OWN_AT]
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
    hit = _exclude(viewed, excluded, eligible, terms)

    for component in range(VECTOR):
        user[component] *= sharpness * _DOT
    marked, scored = scan(
        tiles, user, terms, eligible, planes[SCORES], counts,
        floats[MAXIMA_AT:OTHER_AT], floats[OTHER_AT:WEIGHTS_AT],
    )  # fmt: skip
    _forget(viewed, excluded, touched[:neighbours], history, products, terms)
    return scored if marked - hit == scored else SCORES_NOT_FINITE
