"""The draw: Plackett-Luce on the candidates' scores (Plackett 1975), by inverse CDF.

One pass of exp with a sum per block; then per position: a uniform number finds the block, the
block's products, the product; it is removed and its block summed again. Nothing is ever subtracted
from a sum, which would leave rounding errors as large as what remains of a peaked policy.
"""

import math
from typing import Final

import numpy as np
from numba import njit

from policy.kernels.exponential import exponentials
from policy.kernels.layout import Doubles, Floats, Ints
from policy.kernels.matvec import highest

BLOCK: Final = 64
_NEVER: Final = np.float32(-np.inf)
_ZERO: Final = np.float32(0.0)
LARGEST: Final = np.float32(3e38)
_FAINT: Final = 1e-9
"""When less than this share of the highest weight remains, weights are made anew."""


@njit(fastmath={"contract", "reassoc"})
def _block_sum(weights: Floats, start: int, end: int) -> float:  # pragma: no cover
    total = _ZERO
    for place in range(max(start, 0), end):
        total += weights[place]
    return float(total)


@njit()
def _weigh(
    values: Floats, count: int, bits: Ints, weights: Floats, sums: Doubles
) -> tuple[np.float32, float]:  # pragma: no cover
    """Make weights relative to the highest score left; return that score and their sum."""
    top = highest(values, count)
    exponentials(values, count, top, bits, weights)
    total = 0.0
    for block in range((count + BLOCK - 1) // BLOCK):
        start = block * BLOCK
        sums[block] = _block_sum(weights, start, min(start + BLOCK, count))
        total += sums[block]
    return top, total


@njit()
def _find(weights: Floats, count: int, sums: Doubles, wanted: float) -> int:  # pragma: no cover
    """Return the place where the running sum of weights passes `wanted`."""
    block, blocks = 0, (count + BLOCK - 1) // BLOCK
    while block < blocks - 1 and wanted >= sums[block]:
        wanted -= sums[block]
        block += 1
    chosen = -1
    for place in range(block * BLOCK, min((block + 1) * BLOCK, count)):
        if weights[place] > _ZERO:
            chosen = place
            wanted -= float(weights[place])
            if wanted < 0.0:
                return chosen
    return chosen


@njit()
def _last_possible(weights: Floats, count: int) -> int:  # pragma: no cover
    place = count - 1
    while place > 0 and weights[place] == _ZERO:
        place -= 1
    return place


@njit()
def draw_positions(
    values: Floats, count: int, size: int, uniforms: Doubles, bits: Ints, weights: Floats,
    sums: Doubles, drawn: Ints, log_probs: Floats,
) -> int:  # pragma: no cover  # fmt: skip
    """Draw a banner; return how many positions it has: `size`, or `count` when that is less.

    A score beyond 3e38 returns -1: nothing can be drawn.

    Args:
        values: at least (count,) scores, neither NaN nor -inf; drawn ones are -inf afterwards.
        count: how many candidates.
        size: how many positions.
        uniforms: (size or more,) in [0, 1).
        bits: at least (count,) scratch space.
        weights: at least (count,) scratch space.
        sums: at least (ceil(count / BLOCK),) scratch space.
        drawn: (size or more,) the result: places among the candidates, in display order.
        log_probs: (size or more,) the result: log-probability of each given those before.
    """
    positions = min(size, count)
    top, total = _NEVER, 0.0
    for position in range(positions):
        if total < _FAINT:
            top, total = _weigh(values, count, bits, weights, sums)
            if not top < LARGEST:
                return -1
        chosen = _find(weights, count, sums, uniforms[position] * total)
        if chosen < 0:  # rounding carried the number past the last block
            chosen = _last_possible(weights, count)
        drawn[position] = chosen
        log_probs[position] = np.float32(float(values[chosen] - top) - math.log(total))
        values[chosen], weights[chosen] = _NEVER, _ZERO
        block = chosen // BLOCK
        start = block * BLOCK
        sums[block] = _block_sum(weights, start, min(start + BLOCK, count))
        total = 0.0
        for each in range((count + BLOCK - 1) // BLOCK):
            total += sums[each]
    return positions
