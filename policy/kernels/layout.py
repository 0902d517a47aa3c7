"""How a compiled policy lies in memory: tiles to scan, a table to look things up in, small tensors.

Tiles hold what every request reads of every product. A tile is TILE products wide and FACTORS + 1
high: a line per component of e_i, one per component of the value vector, then a line of b_i. So one
pass multiplies TILE products at once, without adding up across a vector register (a row per product
took five times as long). Columns beyond the catalogue have a bias of -inf: they are never eligible.

The table holds what is read of a few products: c_i, the projected features, the repeat bias, the
traits.

The small tensors of the network stand one after another in one float32 vector, since every array
given to a compiled function costs 60 ns.
"""

from collections.abc import Mapping
from typing import Final

import numba
import numpy as np
import numpy.typing as npt

from policy.architecture import (
    PAIR_GROUPS,
    PROJECTED,
    REPEAT_HIDDEN,
    REPEAT_INPUTS,
    TENSORS,
    TRAITS,
    VECTOR,
)

TILE: Final = 64
FACTORS: Final = VECTOR + 2 * TRAITS
"""What a request multiplies every product with: the shopper's vector, then the context's traits."""
TILE_LINES: Final = FACTORS + 1
"""A line per component of e_i and of the value vector, and one of b_i."""
TILE_FLOATS: Final = TILE * TILE_LINES

PROJECTED_AT: Final = VECTOR
"""Column of the table where the projected features begin; before it stands c_i."""
REPEAT_BIAS_AT: Final = VECTOR + PROJECTED
TRAITS_AT: Final = REPEAT_BIAS_AT + 1
TABLE_COLUMNS: Final = 64
"""Four cache lines of 64 bytes a product; the last columns are unused."""

GROUPS: Final = 20 * TILE
"""Groups of products whose maxima bound the top. Product r is in group r % GROUPS."""

SMALL: Final = (
    "no_view", "attention_query", "attention_position", "hidden_weight", "hidden_bias",
    "user_weight", "user_bias", "repeat_out_weight", "repeat_out_bias", "copurchase_scale",
    "sharpness",
)  # fmt: skip
"""Names of the small tensors, in the order of the vector that holds them; last the hidden layer of
the repeat term, a line per unit: its REPEAT_INPUTS weights, then its bias."""
REPEAT_LINE: Final = REPEAT_INPUTS + 1

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]
UInts = npt.NDArray[np.uint32]
Bytes = npt.NDArray[np.uint8]


def _places() -> dict[str, tuple[int, int]]:
    places, start = {}, 0
    for name in SMALL:
        end = start + int(np.prod(TENSORS[name].sizes(0)))
        places[name] = (start, end)
        start = end
    places["repeat_hidden"] = (start, start + REPEAT_HIDDEN * REPEAT_LINE)
    return places


PLACES: Final = _places()
"""(start, end) of every small tensor in the vector."""


def small_vector(weights: Mapping[str, npt.NDArray[np.generic]]) -> Floats:
    """Return the small tensors one after another, float32."""
    hidden = np.vstack([weights["repeat_hidden_weight"], weights["repeat_hidden_bias"]]).T
    parts = [*(weights[name].ravel() for name in SMALL), hidden.ravel()]
    return np.concatenate(parts, dtype=np.float32)


LIFT, FACTOR = range(2)
"""Planes of the pair lines: what is added to scores, and the exponentials of it."""
REACH_AT: Final = PAIR_GROUPS + 1
"""Column of the lifts with the largest of the line; before it stands 0, for products of no group.
"""


def pair_lines(weights: Mapping[str, npt.NDArray[np.generic]]) -> Floats:
    """Return (2, G, G + 2) float32: what a product placed does to the scores of every group."""
    lines = np.zeros((2, PAIR_GROUPS, PAIR_GROUPS + 2), np.float32)
    lines[LIFT, :, :PAIR_GROUPS] = weights["value_pairs"]
    lines[LIFT, :, REACH_AT] = np.abs(lines[LIFT]).max(axis=1)
    with np.errstate(over="ignore"):  # a lift so long is never multiplied with
        lines[FACTOR] = np.exp(lines[LIFT])
    return lines


def tile_count(products: int) -> int:
    """Return how many tiles hold so many products."""
    return -(-products // TILE)


def readonly(dtype: "numba.types.Type", dimensions: int) -> "numba.types.Array":
    """Return the numba type of an input: C-contiguous, read-only (writable arrays pass too)."""
    return numba.types.Array(dtype, dimensions, "C", readonly=True)


def writable(dtype: "numba.types.Type", dimensions: int) -> "numba.types.Array":
    """Return the numba type of scratch space: C-contiguous."""
    return numba.types.Array(dtype, dimensions, "C")
