"""How a hurried shopper reads a banner: one position after the other, until she has enough.

Dimensions: K positions; B banners.

She reads the first position. What she reads she clicks with c_k, and buys what she clicked with
b_k; of one shelf she buys one product at most, so she passes by whatever stands on a shelf she has
already bought from. After every position she goes on with a probability that depends on what she
found there: having bought something she is most likely to stop. So the order of a banner matters,
and two products of one shelf take from each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from simulator.world import Points

Column = Any
"""A number, or (B,) numbers: every rule below reads the same for one banner and for many."""

NOISE_PER_POSITION: Final = 3
"""Uniforms of one position: click, buy, go on."""
AFTER_NOTHING: Final = 0.9
AFTER_CLICK: Final = 0.85
AFTER_BUY: Final = 0.7
"""Probability of reading the next position, by what the last one brought."""


@dataclass(frozen=True, slots=True)
class Cascade:
    """Banners as one shopper reads them; every attribute has K columns, the first position first.

    Attributes:
        click: probability of a click on a position that is read.
        buy: probability of buying what was clicked.
        shelf: the shelf of each product.
    """

    click: Sequence[Column]
    buy: Sequence[Column]
    shelf: Sequence[Column]

    def expected(self, points: Points) -> Column:
        """Return the exact expected reward, by dynamic programming over the positions.

        The state after some positions is whether she still reads and which shelves she bought from.
        The weight of a course of events is a product over positions, and a position's factor
        depends on its own shelf alone; so, while she reads, what became of different shelves is
        independent, and for every position l to come two numbers are enough:

            reading  = P(she reads on)
            open_l   = P(she reads on, and has bought nothing of the shelf of l)
            unspent  = P(she reads on, and has bought nothing)

        The reward is click * clicks + further * n - (further - buy) [n > 0] for n bought products.
        """
        size = len(self.click)
        reading, unspent, reward = 1.0, 1.0, 0.0
        open_: list[Column] = [1.0] * size
        for k in range(size):
            clicked = self.click[k]
            bought = clicked * self.buy[k]
            reward = reward + open_[k] * (points.click * clicked + points.further * bought)
            reward = reward - (points.further - points.buy) * unspent * bought
            unsold = AFTER_NOTHING * (1.0 - clicked) + AFTER_CLICK * (clicked - bought)
            after = AFTER_NOTHING * (reading - open_[k]) + open_[k] * (unsold + AFTER_BUY * bought)
            others = after / reading
            for later in range(k + 1, size):
                is_same = self.shelf[later] == self.shelf[k]
                open_[later] = open_[later] * (others + is_same * (unsold - others))
            unspent = unspent * unsold
            reading = after
        return reward

    def draw(self, uniforms: Sequence[Sequence[float]]) -> tuple[list[int], list[int]]:
        """Return the positions clicked and bought, ascending, of one banner.

        Args:
            uniforms: (>= K, 3) in [0, 1); position k reads row k alone.
        """
        clicked: list[int] = []
        bought: list[int] = []
        emptied = set()
        for k, (clicking, buying, going) in enumerate(uniforms[: len(self.click)]):
            goes_on = AFTER_NOTHING
            if self.shelf[k] not in emptied and clicking < self.click[k]:
                clicked.append(k)
                goes_on = AFTER_CLICK
                if buying < self.buy[k]:
                    bought.append(k)
                    emptied.add(self.shelf[k])
                    goes_on = AFTER_BUY
            if going >= goes_on:
                break
        return clicked, bought
