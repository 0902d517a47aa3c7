"""Weights and features to tiles and table: `reference.compile_products` in float32."""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
from numba import njit, types
from numba.core.dispatcher import Dispatcher

from policy.architecture import FEATURES, PROJECTED, TRAITS, VECTOR
from policy.kernels.layout import (
    FACTORS,
    PROJECTED_AT,
    REPEAT_BIAS_AT,
    TILE,
    TILE_FLOATS,
    TRAITS_AT,
    Floats,
    Ints,
    readonly,
    writable,
)
from policy.kernels.sources import FINGERPRINT

_ZERO: Final = np.float32(0.0)
_TENSORS: Final = (
    "context_rows", "context_features", "output_rows", "output_features", "bias_rows",
    "bias_features", "repeat_projection", "repeat_rows", "trait_rows", "trait_features",
    "value_main", "value_context", "value_rows", "value_bias",
)  # fmt: skip


@njit(nogil=True)
def _add_features(
    buckets: Ints, scale: Floats, context_features: Floats, output_features: Floats,
    repeat_projection: Floats, trait_features: Floats, vectors: Floats, output: Floats,
) -> None:  # pragma: no cover  # fmt: skip
    for place in range(FEATURES):
        weight, bucket = scale[place], buckets[place]
        if weight != _ZERO:
            for component in range(VECTOR):
                vectors[component] += weight * context_features[bucket, component]
                output[component] += weight * output_features[bucket, component]
            for column in range(PROJECTED):
                vectors[PROJECTED_AT + column] += weight * repeat_projection[bucket, column]
            for trait in range(TRAITS):
                vectors[TRAITS_AT + trait] += weight * trait_features[bucket, trait]


@njit(nogil=True)
def _add_value(
    traits: Floats, value_main: Floats, value_context: Floats, value: Floats
) -> np.float32:  # pragma: no cover
    """Add what the reward model makes of a product's traits to `value`; return the bias of it."""
    bias = _ZERO
    for trait in range(TRAITS):
        bias += traits[trait] * value_main[trait]
        for factor in range(2 * TRAITS):
            value[factor] += traits[trait] * value_context[factor, trait]
    return np.float32(bias)


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
        bias_features: Floats, repeat_projection: Floats, repeat_rows: Floats, trait_rows: Floats,
        trait_features: Floats, value_main: Floats, value_context: Floats, value_rows: Floats,
        value_bias: Floats, sharpness: float, tiles: Floats, table: Floats,
) -> None:  # pragma: no cover  # fmt: skip
        if fingerprint < 0:  # never: it makes the number part of the cache's key
            return
        output = np.empty(FACTORS, np.float32)
        known = len(context_rows)
        for row in rows:
            vectors = table[row]
            vectors[:] = _ZERO
            output[:] = _ZERO
            _add_features(
                buckets[row], scale[row], context_features, output_features, repeat_projection,
                trait_features, vectors, output,
            )  # fmt: skip
            bias, value = _bias(buckets[row], scale[row], bias_features), _ZERO
            if row < known:
                bias += bias_rows[row]
                value = value_bias[row]
                vectors[REPEAT_BIAS_AT] = repeat_rows[row]
                vectors[:VECTOR] += context_rows[row]
                vectors[TRAITS_AT : TRAITS_AT + TRAITS] += trait_rows[row]
                output[:VECTOR] += output_rows[row]
                output[VECTOR:] = value_rows[row]
            traits = vectors[TRAITS_AT : TRAITS_AT + TRAITS]
            value += _add_value(traits, value_main, value_context, output[VECTOR:])
            at = (row // TILE) * TILE_FLOATS + row % TILE
            for component in range(FACTORS):
                tiles[at + component * TILE] = output[component]
            tiles[at + FACTORS * TILE] = np.float32(sharpness) * bias + value

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
    readonly(types.float32, 2),  # trait rows
    readonly(types.float32, 2),  # trait features
    readonly(types.float32, 1),  # value main
    readonly(types.float32, 2),  # value context
    readonly(types.float32, 2),  # value rows
    readonly(types.float32, 1),  # value bias
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
