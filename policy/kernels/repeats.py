"""What is added to the scores of the shopper's repeats (`reference.repeat_terms`)."""

import math
from typing import Final

import numpy as np
from numba import njit

from policy.architecture import PROJECTED, REPEAT_HIDDEN, REPEAT_INPUTS
from policy.kernels.layout import PLACES, PROJECTED_AT, REPEAT_BIAS_AT, Floats, Ints, UInts
from schemas.history import HALF_LIFE_ORDERS

_HIDDEN_WEIGHT: Final = PLACES["repeat_hidden_weight"][0]
_HIDDEN_BIAS: Final = PLACES["repeat_hidden_bias"][0]
_OUT_WEIGHT: Final = PLACES["repeat_out_weight"][0]
_OUT_BIAS: Final = PLACES["repeat_out_bias"][0]
_OWN_INPUTS: Final = REPEAT_INPUTS - PROJECTED
_DECAY: Final = np.float32(-math.log(2.0) / HALF_LIFE_ORDERS)
_SHORT, _MIDDLE, _LONG = (np.float32(-1.0 / gap) for gap in (0.4, 1.8, 7.0))
_TINY: Final = np.float32(1e-9)
_OVERDUE_CAP: Final = np.float32(5.0)
_SMOOTH: Final = np.float32(5.0)
_ZERO: Final = np.float32(0.0)
_ONE: Final = np.float32(1.0)

REPEAT_FLOATS: Final = REPEAT_INPUTS + REPEAT_HIDDEN + 256
"""Scratch space of `add_repeat_terms`: inputs, hidden layer, decayed counts."""


@njit(fastmath={"contract", "reassoc"}, cache=True)
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


@njit(fastmath={"contract", "reassoc"}, cache=True)
def _own_inputs(
    inputs: Floats, now: np.float32, count: np.float32, first: np.float32, last: np.float32,
    orders: np.float32,
) -> None:  # pragma: no cover  # fmt: skip
    """Write the inputs that come from this repeat's counts alone."""
    gap = orders - last
    rate = count / (orders + _SMOOTH)
    inputs[0] = np.float32(math.log(_ONE + now))
    inputs[1] = np.float32(math.exp(gap * _SHORT))
    inputs[2] = np.float32(math.exp(gap * _MIDDLE))
    inputs[3] = np.float32(math.exp(gap * _LONG))
    inputs[4] = np.float32(math.log(_ONE + gap))
    inputs[5] = np.float32(math.sqrt(rate))
    inputs[6] = np.float32(math.log(rate))
    inputs[9] = min(count * gap / max(last - first, _ONE), _OVERDUE_CAP)
    inputs[10] = _ONE if count == _ONE else _ZERO


@njit(cache=True)
def _holds(rows: UInts, row: int) -> bool:  # pragma: no cover
    for place in range(len(rows)):  # noqa: SIM110 - numba has no `any` over a generator
        if rows[place] == row:
            return True
    return False


@njit(fastmath={"contract", "reassoc"}, cache=True)
def _network(small: Floats, inputs: Floats, hidden: Floats) -> np.float32:  # pragma: no cover
    for unit in range(REPEAT_HIDDEN):
        hidden[unit] = small[_HIDDEN_BIAS + unit]
    for line in range(REPEAT_INPUTS):
        start, value = _HIDDEN_WEIGHT + line * REPEAT_HIDDEN, inputs[line]
        for unit in range(REPEAT_HIDDEN):
            hidden[unit] += value * small[start + unit]
    term = small[_OUT_BIAS]
    for unit in range(REPEAT_HIDDEN):
        term += max(hidden[unit], _ZERO) * small[_OUT_WEIGHT + unit]
    return np.float32(term)


@njit(fastmath={"contract", "reassoc"}, cache=True)
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
        work: (REPEAT_FLOATS,) scratch space.
        terms: (N or more,) what is added to each score.
    """
    recents, repeats, orders = int(history[1]), int(history[2]), np.float32(history[3])
    recent, body = history[4 : 4 + recents], history[4 + recents :]
    rows, decayed = body[:repeats], body[repeats : 2 * repeats].view(np.float32)
    counts, first = body[2 * repeats : 3 * repeats], body[3 * repeats : 4 * repeats]
    last = body[4 * repeats : 5 * repeats]
    inputs, hidden = work[:REPEAT_INPUTS], work[REPEAT_INPUTS : REPEAT_INPUTS + REPEAT_HIDDEN]
    now = work[REPEAT_INPUTS + REPEAT_HIDDEN :]
    total, highest = _decay(rows, decayed, last, orders, len(categories), now)
    category = categories[viewed] if viewed >= 0 else -1
    inputs[13] = _ONE if viewed >= 0 else _ZERO
    inputs[14] = np.float32(math.log(_ONE + orders))
    for place in range(repeats):
        row = int(rows[place])
        if row < len(categories):
            _own_inputs(
                inputs, now[place], np.float32(counts[place]), np.float32(first[place]),
                np.float32(last[place]), orders,
            )  # fmt: skip
            inputs[7] = now[place] / total
            inputs[8] = now[place] / highest
            inputs[11] = _ONE if _holds(recent, row) else _ZERO
            inputs[12] = _ONE if category >= 0 and categories[row] == category else _ZERO
            for column in range(PROJECTED):
                inputs[_OWN_INPUTS + column] = table[row, PROJECTED_AT + column]
            term = _network(small, inputs, hidden) + table[row, REPEAT_BIAS_AT] * inputs[0]
            terms[row] += np.float32(sharpness) * term
