"""The observable ceiling: what the network reaches when nothing has to be found out.

It is trained on simulated visits of which the world tells what every product would have earned,
without noise and whatever was shown, until that no longer helps. Of a shopper it knows what any
rival knows when it is asked: what is left to the oracle cannot be observed, or not by this network.

Dimensions: B visits, N products, K positions.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evaluation.rivals.fixed import Foundation
from evaluation.rivals.network import Network, Rows
from evaluation.shop import Outcome, Shop, Situation
from policy.torch_context import every_product, pack_contexts
from policy.torch_distribution import NOT_ELIGIBLE
from schemas.limits import BANNER_SIZE

Weights = Mapping[str, npt.NDArray[Any]]
Stage = Literal["proportional", "positions"]
_STAGES: Final[tuple[tuple[Stage, float], ...]] = (
    ("proportional", 3e-3),
    ("positions", 1e-3),
    ("positions", 3e-4),
)
"""What is minimised, and Adam's rate, one after another."""
_OTHER_VISITS: Final = 7919
"""Added to the seed, so that nothing is trained on the visits it will be judged on."""


@dataclass(frozen=True, slots=True)
class CeilingSettings:
    """How long the ceiling is looked for.

    Attributes:
        runs: most runs trained on, each of other visits. Every run begins with the histories that
            a rival begins with: what shoppers bought since tells much of them, and one who trained
            on long histories alone would be no ceiling of the first visits.
        visits: of one run.
        batch_visits: visits between two updates.
        epochs: steps per update, each on the batch and as many visits from before.
        kept: visits that steps draw from again.
        rise: share by which a run must earn more than the best before it, to count as better.
        patience: runs without a better one that end a stage.
    """

    runs: int = 12
    visits: int = 20_000
    batch_visits: int = 256
    epochs: int = 4
    kept: int = 20_000
    rise: float = 0.005
    patience: int = 1


def proportional_loss(scores: Tensor, points: Tensor) -> Tensor:
    """Return the cross-entropy - sum_i r_i log pi(i), mean over visits, per point.

    Where a context is met with many wishes, it is least when pi is proportional to the points that
    are expected in the context: then the greedy five are the best five.

    Args:
        scores: (B, N).
        points: (B, N) expected points of each product shown alone.
    """
    return -(points * scores.log_softmax(dim=1)).sum(dim=1).mean() / points.sum(dim=1).mean()


def positions_loss(scores: Tensor, points: Tensor, drawn: Tensor) -> Tensor:
    """Return minus the points expected over the positions, mean over visits.

    Each position's expectation sum_i pi(i) r_i is exact, given products drawn for the positions
    before it.

    Args:
        scores: (B, N).
        points: (B, N) expected points of each product shown alone.
        drawn: (B, K) int64 products of a Plackett-Luce draw from the scores.
    """
    expected = []
    for position in range(drawn.shape[1]):
        expected.append((scores.softmax(dim=1) * points).sum(dim=1))
        scores = scores.scatter(1, drawn[:, position : position + 1], NOT_ELIGIBLE)
    return -torch.stack(expected).sum(dim=0).mean()


class _Taught:
    """A rival that is told what every product would have earned."""

    name = "taught"

    def __init__(
        self, shop: Shop, weights: Weights, settings: CeilingSettings, rng: np.random.Generator
    ) -> None:
        self.stage, rate = _STAGES[0]
        self.network = Network(weights, shop.features, rate=rate)
        self._world, self._features = shop.world, shop.features
        self._settings, self._rng = settings, rng
        self._batch: list[tuple[Situation, npt.NDArray[np.float32]]] = []
        self._before: deque[tuple[Situation, npt.NDArray[np.float32]]] = deque(maxlen=settings.kept)

    def banner(self, situation: Situation) -> Rows:
        return self.network.greedy(situation)

    def learn(self, situation: Situation, banner: Rows, outcome: Outcome) -> None:  # noqa: ARG002
        points = self._world.expected_points(situation.visit).astype(np.float32)
        self._batch.append((situation, points))
        if len(self._batch) < self._settings.batch_visits:
            return
        for _ in range(self._settings.epochs):
            again = self._rng.integers(
                len(self._before), size=len(self._batch) * bool(self._before)
            )
            self._step(self._batch + [self._before[place] for place in again.tolist()])
        self.network.compile()
        self._before.extend(self._batch)
        self._batch = []

    def _step(self, examples: Sequence[tuple[Situation, npt.NDArray[np.float32]]]) -> None:
        situations = [situation for situation, _ in examples]
        contexts = pack_contexts(
            [situation.viewed_row for situation in situations],
            [situation.history for situation in situations],
            self._features,
        )
        policy = self.network.trained
        scores = policy.scores(policy.prepare(contexts, every_product(contexts, policy.products)))
        points = torch.from_numpy(np.stack([points for _, points in examples]))
        if self.stage == "proportional":
            loss = proportional_loss(scores, points)
        else:
            noise = self._rng.gumbel(size=scores.shape).astype(np.float32)
            drawn = (scores.detach() + torch.from_numpy(noise)).topk(BANNER_SIZE, dim=1).indices
            loss = positions_loss(scores, points, drawn)
        self.network.step(loss)


def ceiling(
    shop: Shop,
    weights: Weights,
    *,
    seed: int,
    settings: CeilingSettings | None = None,
    told: Callable[[int, float], None] | None = None,
) -> Foundation:
    """Return the trained network as a rival that shows its greedy five; takes minutes.

    Args:
        shop: whose world tells what products would have earned.
        weights: of the foundation, where training starts.
        seed: the visits trained on are others than those of `Shop.play` with this seed.
        settings: how long is tried.
        told: told the number of each run, from 1, and its reward per banner.
    """
    settings = settings or CeilingSettings()
    taught = _Taught(shop, weights, settings, np.random.default_rng((seed, _OTHER_VISITS)))
    stages, best, worse = list(_STAGES[1:]), 0.0, 0
    for again in range(1, settings.runs + 1):
        visits_seed = seed + again * _OTHER_VISITS
        mean = float(np.mean(list(shop.play(taught, seed=visits_seed, banners=settings.visits))))
        if told is not None:
            told(again, mean)
        worse = 0 if mean > best * (1.0 + settings.rise) else worse + 1
        best = max(best, mean)
        if worse < settings.patience:
            continue
        if not stages:
            break
        (taught.stage, taught.network.rate), worse = stages.pop(0), 0
    return Foundation(taught.network.served, len(shop.product_ids), name="ceiling")
