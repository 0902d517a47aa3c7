"""The ring's own policy and learner, as a rival among the others.

Dimensions: K positions, N products.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from evaluation.rivals.asking import eligible_rows, excluded_rows
from evaluation.rivals.conditions import (
    BATCH_BANNERS,
    ORDINARY_RING,
    RewardsUnderWay,
    RingConditions,
    WeightsUnderWay,
    in_two_parts,
)
from evaluation.shop import Outcome, Situation
from policy.architecture import FULL_CANDIDATES
from policy.features import ProductFeatures
from policy.pairs import CategoryPair, strongest_pairs
from policy.serving import Draw, ServingPolicy
from rewards.specification import RewardSpecification
from schemas.limits import BANNER_SIZE
from schemas.products import Product
from schemas.rewards import Reward
from trainer.learner import Learner

Rows = npt.NDArray[np.integer[Any]]
UNIFORMS = BANNER_SIZE + 16
"""Random numbers of one draw: one a position, and those of the uniform candidates."""


class Learning:
    """The ring's policy and learner: draws with the serving kernel, updates per full batch.

    Args:
        learner: whose weights are the start.
        features: of every product.
        rng: of the draws; what `ring` draws is drawn from a child of it.
        ring: what befalls rewards and weights on their way.
        specification: of the rewards.
    """

    def __init__(
        self,
        learner: Learner,
        features: ProductFeatures,
        *,
        rng: np.random.Generator,
        name: str = "policy",
        ring: RingConditions = ORDINARY_RING,
        specification: RewardSpecification | None = None,
    ) -> None:
        self.name = name
        self._learner = learner
        self._features = features
        self._rng = rng
        self._ring, self._ring_rng = ring, rng.spawn(1)[0]
        self._specification = specification or RewardSpecification()
        self._products = len(features.categories)
        self._rewards = RewardsUnderWay(ring.settle_seconds)
        self._weights = WeightsUnderWay(ring.stale)
        self._batch: list[Reward] = []
        self._drawn: Draw | None = None
        self._version = 0
        self._swap()

    def _swap(self) -> None:
        weights = self._weights.served(self._learner.banners, self._learner.weights)
        if weights is not None:
            self._version += 1
            self._policy = ServingPolicy.compile(weights, self._features, version=self._version)

    def pairs(self, products: Sequence[Product], *, count: int) -> tuple[CategoryPair, ...]:
        """Return the pairs of categories that its weights lift most; none if it learned none."""
        return tuple(strongest_pairs(self._learner.weights(), products, count=count))

    def banner(self, situation: Situation) -> Rows:
        """Draw five rows."""
        self._receive(situation)
        self._drawn = self._draw(situation, self._rng)
        return self._drawn.rows

    def _draw(self, situation: Situation, rng: np.random.Generator) -> Draw:
        return self._policy.draw(
            viewed_row=situation.viewed_row,
            history=situation.history,
            eligible=eligible_rows(situation, self._products),
            excluded=excluded_rows(situation),
            size=BANNER_SIZE,
            uniforms=rng.random(UNIFORMS),
        )

    def greedy(self, situation: Situation) -> Rows:
        """Return the five rows of the highest scores."""
        return self._policy.greedy(
            viewed_row=situation.viewed_row,
            history=situation.history,
            eligible=eligible_rows(situation, self._products),
            excluded=excluded_rows(situation),
            size=BANNER_SIZE,
        )

    def outside(self, situation: Situation) -> float | None:
        """Return the share of probability that lies outside the candidates.

        It is that of the first position, were every product a candidate; None: all of them are.
        """
        scores = self._policy.scores(
            viewed_row=situation.viewed_row,
            history=situation.history,
            eligible=eligible_rows(situation, self._products),
            excluded=excluded_rows(situation),
        ).astype(np.float64)
        if np.isfinite(scores).sum() <= FULL_CANDIDATES:
            return None
        mass = np.exp(scores - scores.max())
        candidates = self._draw(situation, self._ring_rng).candidates
        return float(1.0 - mass[candidates].sum() / mass.sum())

    def learn(self, situation: Situation, banner: Rows, outcome: Outcome) -> None:
        """Send the reward on its way; update and swap when those that arrived fill a batch."""
        drawn = self._drawn
        if drawn is None or drawn.rows is not banner:
            raise ValueError("a reward came for a banner that was not the last one drawn")
        self._send(situation, _reward(situation, drawn, outcome, self._version))
        self._receive(situation)
        if situation.number == self._ring.bad_batch:
            self._take_bad_batch(situation)

    def _send(self, situation: Situation, reward: Reward) -> None:
        at, ring = situation.visit.occurred_at, self._ring
        if reward.bought and ring.corrections and self._ring_rng.random() < ring.corrections:
            reward, correction = in_two_parts(reward, self._specification)
            self._rewards.send(correction, at, later_seconds=ring.corrected_after_seconds)
        self._rewards.send(reward, at)

    def _receive(self, situation: Situation) -> None:
        for reward in self._rewards.arrived(situation.visit.occurred_at):
            self._take(reward)

    def _take(self, reward: Reward) -> None:
        self._batch.append(reward)
        if len(self._batch) >= self._learner.wanted:
            self._learner.update(self._batch)
            self._batch = []
            self._swap()

    def _take_bad_batch(self, situation: Situation) -> None:
        for number in range(BATCH_BANNERS):
            drawn = self._draw(situation, self._ring_rng)
            everything = tuple(range(len(drawn.rows)))
            points = self._specification.points(len(everything), clicked=everything, bought=())
            outcome = Outcome(points, clicked=everything, bought=())
            reward = _reward(situation, drawn, outcome, self._version)
            name = f"{reward.recommendation_id} again {number}"
            self._send(situation, msgspec.structs.replace(reward, recommendation_id=name))
            self._receive(situation)


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
