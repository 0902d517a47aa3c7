"""The co-purchase table: for each product, what is bought together with it.

Dimensions: N products, M neighbours of a product.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from policy.architecture import NEIGHBOURS

_SHRINKAGE: Final = 10.0
"""Orders added to each count, so that one shared order of a rare product says little."""


@dataclass(frozen=True, slots=True)
class CopurchaseTable:
    """Neighbours of every product, the closest first.

    Attributes:
        rows: (N, M) int32; -1 pads.
        weights: (N, M) float32 in [0, 1), the share of the product's orders that held the
            neighbour too, shrunk; 0 where padded.
    """

    rows: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]


def copurchase_table(baskets: Sequence[npt.NDArray[np.int64]], products: int) -> CopurchaseTable:
    """Return the top 40 neighbours of each product by cosine, weighted by shrunk conditional share.

    Args:
        baskets: distinct rows of each order.
        products: number of products N.

    Example:
        >>> table = copurchase_table([np.array([0, 1]), np.array([0, 1]), np.array([2])], 3)
        >>> table.rows[:, 0].tolist(), f"{table.weights[0, 0]:.3f}"
        ([1, 0, -1], '0.167')
    """
    rows = np.full((products, NEIGHBOURS), -1, np.int32)
    weights = np.zeros((products, NEIGHBOURS), np.float32)
    table = CopurchaseTable(rows, weights)
    if not baskets:
        return table
    starts = np.concatenate(([0], np.cumsum([len(basket) for basket in baskets])))
    flat = np.concatenate(baskets)
    bought = csr_array((np.ones(len(flat)), flat, starts), shape=(len(baskets), products))
    together = csr_array(bought.T @ bought)
    orders = together.diagonal()
    together.setdiag(0)
    together.eliminate_zeros()
    closeness = together.data / np.sqrt(orders[together.indices])
    for row in range(products):
        here = slice(together.indptr[row], together.indptr[row + 1])
        found = together.indices[here]
        best = np.lexsort((found, -closeness[here]))[:NEIGHBOURS]
        rows[row, : len(best)] = found[best]
        weights[row, : len(best)] = together.data[here][best] / (orders[row] + _SHRINKAGE)
    return table
