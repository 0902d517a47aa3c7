"""The shopper's vector u(x), as `reference.user_vector` defines it."""

import math
from typing import Final

import numpy as np
from numba import njit

from policy.architecture import HIDDEN, VECTOR
from policy.kernels.layout import PLACES, Floats, Ints

_NO_VIEW: Final = PLACES["no_view"][0]
_QUERY: Final = PLACES["attention_query"][0]
_POSITION: Final = PLACES["attention_position"][0]
_HIDDEN_WEIGHT: Final = PLACES["hidden_weight"][0]
_HIDDEN_BIAS: Final = PLACES["hidden_bias"][0]
_USER_WEIGHT: Final = PLACES["user_weight"][0]
_USER_BIAS: Final = PLACES["user_bias"][0]
_ROOT: Final = np.float32(1.0 / math.sqrt(VECTOR))
_ZERO: Final = np.float32(0.0)
_ONE: Final = np.float32(1.0)

ENCODER_FLOATS: Final = 4 * VECTOR + HIDDEN + 16
"""Scratch space of `encode`: inputs, query, hidden layer, attention."""


@njit(fastmath={"contract", "reassoc"}, cache=True)
def _add_matvec(
    small: Floats, matrix_at: int, inputs: Floats, width: int, output: Floats
) -> None:  # pragma: no cover
    """Add inputs (n,) @ matrix (n, width) to output (width,)."""
    for line in range(len(inputs)):
        value = inputs[line]
        if value != _ZERO:
            start = matrix_at + line * width
            for column in range(width):
                output[column] += value * small[start + column]


@njit(fastmath={"contract", "reassoc"}, cache=True)
def _attend(
    small: Floats, table: Floats, recent: Ints, known: int, inputs: Floats, work: Floats
) -> None:  # pragma: no cover
    """Put the attention over recent purchases and their mean behind the view in `inputs`."""
    query, logits = work[:VECTOR], work[VECTOR : VECTOR + 16]
    query[:] = _ZERO
    _add_matvec(small, _QUERY, inputs[:VECTOR], VECTOR, query)
    highest = np.float32(-np.inf)
    for place in range(known):
        row = recent[place]
        logit = _ZERO
        for component in range(VECTOR):
            logit += query[component] * table[row, component]
        logit = logit * _ROOT + small[_POSITION + known - 1 - place]  # 0 is the newest
        logits[place] = logit
        highest = max(highest, logit)
    total = _ZERO
    for place in range(known):
        logits[place] = np.float32(math.exp(logits[place] - highest))
        total += logits[place]
    even = _ONE / np.float32(known)
    for place in range(known):
        row, share = recent[place], logits[place] / total
        for component in range(VECTOR):
            inputs[VECTOR + component] += share * table[row, component]
            inputs[2 * VECTOR + component] += even * table[row, component]


@njit(fastmath={"contract", "reassoc"}, cache=True)
def encode(
    small: Floats, table: Floats, viewed: int, recent: Ints, known: int, work: Floats, user: Floats
) -> None:  # pragma: no cover
    """Write u(x) into `user`.

    Args:
        small: the small tensors (`layout.PLACES`).
        table: (N, TABLE_COLUMNS).
        viewed: row of the product viewed; -1: none that the catalogue knows.
        recent: rows of the last purchases that the catalogue knows, oldest first.
        known: how many of `recent` count.
        work: (ENCODER_FLOATS,) scratch space.
        user: (d,) the result.
    """
    inputs = work[: 3 * VECTOR]
    hidden = work[3 * VECTOR : 3 * VECTOR + HIDDEN]
    inputs[:] = _ZERO
    for component in range(VECTOR):
        inputs[component] = small[_NO_VIEW + component] if viewed < 0 else table[viewed, component]
    if known > 0:
        _attend(small, table, recent, known, inputs, hidden)
    for unit in range(HIDDEN):
        hidden[unit] = small[_HIDDEN_BIAS + unit]
    _add_matvec(small, _HIDDEN_WEIGHT, inputs, HIDDEN, hidden)
    for unit in range(HIDDEN):
        hidden[unit] = max(hidden[unit], _ZERO)
    for component in range(VECTOR):
        user[component] = small[_USER_BIAS + component]
    _add_matvec(small, _USER_WEIGHT, hidden, VECTOR, user)
