"""A small shop: products, a foundation, and rewarded banners drawn by the float64 reference."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from policy import reference
from policy.context import Context
from policy.features import ProductFeatures, encode_products
from projections.orders import with_order
from schemas import candidates as candidate_rows
from schemas import history as histories
from schemas.products import Product
from schemas.rewards import Reward
from tests.unit.trainer.learning_ring import Ring
from trainer.initial_weights import initial_weights

Weights = dict[str, np.ndarray[Any, Any]]
Points = Callable[[tuple[int, ...]], tuple[float, ...]]


def nothing(rows: tuple[int, ...]) -> tuple[float, ...]:
    return (0.0,) * len(rows)


def products(count: int) -> list[Product]:
    return [
        Product(
            product_id=f"p{row}",
            title=f"thing {row % 5}",
            category=f"c{row % 3}",
            price_cents=100 + row,
        )
        for row in range(count)
    ]


@dataclass(frozen=True)
class Shop:
    features: ProductFeatures
    weights: Weights

    @property
    def size(self) -> int:
        return len(self.features.categories)

    def rewards(
        self, count: int, *, seed: int = 0, points: Points = nothing, weights: Weights | None = None
    ) -> list[Reward]:
        """Return settled banners drawn by `weights` (the foundation's by default)."""
        rng = np.random.default_rng(seed)
        used = weights or self.weights
        compiled = reference.compile_products(used, self.features)
        made = []
        for number in range(count):
            history = with_order(histories.EMPTY, rng.choice(self.size, 3).tolist())
            viewed = int(rng.integers(-1, self.size))
            candidates = np.delete(np.arange(self.size), [viewed] if viewed >= 0 else [])
            scores = reference.scores(used, compiled, self.features, Context(viewed, history))
            scores = scores[candidates]
            places: list[int] = []
            left = scores.copy()
            for _ in range(5):
                places.append(int(np.argmax(left + rng.gumbel(size=len(left)))))
                placed = np.array(places[-1:])
                left += reference.pair_lifts(used, self.features, candidates, placed)[0]
                left[places[-1]] = -np.inf
            banner = np.array(places)
            lifts = reference.pair_lifts(used, self.features, candidates, banner)
            log_probs = reference.position_log_prob(scores, banner, lifts)
            rows = tuple(candidates[banner].tolist())
            made.append(
                Reward(
                    recommendation_id=f"r{seed}-{number}",
                    revision=0,
                    settled_at_ms=1000,
                    caused_at_ms=1000 + number,
                    specification="1",
                    unit="u",
                    arm="policy",
                    source="policy",
                    trainable=True,
                    points=points(rows),
                    delta=points(rows),
                    policy_version=1,
                    catalogue_version=self.size,
                    viewed_row=viewed,
                    history=histories.pack(history),
                    candidates=candidate_rows.pack(candidates),
                    rows=rows,
                    log_probs=tuple(log_probs.tolist()),
                )
            )
        return made


@pytest.fixture
def shop() -> Shop:
    features = encode_products(products(30))
    weights = initial_weights(features, np.ones(30), np.random.default_rng(0))
    weights["sharpness"][:] = 1.0
    return Shop(features, weights)


@pytest.fixture
def ring_of(shop: Any, tmp_path: Path) -> Callable[[str], Ring]:
    def make(name: str) -> Ring:
        ring = Ring(tmp_path / name, shop)
        ring.begin(
            [
                Product(
                    product_id=f"p{row}",
                    title=f"thing {row % 5}",
                    category=f"c{row % 3}",
                    price_cents=100 + row,
                )
                for row in range(shop.size)
            ]
        )
        return ring

    return make


@pytest.fixture
def ring(ring_of: Callable[[str], Ring]) -> Ring:
    return ring_of("ring")
