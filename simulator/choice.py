"""How shoppers choose from a banner: look, click, buy, and buy what goes with it.

Dimensions: K positions; leading dimensions are banners.

A shopper looks at position k with probability e_k, clicks what she sees with c_k, and buys what she
clicked with b_k, each independently. What she clicked and did not buy she still buys with
probability `complement` for every product she bought that it goes with. So a multi-buy depends on
the whole banner, and not clicking anything is the ordinary outcome.

Where complements are strong, `pull` is above zero: a product bought on its own pulls its partners
along, whatever she would think of them alone. What she looked at and did not click she then buys,
without a click, with probability `pull` for every such product; what she clicked, with the larger
of both probabilities.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simulator.world import Points

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

NOISE_PER_POSITION = 7
"""Uniforms of one position: click, buy, and one for every other position it may go with."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A banner as one shopper sees it.

    Attributes:
        click: (..., K) probability of a click, looking included.
        buy: (..., K) probability of buying what was clicked, on its own.
        goes_with: (..., K, K) bool, symmetric, False on the diagonal.
        complement: probability that one bought product makes a clicked one be bought too.
        look: (..., K) probability of looking, at least `click`; read only where there is a pull.
        pull: probability that one bought product makes one that was looked at be bought too.
    """

    click: Array
    buy: Array
    goes_with: Bools
    complement: float
    look: Array | float = 1.0
    pull: float = 0.0

    def expected(self, points: Points) -> Array:
        """Return (...,) the exact expected reward.

        With n bought products the reward is click * clicks + further * n - (further - buy) [n > 0];
        n > 0 exactly when something was bought on its own, and positions are independent, so

            E[n] = sum_j c_j (b_j + (1 - b_j) m_j(complement)) + (e_j - c_j) m_j(pull)
            m_j(p) = 1 - prod_{i goes with j} (1 - p c_i b_i),   complement at least pull
            P(n > 0) = 1 - prod_j (1 - c_j b_j),   c_j with looking included.
        """
        alone = self.click * self.buy
        bought = alone + (self.click - alone) * self._moved(alone, max(self.complement, self.pull))
        if self.pull:
            bought = bought + (self.look - self.click) * self._moved(alone, self.pull)
        bought = bought.sum(axis=-1)
        anything = 1.0 - (1.0 - alone).prod(axis=-1)
        return np.asarray(
            points.click * self.click.sum(axis=-1)
            + points.further * bought
            - (points.further - points.buy) * anything
        )

    def _moved(self, alone: Array, strength: float) -> Array:
        """Return (..., K) the chance that something bought on its own moves each product."""
        unmoved = np.where(self.goes_with, 1.0 - strength * alone[..., None, :], 1.0)
        return np.asarray(1.0 - unmoved.prod(axis=-1))

    def draw(self, uniforms: Array) -> tuple[Bools, Bools]:
        """Return (clicked, bought), both (K,), of one banner.

        Args:
            uniforms: (>= K, 7) in [0, 1); position k reads row k alone.
        """
        size = len(self.click)
        clicked = uniforms[:size, 0] < self.click
        alone = clicked & (uniforms[:size, 1] < self.buy)
        moving = np.where(self.goes_with & alone[None, :], uniforms[:size, 2 : 2 + size], 1.0)
        least = moving.min(axis=-1, initial=1.0)
        bought = alone | (clicked & (least < max(self.complement, self.pull)))
        if self.pull:
            bought |= (uniforms[:size, 0] < self.look) & (least < self.pull)
        return clicked, bought
