"""What a contender that has learned would show: how much of the catalogue, and what together."""

from collections.abc import Sequence
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from evaluation.shop import Situation
from policy.pairs import CategoryPair
from schemas.products import Product

COVERED_OVER: Final = 1000
"""The last visits whose greedy five are counted."""
OUTSIDE_OVER: Final = 200
"""The last visits over which the mass outside the candidates is measured."""

PAIRS: Final = 12
"""The strongest pairs of categories that are named."""


@runtime_checkable
class Scoring(Protocol):
    """A contender that scores products."""

    def greedy(self, situation: Situation) -> npt.NDArray[np.integer[Any]]:
        """Return (K,) rows of the highest scores; nothing is drawn or remembered."""


@runtime_checkable
class ChoosingCandidates(Protocol):
    """A contender that draws among candidates."""

    def outside(self, situation: Situation) -> float | None:
        """Return the share of probability outside the candidates; None: all are candidates."""


@runtime_checkable
class Pairing(Protocol):
    """A contender that learns which categories earn more together."""

    def pairs(self, products: Sequence[Product], *, count: int) -> tuple[CategoryPair, ...]:
        """Return the strongest pairs; none if it learned none."""


def covered(rival: object, situations: Sequence[Situation]) -> int | None:
    """Return how many distinct products the greedy fives hold; None: it has no scores."""
    if not isinstance(rival, Scoring):
        return None
    return len({row for situation in situations for row in rival.greedy(situation).tolist()})


def outside(rival: object, situations: Sequence[Situation]) -> float | None:
    """Return the mean share of probability outside the candidates; None: it has none outside."""
    if not isinstance(rival, ChoosingCandidates):
        return None
    shares = [rival.outside(situation) for situation in situations[-OUTSIDE_OVER:]]
    measured = [share for share in shares if share is not None]
    return float(np.mean(measured)) if measured else None


def pairs(rival: object, products: Sequence[Product]) -> tuple[CategoryPair, ...]:
    """Return the pairs of categories that earn most together; none: it learns no pairs."""
    return rival.pairs(products, count=PAIRS) if isinstance(rival, Pairing) else ()
