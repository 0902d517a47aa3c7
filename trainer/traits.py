"""What the reward model sees of a product: the main directions of the foundation's product vectors.

Products that sell to the same shoppers lie near each other there. Features explain the place as far
as they can, so that a product never sold stands among its like.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.sparse.linalg import lsqr

from policy.architecture import TRAITS
from policy.features import ProductFeatures
from policy.torch_batch import feature_matrix

_RIDGE: Final = 3.0
_SMALLEST_SPREAD: Final = 1e-3


def trait_tensors(
    weights: Mapping[str, npt.NDArray[Any]], features: ProductFeatures
) -> dict[str, npt.NDArray[np.float32]]:
    """Return "trait_rows" and "trait_features": principal components of e_i, each of unit variance.

    Args:
        weights: of the foundation, with a row for every product.
        features: of every product.
    """
    matrix = feature_matrix(features)
    vectors = weights["output_rows"].astype(np.float64)
    vectors = vectors + matrix @ weights["output_features"].astype(np.float64)
    vectors -= vectors.mean(axis=0)
    values, directions = np.linalg.eigh(np.cov(vectors, rowvar=False))
    main = directions[:, ::-1][:, :TRAITS]
    main = main * np.sign(main[np.abs(main).argmax(axis=0), np.arange(TRAITS)])  # one sign, always
    spread = np.sqrt(np.maximum(values[::-1][:TRAITS], 0.0))
    traits = vectors @ main / np.maximum(spread, _SMALLEST_SPREAD)
    table = np.column_stack([lsqr(matrix, trait, damp=_RIDGE)[0] for trait in traits.T])
    return {
        "trait_rows": (traits - matrix @ table).astype(np.float32),
        "trait_features": table.astype(np.float32),
    }
