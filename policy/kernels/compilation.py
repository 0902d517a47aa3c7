"""Weights and features to tiles and table: `reference.compile_products` in float32."""

import numpy as np
import numpy.typing as npt
from numba import njit

from policy.architecture import FEATURES, PROJECTED, VECTOR
from policy.kernels.layout import PROJECTED_AT, REPEAT_BIAS_AT, TILE, TILE_FLOATS, Floats, Ints

_ZERO = np.float32(0.0)


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
def _bias(buckets: Ints, scale: Floats, bias_features: Floats) -> np.float32:  # pragma: no cover
    bias = _ZERO
    for place in range(FEATURES):
        bias += scale[place] * bias_features[buckets[place]]
    return np.float32(bias)


@njit(cache=True, nogil=True)
def fill_products(
    rows: npt.NDArray[np.int64], buckets: Ints, scale: Floats, context_rows: Floats,
    context_features: Floats, output_rows: Floats, output_features: Floats, bias_rows: Floats,
    bias_features: Floats, repeat_projection: Floats, repeat_rows: Floats, sharpness: float,
    tiles: Floats, table: Floats,
) -> None:  # pragma: no cover  # fmt: skip
    """Write tiles and table of some products; other threads go on meanwhile.

    Args:
        rows: the products to write.
        buckets: (N, F) feature buckets.
        scale: (N, F) feature weights.
        context_rows: (n, d), n <= N: rows from n on have their features alone. The other tensors
            follow `policy.architecture`.
        context_features: (H, d).
        output_rows: (n, d).
        output_features: (H, d).
        bias_rows: (n,).
        bias_features: (H,).
        repeat_projection: (H, P).
        repeat_rows: (n,).
        sharpness: factor of every score, put into the bias here and into u by the request.
        tiles: (tiles * TILE_FLOATS,) the result.
        table: (N, TABLE_COLUMNS) the result.
    """
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
