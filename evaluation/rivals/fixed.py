"""Rivals that do not learn: chance, popularity, the foundation, and the policy that knows all.

Dimensions: K positions, N products.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.rivals.asking import eligible_rows, excluded_rows
from evaluation.shop import Outcome, Situation
from policy.serving import ServingPolicy
from schemas.history import pack, unpack
from schemas.limits import BANNER_SIZE
from simulator.world import World
from trainer.held_out import own_frequent

Rows = npt.NDArray[np.integer[Any]]


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
        rows = eligible_rows(situation, self.products).nonzero()[0]
        drawn = self.rng.choice(rows, min(BANNER_SIZE + 1, len(rows)), replace=False)
        return np.asarray(drawn[drawn != situation.viewed_row][:BANNER_SIZE])


@dataclass
class Popular(Frozen):
    """The five most bought products of the past."""

    rows: Rows
    name: str = "popular"

    def banner(self, situation: Situation) -> Rows:
        """Return the most popular rows without the product viewed."""
        best = self.rows[eligible_rows(situation, len(self.rows))[self.rows] == 1]
        best = best[: BANNER_SIZE + 1]
        return np.asarray(best[best != situation.viewed_row][:BANNER_SIZE])


@dataclass
class OwnFrequent(Frozen):
    """The shopper's own frequent products, filled up by popularity.

    The heuristic that a foundation is judged beside (`trainer.held_out.own_frequent`): the decayed
    count of a product halves every seven orders.
    """

    rows: Rows
    name: str = "own_frequent"

    def banner(self, situation: Situation) -> Rows:
        """Return five rows as if what may not be shown had never been bought by anybody."""
        history = unpack(situation.history)
        showable = eligible_rows(situation, len(self.rows)).astype(bool)
        if situation.viewed_row >= 0:
            showable[situation.viewed_row] = False
        kept = showable[history.rows]
        others = replace(
            history,
            rows=history.rows[kept],
            decayed=history.decayed[kept],
            counts=history.counts[kept],
            first=history.first[kept],
            last=history.last[kept],
        )
        return own_frequent(pack(others), self.rows[showable[self.rows]])


@dataclass
class Foundation(Frozen):
    """The pretrained policy's own greedy five: what the control arm shows."""

    policy: ServingPolicy
    products: int
    name: str = "foundation"

    def banner(self, situation: Situation) -> Rows:
        """Return the five rows with the highest scores."""
        return self.greedy(situation)

    def greedy(self, situation: Situation) -> Rows:
        """Return the same."""
        return self.policy.greedy(
            viewed_row=situation.viewed_row,
            history=situation.history,
            eligible=eligible_rows(situation, self.products),
            excluded=excluded_rows(situation),
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
