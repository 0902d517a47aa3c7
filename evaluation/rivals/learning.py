"""The ring's own policy and learner, as a rival among the others.

Dimensions: K positions, N products.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.rivals.asking import eligible_rows, excluded_rows
from evaluation.shop import Outcome, Situation
from policy.features import ProductFeatures
from policy.pairs import CategoryPair, strongest_pairs
from policy.serving import Draw, ServingPolicy
from schemas.limits import BANNER_SIZE
from schemas.products import Product
from schemas.rewards import Reward
from trainer.learner import Learner

Rows = npt.NDArray[np.integer[Any]]
UNIFORMS = BANNER_SIZE + 16
"""Random numbers of one draw: one a position, and those of the uniform candidates."""


class Learning:
    """The ring's policy and learner: draws with the serving kernel, updates per full batch."""

    def __init__(
        self,
        learner: Learner,
        features: ProductFeatures,
        *,
        rng: np.random.Generator,
        name: str = "policy",
    ) -> None:
        """Start from the learner's weights."""
        self.name = name
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

    def pairs(self, products: Sequence[Product], *, count: int) -> tuple[CategoryPair, ...]:
        """Return the pairs of categories that its weights lift most; none if it learned none."""
        return tuple(strongest_pairs(self._learner.weights(), products, count=count))

    def banner(self, situation: Situation) -> Rows:
        """Draw five rows."""
        self._drawn = self._policy.draw(
            viewed_row=situation.viewed_row,
            history=situation.history,
            eligible=eligible_rows(situation, self._products),
            excluded=excluded_rows(situation),
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
