"""What rivals ask of the foundation: who may be shown, and what it thinks of the best of them.

Dimensions: N products, C candidates.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.shop import Situation
from policy.serving import ServingPolicy

Floats = npt.NDArray[np.float64]


def eligible_rows(situation: Situation, products: int) -> npt.NDArray[np.uint8]:
    """Return (N,) which products may be shown, but for the one viewed."""
    return np.ones(products, np.uint8) if situation.eligible is None else situation.eligible


def excluded_rows(situation: Situation) -> npt.NDArray[np.int32]:
    """Return what may not be shown: the product viewed."""
    viewed = [] if situation.viewed_row < 0 else [situation.viewed_row]
    return np.array(viewed, np.int32)


@dataclass(frozen=True, slots=True)
class Shortlist:
    """The products a rival chooses among.

    Attributes:
        rows: (C,) int64, never the product viewed; in no order when every product is on it, else
            the foundation's best first.
        log_probs: (C,) the foundation's log-probability of each at the first position, among all
            products.
    """

    rows: npt.NDArray[np.int64]
    log_probs: Floats


class Foreknowledge:
    """The foundation as an adviser: its scores of every product, its best candidates.

    Args:
        policy: the compiled foundation.
        candidates: most products on a shortlist.
    """

    def __init__(self, policy: ServingPolicy, candidates: int) -> None:
        self._policy = policy
        self._candidates = candidates

    def shortlist(self, situation: Situation) -> Shortlist:
        """Return the foundation's best candidates, or every product where they are as many."""
        scores = self._policy.scores(
            viewed_row=situation.viewed_row,
            history=situation.history,
            eligible=eligible_rows(situation, self._policy.products),
            excluded=excluded_rows(situation),
        )
        rows = np.flatnonzero(np.isfinite(scores))
        found: npt.NDArray[Any] = scores[rows].astype(np.float64)
        found -= found.max()
        found -= np.log(np.exp(found).sum())
        if len(rows) > self._candidates:
            best = np.argpartition(-found, self._candidates)[: self._candidates]
            best = best[np.argsort(-found[best], kind="stable")]
            rows, found = rows[best], found[best]
        return Shortlist(rows, found)
