"""The policy in float64, written to be read: what training and serving are held against.

Dimensions: N products, C candidates, K positions, n recent purchases, m repeats; others in
    `policy.architecture`.
Scores are logits: the draw is Plackett-Luce on them (Plackett 1975), five softmax draws without
replacement. What was placed moves the scores of what may follow, by pairs of categories.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from policy.architecture import COPURCHASE_FLOOR, VECTOR
from policy.context import Context
from policy.errors import BannerNotDrawable
from policy.features import ProductFeatures, pair_groups
from schemas.history import HALF_LIFE_ORDERS

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.integer]
Weights = Mapping[str, npt.NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Products:
    """Product vectors of one snapshot: what `compile_products` makes of weights and features.

    Attributes:
        context: (N, d) c_i, a product as part of the context.
        output: (N, d) e_i, a product to be shown.
        bias: (N,) b_i.
        projected: (N, P) what the repeat term sees of a product.
        repeat_bias: (N,) per-product bias on log1p of the decayed count.
        traits: (N, T) t_i, a product as the reward model sees it.
        value: (N, 2T) what the reward model makes of a context's traits for each product.
        value_bias: (N,) what it makes of the product in any context.
    """

    context: Array
    output: Array
    bias: Array
    projected: Array
    repeat_bias: Array
    traits: Array
    value: Array
    value_bias: Array


def _padded(rows: Array, products: int) -> Array:
    """Return `rows` with zeros for products that came after the weights were made."""
    missing = products - len(rows)
    return np.concatenate([rows, np.zeros((missing, *rows.shape[1:]))]) if missing > 0 else rows


def compile_products(weights: Weights, features: ProductFeatures) -> Products:
    """Return every product's vectors; rows the weights do not know have their features alone."""
    count = len(features.buckets)

    def bag(name: str) -> Array:  # sum_f weight * table[bucket]
        table = weights[name].astype(np.float64)
        scale = features.weights.astype(np.float64)
        return np.asarray(np.einsum("nf,nf...->n...", scale, table[features.buckets]))

    def rows(name: str) -> Array:
        return _padded(weights[name].astype(np.float64), count)

    traits = rows("trait_rows") + bag("trait_features")
    main, context = (weights[f"value_{name}"].astype(np.float64) for name in ("main", "context"))
    return Products(
        context=rows("context_rows") + bag("context_features"),
        output=rows("output_rows") + bag("output_features"),
        bias=rows("bias_rows") + bag("bias_features"),
        projected=bag("repeat_projection"),
        repeat_bias=rows("repeat_rows"),
        traits=traits,
        value=traits @ context.T + rows("value_rows"),
        value_bias=traits @ main + rows("value_bias"),
    )


def user_vector(weights: Weights, products: Products, context: Context) -> Array:
    """Return u(x): (d,) the shopper's vector.

    It is made of the product viewed, attention over recent purchases, and their mean.
    """
    w = {name: weights[name].astype(np.float64) for name in _ENCODER}
    known = _known_recent(products, context)
    view = products.context[context.viewed_row] if _has_view(products, context) else w["no_view"]
    attended = mean = np.zeros(VECTOR)
    if len(known):
        bought = products.context[known]  # (n, d)
        newest_first = np.arange(len(known))[::-1]  # position 0 is the newest purchase
        logits = bought @ (w["attention_query"].T @ view) / np.sqrt(VECTOR)
        logits = logits + w["attention_position"][newest_first]
        share = np.exp(logits - logits.max())
        attended = (share / share.sum()) @ bought
        mean = bought.mean(axis=0)
    inputs = np.concatenate([view, attended, mean])
    hidden = np.maximum(inputs @ w["hidden_weight"] + w["hidden_bias"], 0.0)
    return hidden @ w["user_weight"] + w["user_bias"]


_ENCODER = (
    "no_view", "attention_query", "attention_position",
    "hidden_weight", "hidden_bias", "user_weight", "user_bias",
)  # fmt: skip


def _known_recent(products: Products, context: Context) -> Ints:
    rows = context.recent_rows
    return rows[rows < len(products.bias)]


def _has_view(products: Products, context: Context) -> bool:
    return 0 <= context.viewed_row < len(products.bias)


def repeat_inputs(products: Products, features: ProductFeatures, context: Context) -> Array:
    """Return (m, 15 + P): what the repeat term sees of each repeat that the catalogue knows."""
    history = context.history
    known = history.rows < len(products.bias)
    rows = history.rows[known].astype(np.int64)
    counts = history.counts[known].astype(np.float64)
    first, last = (part[known].astype(np.float64) for part in (history.first, history.last))
    orders = float(history.orders)
    gap = orders - last  # in the shopper's own orders
    decayed = history.decayed[known].astype(np.float64) * 2.0 ** (-gap / HALF_LIFE_ORDERS)
    rate = counts / (orders + 5.0)
    viewed = _has_view(products, context)
    view_category = features.categories[context.viewed_row] if viewed else -1
    same_category = (features.categories[rows] == view_category) & (view_category >= 0)
    columns = [
        np.log1p(decayed),
        np.exp(-gap / 0.4),
        np.exp(-gap / 1.8),
        np.exp(-gap / 7.0),
        np.log1p(gap),
        np.sqrt(rate),
        np.log(rate),
        decayed / max(decayed.sum(), 1e-9),
        decayed / max(decayed.max(initial=0.0), 1e-9),
        np.minimum(counts * gap / np.maximum(last - first, 1.0), 5.0),  # overdue
        counts == 1,
        np.isin(rows, context.recent_rows),
        same_category,
        np.full(len(rows), float(viewed)),
        np.full(len(rows), np.log1p(orders)),
    ]
    return np.column_stack([*columns, products.projected[rows]]).astype(np.float64)


def repeat_terms(
    weights: Weights, products: Products, features: ProductFeatures, context: Context
) -> tuple[Ints, Array]:
    """Return (rows, terms), both (m,): what is added to the scores of the shopper's repeats."""
    w = {name: weights[name].astype(np.float64) for name in weights if name.startswith("repeat_")}
    known = context.history.rows < len(products.bias)
    rows = context.history.rows[known].astype(np.int64)
    inputs = repeat_inputs(products, features, context)
    hidden = np.maximum(inputs @ w["repeat_hidden_weight"] + w["repeat_hidden_bias"], 0.0)
    terms = hidden @ w["repeat_out_weight"] + w["repeat_out_bias"][0]
    return rows, terms + products.repeat_bias[rows] * inputs[:, 0]


def copurchase_terms(weights: Weights, products: Products, context: Context) -> Array:
    """Return (N,): c_0 log(1 + z_recent/.01) + c_1 log(1 + z_viewed/.01).

    z is the sum of the neighbour weights that the context's products give each product.
    """
    count = len(products.bias)
    neighbours, shares = weights["neighbour_rows"], weights["neighbour_weights"]
    scale = weights["copurchase_scale"].astype(np.float64)

    def mass(rows: Ints) -> Array:
        total = np.zeros(count)
        for row in rows[rows < len(neighbours)]:
            used = neighbours[row] >= 0
            np.add.at(total, neighbours[row][used], shares[row][used].astype(np.float64))
        return np.asarray(np.log1p(total / COPURCHASE_FLOOR))

    viewed = np.array([context.viewed_row] if context.viewed_row >= 0 else [], np.int64)
    recent = _known_recent(products, context)
    return np.asarray(scale[0] * mass(recent) + scale[1] * mass(viewed))


def value_terms(products: Products, context: Context) -> Array:
    """Return (N,): what the reward model's draw adds to the score of every product."""
    known = _known_recent(products, context)
    z = np.zeros((2, products.traits.shape[1]))
    if len(known):
        z[0] = products.traits[known].mean(axis=0)
    if _has_view(products, context):
        z[1] = products.traits[context.viewed_row]
    return np.asarray(products.value @ z.ravel() + products.value_bias)


def scores(
    weights: Weights, products: Products, features: ProductFeatures, context: Context
) -> Array:
    """Return (N,) the logits: sharpness * (2/sqrt(d) u.e_i + b_i + terms) + the value term."""
    u = user_vector(weights, products, context)
    total = (2.0 / np.sqrt(VECTOR)) * (products.output @ u) + products.bias
    total = total + copurchase_terms(weights, products, context)
    rows, terms = repeat_terms(weights, products, features, context)
    total[rows] += terms
    return np.asarray(float(weights["sharpness"][0]) * total + value_terms(products, context))


def pair_lifts(
    weights: Weights, features: ProductFeatures, candidates: Ints, banner: Ints
) -> Array:
    """Return (K, C): what each drawn product, once placed, adds to each candidate's score.

    Args:
        weights: of the snapshot.
        features: of every product.
        candidates: (C,) rows.
        banner: (K,) indices of the drawn products into the candidates, in display order. Pinned
            products are not drawn and lift nothing.
    """
    table = np.pad(weights["value_pairs"].astype(np.float64), (0, 1))  # no group: nothing
    groups = pair_groups(features.categories)[candidates]
    return np.asarray(table[groups[banner]][:, groups])


def position_log_prob(candidate_scores: Array, banner: Ints, lifts: Array | None = None) -> Array:
    """Return (K,): log-probability of each position of `banner`, given the positions before it.

    Args:
        candidate_scores: (C,) logits of the candidates while nothing is placed.
        banner: (K,) indices into the candidates, in display order.
        lifts: (K, C) from `pair_lifts`; None: nothing placed moves a score.

    Raises:
        BannerNotDrawable: an index repeats or is not among the candidates.

    Example:
        >>> np.exp(position_log_prob(np.zeros(4), np.array([2, 0]))).round(4).tolist()
        [0.25, 0.3333]
    """
    if len(set(banner.tolist())) != len(banner):
        raise BannerNotDrawable("a candidate stands twice on the banner")
    if len(banner) and not 0 <= banner.min() <= banner.max() < len(candidate_scores):
        raise BannerNotDrawable("a product of the banner is not among the candidates")
    left = candidate_scores.astype(np.float64)
    log_probs = np.empty(len(banner))
    for position, placed in enumerate(banner):
        log_probs[position] = left[placed] - np.logaddexp.reduce(left)
        if lifts is not None:
            left += lifts[position]
        left[placed] = -np.inf
    return log_probs
