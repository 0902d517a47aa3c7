"""Weights before any training: small vectors, and each product's bias from how often it was bought.

The bias is explained by features as far as they can, so that a product nobody bought yet starts
where its like stand.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.sparse.linalg import lsqr

from policy.architecture import HIDDEN, REPEAT_HIDDEN, REPEAT_INPUTS, TENSORS, VECTOR
from policy.features import ProductFeatures
from policy.torch_batch import feature_matrix

_RIDGE: Final = 3.0
_SPREADS: Final = {
    "context_rows": 0.02,
    "context_features": 0.1,
    "output_rows": 0.02,
    "output_features": 0.1,
    "no_view": 0.1,
    "attention_query": VECTOR**-0.5,
    "hidden_weight": (3 * VECTOR) ** -0.5,
    "user_weight": HIDDEN**-0.5,
    "repeat_projection": 0.3,
    "repeat_hidden_weight": REPEAT_INPUTS**-0.5,
    "repeat_out_weight": REPEAT_HIDDEN**-0.5 / 4,
}
"""Standard deviation of the tensors that do not start at zero."""


def initial_weights(
    features: ProductFeatures, counts: npt.NDArray[np.float64], rng: np.random.Generator
) -> dict[str, npt.NDArray[Any]]:
    """Return every tensor of a snapshot before training.

    Args:
        features: of every product.
        counts: (N,) orders that held each product.
        rng: draws the vectors.
    """
    products = len(counts)
    weights = {
        name: np.zeros(tensor.sizes(products), tensor.dtype) for name, tensor in TENSORS.items()
    }
    for name, spread in _SPREADS.items():
        weights[name] = rng.normal(0.0, spread, weights[name].shape).astype(np.float32)
    for name in ("context_features", "output_features", "repeat_projection"):
        weights[name][0] = 0.0  # the padding bucket
    level = np.log(counts + 0.5)
    level -= level.mean()
    matrix = feature_matrix(features)
    explained = lsqr(matrix, level, damp=_RIDGE)[0]
    weights["bias_features"] = explained.astype(np.float32)
    weights["bias_rows"] = (level - matrix @ explained).astype(np.float32)
    weights["copurchase_scale"][:] = 0.1
    weights["neighbour_rows"][:] = -1
    weights["popularity"] = (counts / max(counts.sum(), 1.0)).astype(np.float32)
    weights["sharpness"][:] = 1.0
    return weights
