"""A frozen little probe of a snapshot: before weights serve, they answer questions once.

Digests and finite numbers do not show that scores are finite: large weights multiply. So the
reference scores a few products, among them those with the largest weights, in frozen contexts. A
policy that prefers nothing is refused too, and one that can show a single product alone: whatever
made them, nobody learns from what they show.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from policy import reference
from policy.architecture import BUCKETS, FEATURES, TENSORS
from policy.context import Context
from policy.errors import SnapshotRejected
from policy.features import ProductFeatures
from schemas.history import History

Weights = Mapping[str, npt.NDArray[np.generic]]

_PROBED: Final = 32
"""Products probed of each kind: the first ones, and those with the largest weights."""
_UNKNOWN: Final = 4
"""Products probed that the weights do not know."""
_LARGEST_SCORE: Final = 1e6
"""Beyond, float32 cannot tell scores apart that differ by less than a tenth of a nat."""
_COUNTS: Final = {"popularity", "value_precision"}
"""They grow with what was seen, and add to no score."""
_LEAST_SPREAD: Final = 1e-6
"""A policy whose scores differ by less, in every context, draws banners blindly."""
_LONGEST_LEAD: Final = 60.0
"""Nats between the first score and the second. In simulated shops of 12 to 1,000 products no
learned policy led by more than 14 in every context; at 60 another product has 1 chance in 1e26."""
_FEWEST: Final = 10
"""With fewer products than two banners hold there is nothing to prefer."""


def probe(weights: Weights) -> None:
    """Score a few products in a few contexts.

    Args:
        weights: the tensors of a snapshot, of the right shapes.

    Raises:
        SnapshotRejected: a weight or a score is not finite or beyond 1e6, all products are equal in
            every context, or one is far ahead in every context.
    """
    for name in weights.keys() - _COUNTS:
        tensor = weights[name]
        if tensor.dtype.kind == "f" and not np.abs(tensor).max(initial=0.0) <= _LARGEST_SCORE:
            raise SnapshotRejected(f"canary: {name} is not finite or beyond {_LARGEST_SCORE:.0e}")
    small = _cut(weights, _rows(weights))
    features = _features(len(small["context_rows"]) + _UNKNOWN)
    with np.errstate(all="ignore"):
        products = reference.compile_products(small, features)
        asked = [
            reference.scores(small, products, features, context)
            for context in _contexts(len(features.buckets))
        ]
    for scores in asked:
        _check(scores)
    if len(small["context_rows"]) >= _FEWEST:
        _check_preferences(asked)


def _check(scores: npt.NDArray[np.float64]) -> None:
    if not np.isfinite(scores).all() or np.abs(scores).max(initial=0.0) > _LARGEST_SCORE:
        raise SnapshotRejected(f"canary: a score is not finite or beyond {_LARGEST_SCORE:.0e}")


def _check_preferences(asked: Sequence[npt.NDArray[np.float64]]) -> None:
    if all(np.ptp(scores) < _LEAST_SPREAD for scores in asked):
        raise SnapshotRejected("canary: no product is preferred to another, in no context")
    lead = min(float(np.subtract(*np.sort(scores)[:-3:-1])) for scores in asked)
    if lead > _LONGEST_LEAD:
        raise SnapshotRejected(
            f"canary: one product is {lead:.0f} nats ahead of all others in every context, so that "
            "nothing else is ever shown"
        )


def _rows(weights: Weights) -> npt.NDArray[np.int64]:
    output, context = weights["output_rows"], weights["context_rows"]
    size = np.abs(output).max(axis=1) + np.abs(context).max(axis=1) + np.abs(weights["bias_rows"])
    largest = np.argsort(-size, kind="stable")[:_PROBED]
    return np.union1d(np.arange(min(_PROBED, len(output))), largest)


def _cut(weights: Weights, rows: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.generic]]:
    small: dict[str, npt.NDArray[np.generic]] = {}
    for name, tensor in TENSORS.items():
        small[name] = weights[name][rows] if tensor.shape[0] == "N" else weights[name]
    place = np.full(len(weights["output_rows"]) + 1, -1, np.int32)  # its last place is row -1's
    place[rows] = np.arange(len(rows))
    small["neighbour_rows"] = place[small["neighbour_rows"].astype(np.int64)]
    return small


def _features(products: int) -> ProductFeatures:
    places = np.arange(products * FEATURES).reshape(products, FEATURES)
    return ProductFeatures(
        buckets=(1 + (places * 2654435761) % (BUCKETS - 1)).astype(np.int32),
        weights=(0.25 + (places % 7) / 8).astype(np.float32),
        categories=(np.arange(products) % 3).astype(np.int32),
    )


def _contexts(products: int) -> list[Context]:
    if products <= _UNKNOWN:
        return [Context(), Context(viewed_row=0)]
    repeats = np.arange(0, products, 3)[:20].astype(np.uint32)
    ones = np.ones(len(repeats), np.uint32)
    history = History(
        orders=12,
        recent=np.arange(products - 1, max(products - 11, -1), -1).astype(np.uint32),
        rows=repeats,
        decayed=np.linspace(0.2, 6.0, len(repeats), dtype=np.float32),
        counts=3 * ones,
        first=2 * ones,
        last=9 * ones,
    )
    return [Context(), Context(viewed_row=1), Context(viewed_row=products - 1, history=history)]
