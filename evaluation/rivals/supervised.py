"""The foundation fine-tuned by supervised learning on what was clicked and bought.

Dimensions: B banners, K positions, C candidates.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import softplus

from evaluation.rivals.network import Network, Rows, Scored, Shown
from evaluation.shop import Outcome, Situation
from policy.features import ProductFeatures

Objective = Literal["logistic", "softmax"]


@dataclass(frozen=True, slots=True)
class SupervisedSettings:
    """How it learns and explores.

    Attributes:
        objective: "logistic": every position shown is one example, earned or not; "softmax": cross-
            entropy over all products of what earned.
        rate: of Adam.
        epochs: steps per batch.
        batch_banners: banners of one update.
        explored: share of banners drawn from the network's own distribution; the others are its
            greedy five.
        kept: banners from before the batch that are learned from again: every step takes as many,
            drawn at random, as the batch has; 0: the batch alone.
    """

    objective: Objective = "logistic"
    rate: float = 1e-3
    epochs: int = 16
    batch_banners: int = 256
    explored: float = 0.05
    kept: int = 20_000


def logistic_loss(batch: Scored, level: float) -> Tensor:
    """Return the loss whose minimum is log-odds: score = log(expected points) + level.

    A position that earned r counts as a positive of weight r, one that earned nothing as a
    negative: mean of r softplus(level - s) + [r = 0] softplus(s - level).
    """
    shown = batch.scores.gather(1, batch.banner) - level
    losses = batch.points * softplus(-shown) + (batch.points == 0) * softplus(shown)
    return losses.sum(dim=1).mean()


def softmax_loss(batch: Scored) -> Tensor:
    """Return - mean over banners of sum_k r_k log pi(k), pi the softmax over all candidates."""
    log_probs = batch.scores.log_softmax(dim=1).gather(1, batch.banner)
    return -(batch.points * log_probs).sum(dim=1).mean()


class Supervised:
    """Shows the network's greedy five, sometimes a draw, and learns which of them earned.

    Args:
        weights: of the foundation, where it starts.
        features: of every product.
        settings: how it learns and explores.
        rng: of exploring and of examples drawn again.
    """

    name = "supervised"

    def __init__(
        self,
        weights: Mapping[str, npt.NDArray[Any]],
        features: ProductFeatures,
        settings: SupervisedSettings | None = None,
        *,
        rng: np.random.Generator,
    ) -> None:
        self._settings = settings or SupervisedSettings()
        self._network = Network(weights, features, rate=self._settings.rate)
        self._products = np.arange(len(features.categories), dtype=np.int32)
        self._rng = rng
        self._level: float | None = None
        self._batch: list[Shown] = []
        self._before: deque[Shown] = deque(maxlen=self._settings.kept)

    def banner(self, situation: Situation) -> Rows:
        """Return five rows, greedy or drawn."""
        if self._rng.random() < self._settings.explored:
            return self._network.draw(situation, self._rng).rows
        return self._network.greedy(situation)

    def greedy(self, situation: Situation) -> Rows:
        """Return the five rows of the highest scores."""
        return self._network.greedy(situation)

    def learn(self, situation: Situation, banner: Rows, outcome: Outcome) -> None:
        """Keep what was shown and earned; learn when the batch is full."""
        if self._settings.objective == "logistic":
            candidates = np.sort(banner).astype(np.int32)
        else:
            candidates = self._products[self._products != situation.viewed_row]
        self._batch.append(Shown(situation, candidates, banner, outcome.points))
        if len(self._batch) == self._settings.batch_banners:
            self._update()

    def _update(self) -> None:
        for _ in range(self._settings.epochs):
            self._network.step(self._loss(self._examples()))
        self._network.compile()
        self._before.extend(self._batch)
        self._batch = []

    def _examples(self) -> list[Shown]:
        """Return the batch and as many banners from before."""
        if not self._before:
            return self._batch
        drawn = self._rng.integers(len(self._before), size=len(self._batch))
        return self._batch + [self._before[place] for place in drawn.tolist()]

    def _loss(self, examples: list[Shown]) -> Tensor:
        batch = self._network.score(examples)
        if self._settings.objective == "softmax":
            return softmax_loss(batch)
        if self._level is None:  # so that the first step moves no score as a whole
            shown = batch.scores.detach().gather(1, batch.banner)
            self._level = float(shown.mean() - torch.log(batch.points.mean() + 1e-3))
        return logistic_loss(batch, self._level)
