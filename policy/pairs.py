"""Which categories earn most together, as a snapshot has it: for people, not for serving."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from policy.features import category_code, pair_groups
from schemas.products import Product

_NAMED: Final = 2
"""Categories that a pair group is called by, where more share it."""


@dataclass(frozen=True, slots=True)
class CategoryPair:
    """Two categories that a policy likes to place together.

    Attributes:
        first: a category; where several share a pair group, the two of most products, with " or "
            between, and "…" for the rest.
        second: the other, alike; the two stand in alphabetical order.
        lift_nats: by how much a product of one, once placed, moves the scores of the other's: their
            odds of being drawn next are multiplied by exp(lift_nats).
    """

    first: str
    second: str
    lift_nats: float


def strongest_pairs(
    weights: Mapping[str, npt.NDArray[np.generic]], products: Sequence[Product], *, count: int
) -> list[CategoryPair]:
    """Return the pairs of different categories that lift each other most, the longest lift first.

    Only what the shop sells is named, and only lifts above zero are: a foundation has none.

    Args:
        weights: of a snapshot.
        products: of the catalogue.
        count: at most so many.
    """
    names = _names(products)
    table = weights["value_pairs"].astype(np.float64)
    groups = np.array(sorted(names), np.int64)
    lifts = np.triu(table[np.ix_(groups, groups)], 1)
    found = []
    for place in np.argsort(-lifts, axis=None, kind="stable")[:count]:
        row, column = np.unravel_index(place, lifts.shape)
        if lifts[row, column] > 0:
            both = sorted(names[int(groups[at])] for at in (row, column))
            found.append(CategoryPair(both[0], both[1], float(lifts[row, column])))
    return found


def _names(products: Sequence[Product]) -> dict[int, str]:
    """Return what each pair group of a catalogue is called, the commonest categories first."""
    one: dict[str, Product] = {}
    sold: Counter[str] = Counter()
    for product in products:
        if product.category:
            category = product.category.lower()
            one.setdefault(category, product)
            sold[category] += 1
    common = sorted(sold, key=lambda category: (-sold[category], category))
    codes = np.array([category_code(one[category]) for category in common], np.int32)
    found: dict[int, list[str]] = {}
    for category, group in zip(common, pair_groups(codes).tolist(), strict=True):
        found.setdefault(group, []).append(str(one[category].category))
    return {group: _called(categories) for group, categories in found.items()}


def _called(categories: Sequence[str]) -> str:
    called = " or ".join(categories[:_NAMED])
    return called if len(categories) <= _NAMED else f"{called} …"
