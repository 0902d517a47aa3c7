"""The worlds as Gymnasium environments.

Importing this module registers `Quintet/Synthetic-v0`, `Quintet/Aisles-v0` and `Quintet/Grocer-v0`.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from schemas.limits import BANNER_SIZE, RECENT_PURCHASES
from simulator.aisles import AislesWorld
from simulator.errors import WorldNotPossible
from simulator.grocer import GrocerWorld
from simulator.grocery import Parity
from simulator.synthetic import SyntheticWorld
from simulator.world import DEFAULT_POINTS, Points, Visit, World

Observation = dict[str, Any]
Action = npt.NDArray[np.int64]


class BannerEnvironment(gymnasium.Env[Observation, Action]):
    """A shop whose every visit asks for a banner of five products.

    ## Action space
    `MultiDiscrete([N] * 5)`: the row of the product at each position, N products. A row that
    repeats an earlier one, or is the product viewed, is left out and the banner closes up: it earns
    nothing and later products move one position forward.

    ## Observation space
    `Dict` of what a recommender may know when the request arrives:
    - `viewed`: `Discrete(N + 1)`, the row of the product viewed; N: the storefront's home.
    - `recent`: `MultiDiscrete([N + 1] * 10)`, rows of the shopper's last purchases, oldest first,
      padded with N in front.
    - `known`: `Discrete(2)`, 0 for an anonymous shopper.

    ## Reward
    Points of the shopper's response: 0.1 per clicked position, 1 for the first product bought, 1.5
    for every further one; at least 0, at most 7.5.

    ## Starting state
    The first visit of a stream whose seed is drawn at `reset`; shoppers remember their past orders.

    ## Episode end
    Never terminated; truncated after `visits` visits, or when the world has no more (the grocer's
    year ends).

    ## Info
    `expected_reward`: of `step`, the mean of the reward over the shopper's noise. `reset` has none.

    ## Version history
    - v0: first version.

    Args:
        world: the shop.
        visits: visits of an episode.
        points: what a banner earns.
    """

    def __init__(
        self, world: World, *, visits: int = 1000, points: Points = DEFAULT_POINTS
    ) -> None:
        if visits < 1:
            raise WorldNotPossible("an episode has one visit at least")
        self._world, self._visits, self._points = world, visits, points
        self._ids = [product.product_id for product in world.products]
        self._rows = {product_id: row for row, product_id in enumerate(self._ids)}
        count = len(self._ids)
        self.action_space = spaces.MultiDiscrete([count] * BANNER_SIZE)
        self.observation_space = spaces.Dict(
            {
                "viewed": spaces.Discrete(count + 1),
                "recent": spaces.MultiDiscrete([count + 1] * RECENT_PURCHASES),
                "known": spaces.Discrete(2),
            }
        )
        self._stream: Iterator[Visit] = iter(())
        self._visit: Visit | None = None
        self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin a new stream of visits and return what is known of the first."""
        super().reset(seed=seed, options=options)
        self._stream = iter(self._world.visits(int(self.np_random.integers(2**31))))
        self._visit = next(self._stream)
        self._steps = 0
        return self._observed(self._visit), {}

    def step(self, action: Action) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Show a banner; return the next visit's observation and what the banner earned.

        Raises:
            gymnasium.error.ResetNeeded: the episode has not begun, or has ended.
        """
        if self._visit is None:
            raise gymnasium.error.ResetNeeded("call reset first")
        banner = self._banner(self._visit, action)
        expected = self._world.expected_reward(self._visit, banner, self._points)
        response = self._world.respond(self._visit, banner, self.np_random)
        self._steps += 1
        following = next(self._stream, None)
        observed = self._observed(self._visit if following is None else following)
        is_truncated = following is None or self._steps >= self._visits
        self._visit = None if is_truncated else following
        reward = response.reward(self._points)
        return observed, reward, False, is_truncated, {"expected_reward": expected}

    def oracle(self) -> Action:
        """Return the action of the policy that knows the world."""
        if self._visit is None:
            raise gymnasium.error.ResetNeeded("call reset first")
        best = self._world.oracle(self._visit, self._points)
        return np.array([self._rows[product_id] for product_id in best], np.int64)

    def _banner(self, visit: Visit, action: Sequence[int] | Action) -> list[str]:
        chosen = dict.fromkeys(self._ids[int(row)] for row in action)
        return [product_id for product_id in chosen if product_id != visit.viewed_product_id]

    def _observed(self, visit: Visit) -> Observation:
        nothing = len(self._ids)
        recent = np.full(RECENT_PURCHASES, nothing, np.int64)
        rows = [self._rows[product_id] for product_id in visit.purchased_product_ids]
        if rows:
            recent[-len(rows) :] = rows
        viewed = visit.viewed_product_id
        return {
            "viewed": np.int64(nothing if viewed is None else self._rows[viewed]),
            "recent": recent,
            "known": np.int64(visit.user_id is not None),
        }


class SyntheticEnvironment(BannerEnvironment):
    """`Quintet/Synthetic-v0`: `SyntheticWorld` as an environment; see `BannerEnvironment`.

    Args:
        products: number of products.
        world_seed: of products, shoppers and their past.
        drift: radians per 10,000 visits by which appeals turn.
        visits: visits of an episode.
    """

    def __init__(
        self, *, products: int = 1000, world_seed: int = 0, drift: float = 0.0, visits: int = 1000
    ) -> None:
        super().__init__(SyntheticWorld(products, seed=world_seed, drift=drift), visits=visits)


class AislesEnvironment(BannerEnvironment):
    """`Quintet/Aisles-v0`: `AislesWorld` as an environment; see `BannerEnvironment`.

    Args:
        products: number of products.
        world_seed: of products, shoppers and their past.
        visits: visits of an episode.
    """

    def __init__(self, *, products: int = 1000, world_seed: int = 0, visits: int = 1000) -> None:
        super().__init__(AislesWorld(products, seed=world_seed), visits=visits)


class GrocerEnvironment(BannerEnvironment):
    """`Quintet/Grocer-v0`: `GrocerWorld` as an environment; see `BannerEnvironment`.

    Args:
        parity: households with an odd id; the even ones are kept apart.
        products: so many products sold most often.
        cache: folder to keep the grocery's arrays in.
        visits: visits of an episode.
    """

    def __init__(
        self,
        *,
        parity: Parity = "odd",
        products: int = 5000,
        cache: Path | None = None,
        visits: int = 1000,
    ) -> None:
        super().__init__(GrocerWorld(parity=parity, products=products, cache=cache), visits=visits)


def register() -> None:
    """Make the environments known to `gymnasium.make`; a second time does nothing."""
    for name, made in (
        ("Quintet/Synthetic-v0", "SyntheticEnvironment"),
        ("Quintet/Aisles-v0", "AislesEnvironment"),
        ("Quintet/Grocer-v0", "GrocerEnvironment"),
    ):
        if name not in gymnasium.registry:
            gymnasium.register(name, entry_point=f"{__name__}:{made}")


register()
