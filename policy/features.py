"""What the policy sees of a product itself: hashed category path, brand, title words, log-price.

A product that has never been sold has features too, so it is scored sensibly from its first second.
"""

import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from policy.architecture import BUCKETS, FEATURES, PAIR_GROUPS
from schemas.products import Product

PRICE_BUCKET: Final = 1
_RESERVED: Final = 2
_WORD: Final = re.compile(r"[^\W_]+")
_CATEGORY_LEVELS: Final = 3


def bucket(name: str) -> int:
    """Return the bucket of a feature's name, in [2, H).

    Example:
        >>> 2 <= bucket("brand=acme") < 4096
        True
    """
    return _RESERVED + zlib.crc32(name.encode()) % (BUCKETS - _RESERVED)


def _named(product: Product) -> list[tuple[int, float]]:
    """Return (bucket, weight) of every feature, the most telling first."""
    found: list[tuple[int, float]] = []
    if product.category:
        levels = product.category.lower().split("/", _CATEGORY_LEVELS - 1)
        found += [
            (bucket("category=" + "/".join(levels[:depth])), 1.0)
            for depth in range(len(levels), 0, -1)
        ]
    if product.brand:
        found.append((bucket("brand=" + product.brand.lower()), 1.0))
    if product.price_cents is not None:
        found.append((PRICE_BUCKET, (math.log1p(product.price_cents) - 6.0) / 2.0))
    words = list(dict.fromkeys(_WORD.findall(product.title.lower())))[: FEATURES - len(found)]
    weight = 1.0 / math.sqrt(len(words)) if words else 0.0
    return found + [(bucket("word=" + word), weight) for word in words]


@dataclass(frozen=True, slots=True)
class ProductFeatures:
    """Features of every product, by row.

    Attributes:
        buckets: (N, F) int32 in [0, H); 0 pads.
        weights: (N, F) float32; 0 where padded.
        categories: (N,) int32, equal for products of the same full category; -1: none.
    """

    buckets: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]
    categories: npt.NDArray[np.int32]


def category_code(product: Product) -> int:
    """Return a code equal for products of the same full category; -1: none."""
    if not product.category:
        return -1
    return zlib.crc32(product.category.lower().encode()) & 0x7FFFFFFF


def pair_groups(categories: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Return the pair group of each product, in [0, G); G for a product without a category.

    Example:
        >>> pair_groups(np.array([5, 133, -1], np.int32)).tolist()
        [5, 5, 128]
    """
    groups = np.where(categories < 0, PAIR_GROUPS, categories % PAIR_GROUPS)
    return np.ascontiguousarray(groups, np.int32)


def encode_products(products: Sequence[Product]) -> ProductFeatures:
    """Return the features of products, one row each, in their order.

    Example:
        >>> encode_products([Product(product_id="p1", title="Red apple")]).buckets.shape
        (1, 16)
    """
    buckets = np.zeros((len(products), FEATURES), np.int32)
    weights = np.zeros((len(products), FEATURES), np.float32)
    categories = np.empty(len(products), np.int32)
    for row, product in enumerate(products):
        named = _named(product)
        for place, (number, weight) in enumerate(named):
            buckets[row, place] = number
            weights[row, place] = weight
        categories[row] = category_code(product)
    return ProductFeatures(buckets, weights, categories)
