"""What the learning policy is measured against, and the learning policy itself.

Dimensions: K positions, N products.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.shop import Outcome, Situation
from policy.features import ProductFeatures
from policy.serving import Draw, ServingPolicy
from schemas.limits import BANNER_SIZE
from schemas.rewards import Reward
from simulator.world import World
from trainer.learner import Learner

Rows = npt.NDArray[np.integer[Any]]
Weights = Mapping[str, npt.NDArray[Any]]
UNIFORMS = BANNER_SIZE + 16
"""Random numbers of one draw: one a position, and those of the uniform candidates."""


class Frozen:
    """A rival that does not learn."""

    def learn(self, situation: Situation, banner: Rows, outcome: Outcome) -> None:
        """Learn nothing."""


@dataclass
class Random(Frozen):
    """Five products drawn uniformly."""

    products: int
    rng: np.random.Generator
    name: str = "random"

    def banner(self, situation: Situation) -> Rows:
        """Return five rows, never the product viewed."""
        rows = _eligible(situation, self.products).nonzero()[0]
        drawn = self.rng.choice(rows, min(BANNER_SIZE + 1, len(rows)), replace=False)
        return np.asarray(drawn[drawn != situation.viewed_row][:BANNER_SIZE])


@dataclass
class Popular(Frozen):
    """The five most bought products of the past."""

    rows: Rows
    name: str = "popular"

    def banner(self, situation: Situation) -> Rows:
        """Return the most popular rows without the product viewed."""
        best = self.rows[_eligible(situation, len(self.rows))[self.rows] == 1][: BANNER_SIZE + 1]
        return np.asarray(best[best != situation.viewed_row][:BANNER_SIZE])


@dataclass
class Foundation(Frozen):
    """The pretrained policy's own greedy five: what the control arm shows."""

    policy: ServingPolicy
    products: int
    name: str = "foundation"

    def banner(self, situation: Situation) -> Rows:
        """Return the five rows with the highest scores."""
        return self.policy.greedy(
            viewed_row=situation.viewed_row,
            history=situation.history,
            eligible=_eligible(situation, self.products),
            excluded=_excluded(situation),
            size=BANNER_SIZE,
        )


@dataclass
class Oracle(Frozen):
    """The policy that knows the simulator."""

    world: World
    row_of: Mapping[str, int]
    name: str = "oracle"

    def banner(self, situation: Situation) -> Rows:
        """Return what the world itself would show."""
        return np.array([self.row_of[shown] for shown in self.world.oracle(situation.visit)])


class Learning:
    """The ring's policy and learner: draws with the serving kernel, updates per full batch."""

    name = "policy"

    def __init__(
        self,
        learner: Learner,
        features: ProductFeatures,
        *,
        rng: np.random.Generator,
    ) -> None:
        """Start from the learner's weights."""
        self._learner = learner
        self._features = features
        self._rng = rng
        self._products = len(features.categories)
        self._batch: list[Reward] = []
        self._drawn: Draw | None = None
        self._version = 0
        self._swap()

    def _swap(self) -> None:
        self._version += 1
        self._policy = ServingPolicy.compile(
            self._learner.weights(), self._features, version=self._version
        )

    def banner(self, situation: Situation) -> Rows:
        """Draw five rows."""
        self._drawn = self._policy.draw(
            viewed_row=situation.viewed_row,
            history=situation.history,
            eligible=_eligible(situation, self._products),
            excluded=_excluded(situation),
            size=BANNER_SIZE,
            uniforms=self._rng.random(UNIFORMS),
        )
        return self._drawn.rows

    def learn(self, situation: Situation, banner: Rows, outcome: Outcome) -> None:
        """Keep the reward; update and swap when the batch is full."""
        drawn = self._drawn
        if drawn is None or drawn.rows is not banner:
            raise ValueError("a reward came for a banner that was not the last one drawn")
        self._batch.append(_reward(situation, drawn, outcome, self._version))
        if len(self._batch) >= self._learner.wanted:
            self._learner.update(self._batch)
            self._batch = []
            self._swap()


def _eligible(situation: Situation, products: int) -> npt.NDArray[np.uint8]:
    """Return (N,) which products may be shown, but for the one viewed."""
    return np.ones(products, np.uint8) if situation.eligible is None else situation.eligible


def _excluded(situation: Situation) -> npt.NDArray[np.int32]:
    viewed = [] if situation.viewed_row < 0 else [situation.viewed_row]
    return np.array(viewed, np.int32)


def _reward(situation: Situation, drawn: Draw, outcome: Outcome, version: int) -> Reward:
    """Return the record that the aggregator would have written."""
    return Reward(
        recommendation_id=str(situation.number),
        revision=0,
        settled_at_ms=situation.number,
        specification="closed loop",
        unit=situation.visit.user_id or str(situation.number),
        arm="policy",
        source="policy",
        trainable=True,
        points=outcome.points,
        delta=outcome.points,
        clicked=outcome.clicked,
        bought=outcome.bought,
        policy_version=version,
        catalogue_version=0,
        viewed_row=situation.viewed_row,
        history=situation.history,
        candidates=drawn.packed_candidates,
        rows=tuple(drawn.rows.tolist()),
        log_probs=tuple(drawn.log_probs.tolist()),
    )
