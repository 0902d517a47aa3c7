"""Plain REINFORCE on the foundation's network: what a policy gradient is without further care.

Williams 1992, "Simple statistical gradient-following algorithms for connectionist reinforcement
learning": the whole banner's reward, less a moving mean, credits every position alike. No clipping,
no divergence held, one step per batch.

Dimensions: B banners, K positions, C candidates.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from evaluation.rivals.network import Network, Rows, Scored, Shown
from evaluation.shop import Outcome, Situation
from policy.features import ProductFeatures
from policy.serving import Draw
from policy.torch_distribution import position_log_prob
from schemas.candidates import unpack


@dataclass(frozen=True, slots=True)
class ReinforceSettings:
    """How it learns.

    Attributes:
        rate: of Adam.
        batch_banners: banners of one step.
        kept: how much of the moving mean of rewards each batch keeps.
    """

    rate: float = 3e-3
    batch_banners: int = 256
    kept: float = 0.9


def reinforce_loss(batch: Scored, baseline: float) -> Tensor:
    """Return - mean over banners of (R - baseline) log pi(banner)."""
    log_prob = position_log_prob(batch.scores, batch.banner, batch.eligible).sum(dim=1)
    advantage = batch.points.sum(dim=1) - baseline
    return -(advantage * log_prob).mean()


class Reinforce:
    """Draws five products by Plackett-Luce; every position is credited with the banner's reward.

    Args:
        weights: of the foundation, where it starts.
        features: of every product.
        settings: how it learns.
        rng: of the draws.
    """

    name = "reinforce"

    def __init__(
        self,
        weights: Mapping[str, npt.NDArray[Any]],
        features: ProductFeatures,
        settings: ReinforceSettings | None = None,
        *,
        rng: np.random.Generator,
    ) -> None:
        self._settings = settings or ReinforceSettings()
        self._network = Network(weights, features, rate=self._settings.rate)
        self._rng = rng
        self._baseline: float | None = None
        self._batch: list[Shown] = []
        self._drawn: Draw | None = None

    def banner(self, situation: Situation) -> Rows:
        """Draw five rows."""
        self._drawn = self._network.draw(situation, self._rng)
        return self._drawn.rows

    def greedy(self, situation: Situation) -> Rows:
        """Return the five rows of the highest scores."""
        return self._network.greedy(situation)

    def learn(self, situation: Situation, banner: Rows, outcome: Outcome) -> None:
        """Keep what was shown and earned; take a step when the batch is full."""
        if self._drawn is None or self._drawn.rows is not banner:
            raise ValueError("a reward came for a banner that was not the last one drawn")
        candidates = unpack(self._drawn.packed_candidates)
        self._batch.append(Shown(situation, candidates, banner, outcome.points))
        if len(self._batch) == self._settings.batch_banners:
            self._update()

    def _update(self) -> None:
        batch = self._network.score(self._batch)
        earned = float(batch.points.sum(dim=1).mean())
        if self._baseline is None:
            self._baseline = earned
        self._network.step(reinforce_loss(batch, self._baseline))
        self._baseline += (1.0 - self._settings.kept) * (earned - self._baseline)
        self._network.compile()
        self._batch = []
