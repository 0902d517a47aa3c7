"""What is added to the scores of co-purchase neighbours (`reference.copurchase_terms`)."""

import math
from typing import Final

import numpy as np
from numba import njit

from policy.architecture import COPURCHASE_FLOOR, NEIGHBOURS
from policy.kernels.layout import Floats, Ints

_PER_FLOOR: Final = np.float32(1.0 / COPURCHASE_FLOOR)
_ZERO: Final = np.float32(0.0)
_ONE: Final = np.float32(1.0)


@njit()
def add_copurchase_terms(
    neighbour_rows: Ints, neighbour_weights: Floats, rows: Ints, count: int, scale: float,
    mass: Floats, touched: Ints, terms: Floats,
) -> int:  # pragma: no cover  # fmt: skip
    """Add scale * log(1 + z/.01) to `terms` of every neighbour, and return how many there are.

    Args:
        neighbour_rows: (N, M) int32; -1 pads.
        neighbour_weights: (N, M) float32, >= 0.
        rows: rows of the products in the context.
        count: how many of `rows` count.
        scale: factor of the term, sharpness included.
        mass: (products,) zeros, and zeros again afterwards.
        touched: receives the rows whose terms were changed, count * M places.
        terms: (products,) what is added to each score.
    """
    found = 0
    for place in range(count):
        row = rows[place]
        if row < len(neighbour_rows):
            for column in range(NEIGHBOURS):
                neighbour, weight = neighbour_rows[row, column], neighbour_weights[row, column]
                if neighbour >= 0 and weight > _ZERO:
                    if mass[neighbour] == _ZERO:
                        touched[found] = neighbour
                        found += 1
                    mass[neighbour] += weight
    for place in range(found):
        neighbour = touched[place]
        log_mass = np.float32(math.log(_ONE + mass[neighbour] * _PER_FLOOR))
        terms[neighbour] += np.float32(scale) * log_mass
        mass[neighbour] = _ZERO
    return found
