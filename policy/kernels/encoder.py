"""The factors of the scan: the shopper's vector u(x), as `reference.user_vector`, and traits."""

import math
from typing import Final

import numpy as np
from numba import njit

from policy.architecture import HIDDEN, TRAITS, VECTOR
from policy.kernels.layout import PLACES, TRAITS_AT, Floats, Ints
from policy.kernels.matvec import product_adder, rectify

_NO_VIEW: Final = slice(*PLACES["no_view"])
_QUERY: Final = slice(*PLACES["attention_query"])
_POSITION: Final = slice(*PLACES["attention_position"])
_HIDDEN_WEIGHT: Final = slice(*PLACES["hidden_weight"])
_HIDDEN_BIAS: Final = slice(*PLACES["hidden_bias"])
_USER_WEIGHT: Final = slice(*PLACES["user_weight"])
_USER_BIAS: Final = slice(*PLACES["user_bias"])
_ROOT: Final = np.float32(1.0 / math.sqrt(VECTOR))
_ZERO: Final = np.float32(0.0)
_ONE: Final = np.float32(1.0)

_add_query = product_adder(VECTOR, VECTOR)
_add_hidden = product_adder(3 * VECTOR, HIDDEN)
_add_user = product_adder(HIDDEN, VECTOR)

ENCODER_FLOATS: Final = 4 * VECTOR + HIDDEN + 16
"""Scratch space of `encode`: inputs, query, hidden layer, attention."""


@njit(fastmath={"contract", "reassoc"})
def _attend(
    small: Floats, table: Floats, recent: Ints, known: int, inputs: Floats, work: Floats
) -> None:  # pragma: no cover
    """Put the attention over recent purchases and their mean behind the view in `inputs`."""
    query, logits = work[:VECTOR], work[VECTOR : VECTOR + 16]
    query[:] = _ZERO
    _add_query(small[_QUERY], inputs, 0, query)
    newness = small[_POSITION]
    highest = np.float32(-np.inf)
    for place in range(known):
        row = recent[place]
        logit = _ZERO
        for component in range(VECTOR):
            logit += query[component] * table[row, component]
        logit = logit * _ROOT + newness[known - 1 - place]  # 0 is the newest
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


@njit(fastmath={"contract", "reassoc"})
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
    inputs[:VECTOR] = small[_NO_VIEW] if viewed < 0 else table[viewed, :VECTOR]
    if known > 0:
        _attend(small, table, recent, known, inputs, hidden)
    hidden[:] = small[_HIDDEN_BIAS]
    _add_hidden(small[_HIDDEN_WEIGHT], inputs, 0, hidden)
    rectify(hidden)
    user[:] = small[_USER_BIAS]
    _add_user(small[_USER_WEIGHT], hidden, 0, user)


@njit(fastmath={"contract", "reassoc"})
def context_traits(
    table: Floats, viewed: int, recent: Ints, known: int, z: Floats
) -> None:  # pragma: no cover
    """Write the mean traits of recent purchases, then those of the product viewed.

    Args:
        table: (N, TABLE_COLUMNS).
        viewed: row of the product viewed; -1: none that the catalogue knows.
        recent: rows of the last purchases that the catalogue knows.
        known: how many of `recent` count.
        z: (2T,) the result.
    """
    z[:] = _ZERO
    even = _ONE / np.float32(max(known, 1))
    for place in range(known):
        row = recent[place]
        for trait in range(TRAITS):
            z[trait] += even * table[row, TRAITS_AT + trait]
    if viewed >= 0:
        for trait in range(TRAITS):
            z[TRAITS + trait] = table[viewed, TRAITS_AT + trait]
