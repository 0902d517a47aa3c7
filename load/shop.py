"""A seeded shop to be measured: products, weights as training leaves them, shoppers' histories.

Dimensions: N products, F features of a product, M neighbours.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from policy.architecture import NEIGHBOURS, TENSORS
from schemas.history import History
from schemas.limits import RECENT_PURCHASES
from schemas.products import Product

Weights = dict[str, npt.NDArray[np.generic]]

REPEATS: Final = 30
SHARPNESS: Final = 1.5
_CATEGORIES: Final = 40
_SUBCATEGORIES: Final = 8
_BRANDS: Final = 200
_WORDS: Final = 800
_SPREADS: Final = {
    "context_rows": 0.5, "context_features": 0.3, "output_rows": 0.5, "output_features": 0.3,
    "bias_rows": 0.8, "bias_features": 0.2, "no_view": 0.5, "attention_query": 0.2,
    "attention_position": 0.3, "hidden_weight": 0.12, "hidden_bias": 0.1, "user_weight": 0.2,
    "user_bias": 0.1, "repeat_projection": 0.3, "repeat_hidden_weight": 0.3,
    "repeat_hidden_bias": 0.2, "repeat_out_weight": 0.5, "repeat_out_bias": 0.2,
    "repeat_rows": 0.3, "value_main": 0.2, "value_context": 0.1, "value_rows": 0.1,
    "value_bias": 0.3, "value_pairs": 0.4, "value_precision": 0.0, "trait_rows": 0.5,
    "trait_features": 0.2,
}  # fmt: skip
"""Standard deviations: every term counts, none drowns the others."""
_PADDED: Final = (
    "context_features",
    "output_features",
    "repeat_projection",
    "bias_features",
    "trait_features",
)


def product_id(row: int) -> str:
    """Return the id of the product of a row."""
    return f"product-{row}"


def user_id(number: int) -> str:
    """Return the id of a shopper."""
    return f"shopper-{number}"


def products(count: int, rng: np.random.Generator) -> list[Product]:
    """Return products with the fields that a real catalogue fills, by row."""
    category = rng.integers(0, _CATEGORIES, count)
    below = rng.integers(0, _SUBCATEGORIES, count)
    brand = rng.integers(0, _BRANDS, count)
    words = rng.integers(0, _WORDS, (count, 4))
    cents = rng.integers(79, 2_999, count)
    return [
        Product(
            product_id=product_id(row),
            title=" ".join(f"word{word}" for word in words[row]),
            category=f"department{category[row]}/shelf{below[row]}",
            brand=f"brand{brand[row]}",
            price_cents=int(cents[row]),
            image_url=f"https://shop.example/images/{row}.jpg",
        )
        for row in range(count)
    ]


def weights(count: int, rng: np.random.Generator) -> Weights:
    """Return every tensor of a snapshot of `count` products."""
    found: Weights = {
        name: rng.normal(0.0, spread, TENSORS[name].sizes(count)).astype(np.float32)
        for name, spread in _SPREADS.items()
    }
    for name in _PADDED:
        found[name][0] = 0.0
    used = rng.integers(0, NEIGHBOURS + 1, count)
    neighbours = rng.integers(0, count, (count, NEIGHBOURS)).astype(np.int32)
    neighbours[np.arange(NEIGHBOURS) >= used[:, None]] = -1
    shares = rng.gamma(0.5, 0.05, neighbours.shape).astype(np.float32)
    found |= {
        "copurchase_scale": np.array([0.5, 0.8], np.float32),
        "neighbour_rows": neighbours,
        "neighbour_weights": np.where(neighbours >= 0, shares, np.float32(0.0)),
        "popularity": rng.gamma(0.5, 10.0, count).astype(np.float32),
        "sharpness": np.array([SHARPNESS], np.float32),
    }
    return found


def trained(before: Weights, rng: np.random.Generator) -> Weights:
    """Return the weights after some learning: every trained tensor moved a little."""
    moved = dict(before)
    for name, spread in _SPREADS.items():
        step = rng.normal(0.0, 0.02 * spread, before[name].shape)
        moved[name] = (before[name].astype(np.float64) + step).astype(np.float32)
    for name in _PADDED:
        moved[name][0] = 0.0
    return moved


def histories(shoppers: int, count: int, rng: np.random.Generator) -> Iterator[tuple[str, History]]:
    """Yield (user id, history) of each shopper: ten recent purchases, about thirty repeats.

    Args:
        shoppers: how many.
        count: products of the catalogue.
        rng: draws them.
    """
    for number in range(shoppers):
        orders = int(rng.integers(10, 60))
        repeats = min(int(rng.integers(REPEATS - 10, REPEATS + 11)), count)
        rows = np.unique(rng.integers(0, count, repeats))
        first = rng.integers(1, orders + 1, len(rows))
        last = rng.integers(first, orders + 1)
        counts = np.where(first == last, 1, rng.integers(2, 12, len(rows)))
        yield (
            user_id(number),
            History(
                orders=orders,
                recent=rng.choice(rows, RECENT_PURCHASES).astype(np.uint32),
                rows=rows.astype(np.uint32),
                decayed=(counts * rng.uniform(0.2, 1.0, len(rows))).astype(np.float32),
                counts=counts.astype(np.uint32),
                first=first.astype(np.uint32),
                last=last.astype(np.uint32),
            ),
        )
