"""What is added to the scores of the shopper's repeats (`reference.repeat_terms`)."""

import math
from typing import Final

import numpy as np
from numba import njit

from policy.architecture import PROJECTED, REPEAT_HIDDEN, REPEAT_INPUTS
from policy.kernels.layout import (
    PLACES,
    PROJECTED_AT,
    REPEAT_BIAS_AT,
    REPEAT_LINE,
    Floats,
    Ints,
    UInts,
)
from policy.kernels.matvec import product_adder
from schemas.history import HALF_LIFE_ORDERS
from schemas.limits import REPEATS

_HIDDEN: Final = slice(*PLACES["repeat_hidden"])
_OUT_WEIGHT: Final = slice(*PLACES["repeat_out_weight"])
_OUT_BIAS: Final = PLACES["repeat_out_bias"][0]
_OWN_INPUTS: Final = REPEAT_INPUTS - PROJECTED
_DECAY: Final = np.float32(-math.log(2.0) / HALF_LIFE_ORDERS)
_SHORT, _MIDDLE, _LONG = (np.float32(-1.0 / gap) for gap in (0.4, 1.8, 7.0))
_TINY: Final = np.float32(1e-9)
_OVERDUE_CAP: Final = np.float32(5.0)
_SMOOTH: Final = np.float32(5.0)
_ZERO: Final = np.float32(0.0)
_ONE: Final = np.float32(1.0)

REPEAT_LANES: Final = 32
"""So many repeats go through the network at once."""
_add_unit = product_adder(REPEAT_LINE, REPEAT_LANES)
_UNIT_AT: Final = REPEAT_LINE * REPEAT_LANES
_RESULTS_AT: Final = _UNIT_AT + REPEAT_LANES
_NOW_AT: Final = _RESULTS_AT + REPEAT_LANES
REPEAT_FLOATS: Final = _NOW_AT + REPEATS
"""Scratch space of `add_repeat_terms`: inputs, a unit, results, decayed counts."""


@njit(fastmath={"contract", "reassoc"})
def _decay(
    rows: UInts, decayed: Floats, last: UInts, orders: np.float32, products: int, now: Floats
) -> tuple[np.float32, np.float32]:  # pragma: no cover
    """Write the decayed counts as of now and return their sum and maximum over known rows."""
    total, highest = _ZERO, _ZERO
    for place in range(len(rows)):
        if rows[place] < products:
            gap = orders - np.float32(last[place])
            now[place] = decayed[place] * np.float32(math.exp(gap * _DECAY))
            total += now[place]
            highest = max(highest, now[place])
    return max(total, _TINY), max(highest, _TINY)


@njit(fastmath={"contract", "reassoc"})
def _own_inputs(
    inputs: Floats, lane: int, now: np.float32, count: np.float32, first: np.float32,
    last: np.float32, orders: np.float32,
) -> None:  # pragma: no cover  # fmt: skip
    """Write the inputs that come from this repeat's counts alone."""
    gap = orders - last
    rate = count / (orders + _SMOOTH)
    inputs[0, lane] = np.float32(math.log(_ONE + now))
    inputs[1, lane] = np.float32(math.exp(gap * _SHORT))
    inputs[2, lane] = np.float32(math.exp(gap * _MIDDLE))
    inputs[3, lane] = np.float32(math.exp(gap * _LONG))
    inputs[4, lane] = np.float32(math.log(_ONE + gap))
    inputs[5, lane] = np.float32(math.sqrt(rate))
    inputs[6, lane] = np.float32(math.log(rate))
    inputs[9, lane] = min(count * gap / max(last - first, _ONE), _OVERDUE_CAP)
    inputs[10, lane] = _ONE if count == _ONE else _ZERO


@njit()
def _holds(rows: UInts, row: int) -> bool:  # pragma: no cover
    found = False
    for place in range(len(rows)):
        found |= rows[place] == row
    return found


@njit(fastmath={"contract", "reassoc"})
def _network(small: Floats, inputs: Floats, unit: Floats, results: Floats) -> None:
    """Write the network's output for REPEAT_LANES repeats at once, one unit after another."""
    hidden, out, bias = small[_HIDDEN], small[_OUT_WEIGHT], small[_OUT_BIAS]
    for lane in range(REPEAT_LANES):
        results[lane] = bias
    for number in range(REPEAT_HIDDEN):
        unit[:] = _ZERO
        _add_unit(inputs, hidden, number * REPEAT_LINE, unit)
        factor = out[number]
        for lane in range(REPEAT_LANES):
            value = unit[lane]
            results[lane] += factor * (value if value > _ZERO else _ZERO)


@njit(fastmath={"contract", "reassoc"})
def add_repeat_terms(
    small: Floats, table: Floats, categories: Ints, viewed: int, history: UInts, sharpness: float,
    work: Floats, terms: Floats,
) -> None:  # pragma: no cover  # fmt: skip
    """Add sharpness * rep(x, i) to `terms` of every repeat that the catalogue knows.

    Args:
        small: the small tensors (`layout.PLACES`).
        table: (N, TABLE_COLUMNS).
        categories: (N,) category codes.
        viewed: row of the product viewed; -1: none that the catalogue knows.
        history: the words of a packed history (`schemas.history`), checked before.
        sharpness: factor of every score.
        work: (REPEAT_FLOATS,) scratch space, zeros at first.
        terms: (N or more,) what is added to each score.
    """
    recents, repeats, orders = int(history[1]), int(history[2]), np.float32(history[3])
    recent, body = history[4 : 4 + recents], history[4 + recents :]
    rows, decayed = body[:repeats], body[repeats : 2 * repeats].view(np.float32)
    counts, first = body[2 * repeats : 3 * repeats], body[3 * repeats : 4 * repeats]
    last = body[4 * repeats : 5 * repeats]
    flat = work[:_UNIT_AT]
    inputs = flat.reshape(REPEAT_LINE, REPEAT_LANES)
    unit, results, now = work[_UNIT_AT:_RESULTS_AT], work[_RESULTS_AT:_NOW_AT], work[_NOW_AT:]
    total, highest = _decay(rows, decayed, last, orders, len(categories), now)
    category = categories[viewed] if viewed >= 0 else -1
    inputs[13] = _ONE if viewed >= 0 else _ZERO
    inputs[14] = np.float32(math.log(_ONE + orders))
    inputs[REPEAT_INPUTS] = _ONE  # of the bias
    for start in range(0, repeats, REPEAT_LANES):
        end = min(start + REPEAT_LANES, repeats)
        for place in range(start, end):
            lane, row = place - start, int(rows[place])
            if row < len(categories):
                _own_inputs(
                    inputs, lane, now[place], np.float32(counts[place]), np.float32(first[place]),
                    np.float32(last[place]), orders,
                )  # fmt: skip
                inputs[7, lane] = now[place] / total
                inputs[8, lane] = now[place] / highest
                inputs[11, lane] = _ONE if _holds(recent, row) else _ZERO
                same = category >= 0 and categories[row] == category
                inputs[12, lane] = _ONE if same else _ZERO
                for column in range(PROJECTED):
                    inputs[_OWN_INPUTS + column, lane] = table[row, PROJECTED_AT + column]
        _network(small, flat, unit, results)
        for place in range(start, end):
            lane, row = place - start, int(rows[place])
            if row < len(categories):
                term = results[lane] + table[row, REPEAT_BIAS_AT] * inputs[0, lane]
                terms[row] += np.float32(sharpness) * term
