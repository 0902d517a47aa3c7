"""Which categories earn most together, as a snapshot has it: for people, not for serving."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from policy.features import category_code, pair_groups
from schemas.products import Product


@dataclass(frozen=True, slots=True)
class CategoryPair:
    """Two categories that a policy likes to place together, or not.

    Attributes:
        first: a category; where several share a pair group, all of them, with " or " between.
        second: the other, alike; the two stand in alphabetical order.
        lift_nats: by how much a product of one, once placed, moves the scores of the other's.
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
    names: dict[int, dict[str, str]] = {}
    codes = np.array([category_code(product) for product in products], np.int32)
    for product, group in zip(products, pair_groups(codes).tolist(), strict=True):
        if product.category:
            names.setdefault(group, {}).setdefault(product.category.lower(), product.category)
    table = weights["value_pairs"].astype(np.float64)
    groups = np.array(sorted(names), np.int64)
    lifts = np.triu(table[np.ix_(groups, groups)], 1)
    found = []
    for place in np.argsort(-lifts, axis=None, kind="stable")[:count]:
        row, column = np.unravel_index(place, lifts.shape)
        if lifts[row, column] > 0:
            both = sorted(_named(names[int(groups[at])]) for at in (row, column))
            found.append(CategoryPair(both[0], both[1], float(lifts[row, column])))
    return found


def _named(categories: Mapping[str, str]) -> str:
    return " or ".join(sorted(categories.values()))
