"""What a synthetic shop sells: latent vectors, and products whose features half reveal them.

Dimensions: N products, D latent dimensions, C categories.

Categories come in pairs that go together (pasta and sauce): they share half of their direction.
A product's title, category, brand and price tell its category, its brand's leaning and a coarse
word for two of its latent coordinates; the rest of its vector, and how well it converts, have to
be learned from what shoppers do.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.products import Product

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LATENT: Final = 8
CATEGORIES: Final = 24
BRANDS: Final = 40
POPULAR_APPEAL: Final = 0.4
"""Correlation of what was popular with what converts."""
_PLACES: Final = ("Pantry", "Bakery", "Garden", "Kitchen", "Bath", "Office")
_GOODS: Final = (
    "Pasta", "Sauce", "Bread", "Butter", "Seeds", "Soil", "Knives", "Boards", "Soap", "Towels",
    "Pens", "Paper", "Rice", "Curry", "Cakes", "Coffee", "Pots", "Herbs", "Pans", "Oil",
    "Candles", "Salts", "Lamps", "Bulbs",
)  # fmt: skip
_MANNERS: Final = ("Mild", "Plain", "Bold")
_LOOKS: Final = ("Rustic", "Classic", "Modern")
_SYLLABLES: Final = ("Al", "Be", "Cor", "Dun", "El", "Fa", "Gor", "Hal")


@dataclass(frozen=True, slots=True)
class Assortment:
    """The products of a synthetic shop.

    Attributes:
        products: N of them, in row order.
        category: (N,) in [0, C).
        vectors: (N, D) unit length, what a product is to shoppers.
        appeal: (N,) standard normal, how well a product converts beyond the shopper's interest.
        appeal_later: (N,) standard normal, what the appeal drifts to.
        popularity: (N,) sums to one, a heavy head, unrelated to the appeal.
    """

    products: tuple[Product, ...]
    category: Ints
    vectors: Array
    appeal: Array
    appeal_later: Array
    popularity: Array


def partner(category: Ints) -> Ints:
    """Return the category that goes with each category: 0 with 1, 2 with 3, and so on."""
    return category ^ 1


def unit(vectors: Array) -> Array:
    """Return vectors of length one."""
    return np.asarray(vectors / np.sqrt((vectors * vectors).sum(axis=-1, keepdims=True)))


def make_assortment(size: int, rng: np.random.Generator) -> Assortment:
    """Return `size` products drawn from `rng`."""
    themes = np.repeat(unit(rng.normal(size=(CATEGORIES // 2, LATENT))), 2, axis=0)
    centres = unit(themes + 0.8 * unit(rng.normal(size=(CATEGORIES, LATENT))))
    category = rng.permutation(np.arange(size) % CATEGORIES)
    brand = rng.integers(BRANDS, size=size)
    leaning = 0.35 * unit(rng.normal(size=(BRANDS, LATENT)))
    own = 0.6 * unit(rng.normal(size=(size, LATENT)))
    vectors = unit(centres[category] + leaning[brand] + own)
    price_cents = np.round(np.exp(rng.normal(6.2, 0.6, size))).astype(np.int64)
    appeal, appeal_later = rng.normal(size=(2, size))
    liking = POPULAR_APPEAL * appeal + np.sqrt(1.0 - POPULAR_APPEAL**2) * rng.normal(size=size)
    popularity = 1.0 / (5.0 + np.argsort(np.argsort(-liking))) ** 0.9
    products = tuple(
        _product(row, int(category[row]), int(brand[row]), int(price_cents[row]), own[row])
        for row in range(size)
    )
    return Assortment(
        products, category, vectors, appeal, appeal_later, popularity / popularity.sum()
    )


def _product(row: int, category: int, brand: int, price_cents: int, own: Array) -> Product:
    good = _GOODS[category]
    manner, look = (_MANNERS[_third(own[0])], _LOOKS[_third(own[1])])
    maker = _SYLLABLES[brand // 8] + _SYLLABLES[brand % 8].lower() + "a"
    return Product(
        product_id=f"p{row}",
        title=f"{maker} {manner} {look} {good} No {row}",
        category=f"{_PLACES[category // 4]}/{good}",
        brand=maker,
        price_cents=price_cents,
    )


def _third(coordinate: float) -> int:
    """Return 0, 1 or 2: low, middling or high."""
    return int(coordinate > -0.1) + int(coordinate > 0.1)
