"""The draw: Plackett-Luce on the candidates' scores (Plackett 1975), by inverse CDF.

One pass of exp with a sum per block; then per position: a uniform number finds the block, the
block's products, the product; it is removed and its block summed again. Nothing is ever subtracted
from a sum, which would leave rounding errors as large as what remains of a peaked policy.

Where the product placed moves the others' scores (`policy.architecture`, "value_pairs"), weights
are multiplied by the exponentials of what was added, which were made with the snapshot. Weights
made relative to the highest score reach down to exp(-87); what is below is lost until they are made
anew. Four placements lift it by at most 4 * 12 before it must be found (a longer lift makes weights
anew), while what remains is above exp(-21) or made anew too: so what is lost is below exp(-18).
"""

import math
from typing import Final

import numpy as np
from numba import njit

from policy.architecture import PAIR_GROUPS
from policy.kernels.exponential import exponentials
from policy.kernels.layout import FACTOR, LIFT, REACH_AT, Doubles, Floats, Ints
from policy.kernels.matvec import highest

BLOCK: Final = 64
_NEVER: Final = np.float32(-np.inf)
_ZERO: Final = np.float32(0.0)
LARGEST: Final = np.float32(3e38)
_FAINT: Final = 1e-9
"""When less than this share of the highest weight remains, weights are made anew."""
_LONGEST_LIFT: Final = np.float32(12.0)
"""When a placement moves a score farther, weights are made anew."""


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
def _weigh_more(
    weights: Floats, count: int, rows: Ints, groups: Ints, factors: Floats, sums: Doubles
) -> None:  # pragma: no cover
    """Multiply the weights by the factors of their groups, and sum the blocks again."""
    for place in range(count):
        weights[place] *= factors[groups[rows[place]]]
    for block in range((count + BLOCK - 1) // BLOCK):
        start = block * BLOCK
        sums[block] = _block_sum(weights, start, min(start + BLOCK, count))


@njit()
def _reach(pairs: Floats, group: int) -> np.float32:  # pragma: no cover
    """Return the farthest that placing a product of this group moves a score."""
    return _ZERO if group == PAIR_GROUPS else pairs[LIFT, group, REACH_AT]


@njit()
def _what_remains(
    weights: Floats, count: int, chosen: int, rows: Ints, groups: Ints, pairs: Floats, sums: Doubles
) -> float:  # pragma: no cover
    """Return the sum of the weights, lifted by what was chosen; 0 when they must be made anew."""
    group = groups[rows[chosen]]
    reach = _reach(pairs, group)
    if reach > _LONGEST_LIFT:
        return 0.0
    if reach > _ZERO:
        _weigh_more(weights, count, rows, groups, pairs[FACTOR, group], sums)
    else:
        start = chosen // BLOCK * BLOCK
        sums[chosen // BLOCK] = _block_sum(weights, start, min(start + BLOCK, count))
    total = 0.0
    for block in range((count + BLOCK - 1) // BLOCK):
        total += sums[block]
    return total


@njit()
def _lift(
    pairs: Floats, groups: Ints, rows: Ints, placed: Ints, group: int
) -> float:  # pragma: no cover
    """Return what the placed products add to the score of a group."""
    total = 0.0
    for place in placed:
        other = groups[rows[place]]
        if other != PAIR_GROUPS:
            total += float(pairs[LIFT, other, group])
    return total


@njit()
def _settle(
    values: Floats, count: int, top: np.float32, rows: Ints, groups: Ints, pairs: Floats,
    placed: Ints,
) -> None:  # pragma: no cover  # fmt: skip
    """Add what the placed products lift to the scores, relative to `top` so that none is lost."""
    for place in placed:
        group = groups[rows[place]]
        if _reach(pairs, group) > _ZERO:
            for other in range(count):
                values[other] = values[other] - top + pairs[LIFT, group, groups[rows[other]]]
            top = _ZERO


@njit()
def draw_positions(
    values: Floats, count: int, size: int, uniforms: Doubles, rows: Ints, groups: Ints,
    pairs: Floats, bits: Ints, weights: Floats, sums: Doubles, drawn: Ints, log_probs: Floats,
) -> int:  # pragma: no cover  # fmt: skip
    """Draw a banner; return how many positions it has: `size`, or `count` when that is less.

    A score beyond 3e38 returns -1: nothing can be drawn.

    Args:
        values: at least (count,) scores, neither NaN nor -inf; drawn ones are -inf afterwards.
        count: how many candidates.
        size: how many positions.
        uniforms: (size or more,) in [0, 1).
        rows: at least (count,) rows of the candidates.
        groups: (N,) pair group of each row, G: none.
        pairs: `layout.pair_lines` of the weights.
        bits: at least (count,) scratch space.
        weights: at least (count,) scratch space.
        sums: at least (ceil(count / BLOCK),) scratch space.
        drawn: (size or more,) the result: places among the candidates, in display order.
        log_probs: (size or more,) the result: log-probability of each given those before.
    """
    positions = min(size, count)
    top, total, settled = _NEVER, 0.0, 0
    for position in range(positions):
        if total < _FAINT:
            _settle(values, count, top, rows, groups, pairs, drawn[settled:position])
            settled = position
            top, total = _weigh(values, count, bits, weights, sums)
            if not top < LARGEST:
                return -1
        chosen = _find(weights, count, sums, uniforms[position] * total)
        if chosen < 0:  # rounding carried the number past the last block
            chosen = _last_possible(weights, count)
        drawn[position] = chosen
        group = groups[rows[chosen]]
        lift = _lift(pairs, groups, rows, drawn[settled:position], group)
        log_probs[position] = np.float32(float(values[chosen] - top) + lift - math.log(total))
        values[chosen], weights[chosen] = _NEVER, _ZERO
        if position + 1 == positions:
            break
        total = _what_remains(weights, count, chosen, rows, groups, pairs, sums)
    return positions
