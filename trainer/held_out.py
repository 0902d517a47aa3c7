"""How well a foundation foretells orders it has not seen, beside two heuristics.

Dimensions: B contexts, N products, K = 5 positions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from policy.torch_context import every_product, pack_contexts
from policy.torch_network import TorchPolicy
from schemas import history as histories
from schemas.history import HALF_LIFE_ORDERS
from schemas.limits import BANNER_SIZE
from trainer.past_orders import Replay

Rows = npt.NDArray[np.int64]
_CELLS: Final = 2_000_000
"""Scores held at a time."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Means over held-out orders.

    Attributes:
        recall_at_5: share of the order's products that the five hold, in [0, 1].
        ndcg_at_5: normalised discounted cumulative gain of the five, in [0, 1].
        hits: products of the five that the order holds, in [0, 5].
    """

    recall_at_5: float
    ndcg_at_5: float
    hits: float


@dataclass(frozen=True, slots=True)
class HeldOutReport:
    """The foundation against two heuristics, on the last orders by time, of known shoppers.

    Attributes:
        policy: the foundation's greedy five.
        own_frequent: the shopper's own products by decayed count, filled up by popularity.
        popularity: the five most bought products.
        orders_trained: orders before the split.
        orders_held_out: orders after it that were judged.
        sharpness: what logits are multiplied by online.
        second_stage: whether the logistic stage was kept (it must help on the held-out orders).
    """

    policy: Quality
    own_frequent: Quality
    popularity: Quality
    orders_trained: int
    orders_held_out: int
    sharpness: float
    second_stage: bool

    def figures(self) -> dict[str, float]:
        """Return every number by name, for the foundation's manifest."""
        found = {
            f"{who}_{name}": value
            for who in ("policy", "own_frequent", "popularity")
            for name, value in asdict(getattr(self, who)).items()
        }
        counts = ("orders_trained", "orders_held_out", "sharpness", "second_stage")
        return found | {name: float(getattr(self, name)) for name in counts}


def quality(banners: Sequence[Rows], baskets: Sequence[Rows]) -> Quality:
    """Return the means over orders of how the five foretell what was bought.

    Example:
        >>> quality([np.array([1, 2, 3, 4, 5])], [np.array([1, 9])])
        Quality(recall_at_5=0.5, ndcg_at_5=0.6131471927654584, hits=1.0)
    """
    discounts = 1.0 / np.log2(np.arange(BANNER_SIZE) + 2.0)
    recall, gain, hits = [], [], []
    for banner, basket in zip(banners, baskets, strict=True):
        hit = np.isin(banner, basket)
        ideal = discounts[: min(BANNER_SIZE, len(basket))].sum()
        recall.append(hit.sum() / len(basket))
        gain.append(discounts[: len(banner)][hit].sum() / ideal)
        hits.append(hit.sum())
    return Quality(float(np.mean(recall)), float(np.mean(gain)), float(np.mean(hits)))


def own_frequent(packed: bytes, popular: Rows) -> Rows:
    """Return (5,) the shopper's products by decayed count now, filled up from `popular`."""
    history = histories.unpack(packed)
    gap = history.orders - history.last.astype(np.float64)
    decayed = history.decayed * 2.0 ** (-gap / HALF_LIFE_ORDERS)
    own = history.rows[np.argsort(-decayed, kind="stable")[:BANNER_SIZE]].astype(np.int64)
    rest = popular[: 2 * BANNER_SIZE]
    return np.concatenate([own, rest[~np.isin(rest, own)]])[:BANNER_SIZE]


@torch.no_grad()
def scored(policy: TorchPolicy, past: Replay, places: Sequence[int]) -> Iterator[Tensor]:
    """Yield the logits (B, N) of every product before each order, some orders at a time."""
    size = max(1, _CELLS // policy.products)
    for start in range(0, len(places), size):
        chunk = places[start : start + size]
        contexts = pack_contexts(
            [-1] * len(chunk), [past.histories[place] for place in chunk], policy.features
        )
        yield policy.scores(policy.prepare(contexts, every_product(contexts, policy.products)))


def greedy_quality(policy: TorchPolicy, past: Replay, places: Sequence[int]) -> Quality:
    """Return how well the policy's greedy five foretell the orders at `places`."""
    size = min(BANNER_SIZE, policy.products)
    banners: list[Rows] = []
    for scores in scored(policy, past, places):
        banners.extend(scores.topk(size, dim=1).indices.cpu().numpy())
    return quality(banners, [past.baskets[place] for place in places])


def heuristic_qualities(
    past: Replay, places: Sequence[int], popularity: npt.NDArray[np.float32]
) -> tuple[Quality, Quality]:
    """Return how well the shopper's own frequent products, and popularity, do."""
    popular = np.argsort(-popularity, kind="stable")
    baskets = [past.baskets[place] for place in places]
    own = [own_frequent(past.histories[place], popular) for place in places]
    return quality(own, baskets), quality([popular[:BANNER_SIZE]] * len(places), baskets)
