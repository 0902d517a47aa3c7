"""Weights and features to tiles and table: `reference.compile_products` in float32."""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
from numba import njit, types
from numba.core.dispatcher import Dispatcher

from policy.architecture import FEATURES, PROJECTED, VECTOR
from policy.kernels.layout import (
    PROJECTED_AT,
    REPEAT_BIAS_AT,
    TILE,
    TILE_FLOATS,
    Floats,
    Ints,
    readonly,
    writable,
)
from policy.kernels.sources import FINGERPRINT

_ZERO: Final = np.float32(0.0)
_TENSORS: Final = (
    "context_rows", "context_features", "output_rows", "output_features", "bias_rows",
    "bias_features", "repeat_projection", "repeat_rows",
)  # fmt: skip


@njit(nogil=True)
def _add_features(
    buckets: Ints, scale: Floats, context_features: Floats, output_features: Floats,
    repeat_projection: Floats, vectors: Floats, output: Floats,
) -> None:  # pragma: no cover  # fmt: skip
    for place in range(FEATURES):
        weight, bucket = scale[place], buckets[place]
        if weight != _ZERO:
            for component in range(VECTOR):
                vectors[component] += weight * context_features[bucket, component]
                output[component] += weight * output_features[bucket, component]
            for column in range(PROJECTED):
                vectors[PROJECTED_AT + column] += weight * repeat_projection[bucket, column]


@njit(nogil=True)
def _bias(buckets: Ints, scale: Floats, bias_features: Floats) -> np.float32:  # pragma: no cover
    bias = _ZERO
    for place in range(FEATURES):
        bias += scale[place] * bias_features[buckets[place]]
    return np.float32(bias)


def _entry_point(fingerprint: int) -> "Dispatcher[Callable[..., None]]":
    """Return the compiled function, tied to the source it was made from."""

    @njit(cache=True, nogil=True)
    def fill(
        rows: npt.NDArray[np.int64], buckets: Ints, scale: Floats, context_rows: Floats,
        context_features: Floats, output_rows: Floats, output_features: Floats, bias_rows: Floats,
        bias_features: Floats, repeat_projection: Floats, repeat_rows: Floats, sharpness: float,
        tiles: Floats, table: Floats,
) -> None:  # pragma: no cover  # fmt: skip
        if fingerprint < 0:  # never: it makes the number part of the cache's key
            return
        output = np.empty(VECTOR, np.float32)
        known = len(context_rows)
        for row in rows:
            vectors = table[row]
            vectors[:] = _ZERO
            output[:] = _ZERO
            _add_features(
                buckets[row], scale[row], context_features, output_features, repeat_projection,
                vectors, output,
            )  # fmt: skip
            bias = _bias(buckets[row], scale[row], bias_features)
            if row < known:
                bias += bias_rows[row]
                vectors[REPEAT_BIAS_AT] = repeat_rows[row]
                for component in range(VECTOR):
                    vectors[component] += context_rows[row, component]
                    output[component] += output_rows[row, component]
            at = (row // TILE) * TILE_FLOATS + row % TILE
            for component in range(VECTOR):
                tiles[at + component * TILE] = output[component]
            tiles[at + VECTOR * TILE] = np.float32(sharpness) * bias

    return fill


_SIGNATURE: Final = (
    readonly(types.int64, 1),  # rows
    readonly(types.int32, 2),  # buckets
    readonly(types.float32, 2),  # scale
    readonly(types.float32, 2),  # context rows
    readonly(types.float32, 2),  # context features
    readonly(types.float32, 2),  # output rows
    readonly(types.float32, 2),  # output features
    readonly(types.float32, 1),  # bias rows
    readonly(types.float32, 1),  # bias features
    readonly(types.float32, 2),  # repeat projection
    readonly(types.float32, 1),  # repeat rows
    types.float64,  # sharpness
    writable(types.float32, 1),  # tiles
    writable(types.float32, 2),  # table
)
_fill = _entry_point(FINGERPRINT)


def fill_products(
    rows: npt.NDArray[np.int64], buckets: Ints, scale: Floats,
    weights: Mapping[str, npt.NDArray[np.generic]], tiles: Floats, table: Floats,
) -> None:  # fmt: skip
    """Write tiles and table of some products; other threads go on meanwhile.

    Args:
        rows: the products to write.
        buckets: (N, F) feature buckets.
        scale: (N, F) feature weights.
        weights: the tensors of `policy.architecture`, C-contiguous; rows that they do not know have
            their features alone.
        tiles: (tiles * TILE_FLOATS,) the result.
        table: (N, TABLE_COLUMNS) the result.
    """
    sharpness = float(weights["sharpness"][0])
    _fill(rows, buckets, scale, *(weights[name] for name in _TENSORS), sharpness, tiles, table)


def prepare() -> None:
    """Compile it, or load it from disk."""
    if not _fill.signatures:
        _fill.compile(_SIGNATURE)
        _fill.disable_compile()
