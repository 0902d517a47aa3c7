"""Refuses weights that would show everybody the same product.

Learning moves a policy in small steps, so weights that concentrate on one product at once were not
learned here, or from a fault. Policies are compared in contexts of the shop's own catalogue: what
is a healthy preference differs from shop to shop, a leap does not.
"""

from typing import Final

import numpy as np

from policy.errors import SnapshotRejected
from policy.serving import ServingPolicy

_CONTEXTS: Final = 16
"""Products viewed, spread evenly over the catalogue."""
_COLLAPSED: Final = 0.95
"""Of the first positions over all contexts, for one product."""
_HEALTHY: Final = 0.5
_FEWEST: Final = 10
"""With fewer products than two banners hold, one may well deserve most first positions."""


def check_leap(policy: ServingPolicy, served: ServingPolicy) -> None:
    """Compare a policy with the one it is to replace.

    Args:
        policy: new; compiled for the catalogue, as `served` is.
        served: what shoppers see now.

    Raises:
        SnapshotRejected: one product takes nearly all first positions, and none does now.
    """
    if policy.products < _FEWEST:
        return
    share = favourite_share(policy)
    if share > _COLLAPSED and (now := favourite_share(served)) < _HEALTHY:
        raise SnapshotRejected(
            f"collapsed: one product would take {share:.0%} of the first positions; as served now, "
            f"none takes more than {now:.0%}"
        )


def favourite_share(policy: ServingPolicy) -> float:
    """Return the share of first positions of the product that has most of them.

    Mean of the softmax of the scores over contexts without history, one product viewed in each.
    """
    eligible, nothing = np.ones(policy.products, np.uint8), np.empty(0, np.int32)
    total = np.zeros(policy.products)
    viewed = np.unique(np.linspace(0, policy.products - 1, _CONTEXTS).astype(int))
    for row in viewed.tolist():
        eligible[row] = 0
        scores = policy.scores(viewed_row=row, history=b"", eligible=eligible, excluded=nothing)
        eligible[row] = 1
        chosen = np.exp(scores.astype(np.float64) - scores.max())
        total += chosen / chosen.sum()
    return float(total.max()) / len(viewed)
