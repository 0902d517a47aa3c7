"""Builders of weights, features and contexts: random, but of the sizes that a real shop has."""

import numpy as np
import numpy.typing as npt

from policy.architecture import BUCKETS, FEATURES, NEIGHBOURS, PAIR_GROUPS, TENSORS
from policy.context import Context
from policy.features import ProductFeatures, category_code
from schemas.history import History
from schemas.products import Product

Weights = dict[str, npt.NDArray[np.generic]]

_SPREAD = {
    "context_rows": 0.5, "context_features": 0.3, "output_rows": 0.5, "output_features": 0.3,
    "bias_rows": 0.8, "bias_features": 0.2, "no_view": 0.5, "attention_query": 0.2,
    "attention_position": 0.3, "hidden_weight": 0.12, "hidden_bias": 0.1, "user_weight": 0.2,
    "user_bias": 0.1, "repeat_projection": 0.3, "repeat_hidden_weight": 0.3,
    "repeat_hidden_bias": 0.2, "repeat_out_weight": 0.5, "repeat_out_bias": 0.2,
    "repeat_rows": 0.3, "value_main": 0.2, "value_context": 0.1, "value_rows": 0.1,
    "value_bias": 0.3, "value_pairs": 0.7, "value_precision": 0.0, "trait_rows": 0.5,
    "trait_features": 0.2,
}  # fmt: skip


def weights_of(products: int, *, seed: int = 0, sharpness: float = 1.5) -> Weights:
    """Return weights as training leaves them: every term counts, none drowns the others."""
    rng = np.random.default_rng(seed)
    weights: Weights = {
        name: rng.normal(0.0, spread, TENSORS[name].sizes(products)).astype(np.float32)
        for name, spread in _SPREAD.items()
    }
    for name in (
        "context_features",
        "output_features",
        "repeat_projection",
        "bias_features",
        "trait_features",
    ):
        weights[name][0] = 0.0
    weights["value_pairs"] = (weights["value_pairs"] + weights["value_pairs"].T) / np.float32(2.0)
    neighbours = rng.integers(0, max(products, 1), (products, NEIGHBOURS)).astype(np.int32)
    used = rng.integers(0, NEIGHBOURS + 1, products)
    neighbours[np.arange(NEIGHBOURS) >= used[:, None]] = -1
    shares = rng.gamma(0.5, 0.05, neighbours.shape).astype(np.float32)
    weights |= {
        "copurchase_scale": np.array([0.5, 0.8], np.float32),
        "neighbour_rows": neighbours,
        "neighbour_weights": np.where(neighbours >= 0, shares, np.float32(0.0)),
        "popularity": rng.gamma(0.5, 10.0, products).astype(np.float32),
        "sharpness": np.array([sharpness], np.float32),
    }
    return weights


def pair_group(category: str) -> int:
    """Return the pair group that a category falls in."""
    return category_code(Product(product_id="p", title="thing", category=category)) % PAIR_GROUPS


def pair_table(*lifts: tuple[str, str, float]) -> npt.NDArray[np.float32]:
    """Return the tensor "value_pairs" that lifts these pairs of categories and no others."""
    table = np.zeros((PAIR_GROUPS, PAIR_GROUPS), np.float32)
    for first, second, nats in lifts:
        one, other = pair_group(first), pair_group(second)
        table[one, other] = table[other, one] = nats
    return table


def features_of(products: int, *, seed: int = 0) -> ProductFeatures:
    """Return features of so many products, some without a category."""
    rng = np.random.default_rng(seed)
    buckets = rng.integers(1, BUCKETS, (products, FEATURES)).astype(np.int32)
    weights = rng.uniform(0.3, 1.0, (products, FEATURES)).astype(np.float32)
    empty = np.arange(FEATURES) >= rng.integers(3, FEATURES + 1, products)[:, None]
    buckets[empty], weights[empty] = 0, 0.0
    return ProductFeatures(buckets, weights, rng.integers(-1, 20, products).astype(np.int32))


def history_of(
    products: int, *, recent: int = 10, repeats: int = 30, seed: int = 0, beyond: int = 0
) -> History:
    """Return a shopper's history; `beyond` more rows than the catalogue has may appear in it."""
    rng = np.random.default_rng(seed)
    orders = int(rng.integers(1, 60))
    repeats = min(repeats, products + beyond)
    first = rng.integers(1, orders + 1, repeats)
    last = rng.integers(first, orders + 1)
    counts = np.where(first == last, 1, rng.integers(1, 12, repeats))
    return History(
        orders=orders,
        recent=rng.integers(0, products + beyond, recent).astype(np.uint32),
        rows=np.sort(rng.choice(products + beyond, repeats, replace=False)).astype(np.uint32),
        decayed=(counts * rng.uniform(0.2, 1.0, repeats)).astype(np.float32),
        counts=counts.astype(np.uint32),
        first=first.astype(np.uint32),
        last=last.astype(np.uint32),
    )


def contexts_of(products: int, count: int, *, seed: int = 0) -> list[Context]:
    """Return contexts of every kind: with and without a view, a history, repeats, unknown rows."""
    rng = np.random.default_rng(seed)
    contexts = [Context(), Context(viewed_row=0), Context(viewed_row=products + 3)]
    for number in range(count):
        history = history_of(
            products, recent=int(rng.integers(0, 11)), repeats=int(rng.integers(0, 257)),
            seed=seed * 1000 + number, beyond=5,
        )  # fmt: skip
        contexts.append(Context(int(rng.integers(-1, products)), history))
    return contexts
