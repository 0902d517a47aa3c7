"""Products as few dense numbers, for models that cannot take thousands of sparse ones.

Dimensions: N products, H feature buckets, X columns.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.sparse.linalg import svds

from policy import reference
from policy.features import ProductFeatures
from policy.torch_batch import feature_matrix

Floats = npt.NDArray[np.float64]
COLUMNS: Final = 40
"""Columns of `dense_features`, in shops large enough."""
_LEARNED: Final = 16
"""Of which so many come from what the foundation learned, the others from the features alone."""
_LENGTH: Final = 2.0
"""Root mean square length of a row: of 1, 2, 4 and 7, what LinUCB did best with."""


def dense_features(
    weights: Mapping[str, npt.NDArray[Any]], features: ProductFeatures, *, columns: int = COLUMNS
) -> Floats:
    """Return (N, X) dense features of every product, X at most `columns`.

    The principal components of the foundation's output vectors, beside the leading singular vectors
    of the hashed features (Deerwester et al. 1990, latent semantic analysis), both centred and of
    equal length on average.

    Args:
        weights: of the foundation.
        features: of every product.
        columns: X, at most; a shop of few products has fewer.
    """
    limit = min(columns, len(features.buckets) - 1)
    learned = min(_LEARNED, limit // 2)
    output = _unit(reference.compile_products(weights, features).output)
    left, values, _ = np.linalg.svd(output, full_matrices=False)
    sparse = feature_matrix(features).astype(np.float64)
    start = np.ones(min(sparse.shape))  # deterministic
    told, spread, _ = svds(sparse, k=limit - learned, v0=start)
    parts = ((left * values)[:, :learned], (told * spread)[:, ::-1])
    return _LENGTH * _unit(np.concatenate([_unit(part) for part in parts], axis=1))


def _unit(columns: Floats) -> Floats:
    centred = columns - columns.mean(axis=0)
    return np.asarray(centred / max(float(np.sqrt((centred**2).sum(axis=1).mean())), 1e-12))
