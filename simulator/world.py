"""What every simulated shop is: products, a past, visits, and how shoppers respond to a banner.

A world knows the truth that a recommender must find out: `expected_reward` and `oracle` tell it to
those who measure, never to the policy.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from schemas.limits import BANNER_SIZE, RECENT_PURCHASES
from schemas.products import Product
from simulator.errors import BannerNotShowable

Memory = dict[str, tuple[str, ...]]
"""Every shopper's last purchases, oldest first; it belongs to one stream of visits."""


@dataclass(frozen=True, slots=True)
class Points:
    """What a banner earns: the part of a reward specification that a world needs.

    Attributes:
        click: points of every clicked position, also when bought.
        buy: points of the first bought product.
        further: points of every further distinct product bought.
    """

    click: float = 0.1
    buy: float = 1.0
    further: float = 1.5

    def reward(self, clicks: float, bought: int) -> float:
        """Return the reward of a banner.

        Example:
            >>> Points().reward(clicks=3, bought=2)
            2.8
        """
        purchases = self.buy + self.further * (bought - 1) if bought else 0.0
        return self.click * clicks + purchases


DEFAULT_POINTS: Final = Points()
_CLICK_LOG_SECONDS: Final = math.log(4.0)
_THINKING_LOG_SECONDS: Final = math.log(30.0)
_DELAY_SPREAD: Final = 0.5


@dataclass(frozen=True, slots=True)
class PastPurchaseOrder:
    """One order from before the recommender came.

    Attributes:
        product_ids: distinct products of the order.
    """

    user_id: str
    occurred_at: datetime
    order_id: str
    product_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Visit:
    """A shopper asks for a banner. Worlds extend it by what only they know of the shopper.

    Attributes:
        seed: the seed of the stream it belongs to.
        number: 0-based place in that stream.
        user_id: the shopper; None: anonymous.
        viewed_product_id: the product page it happens on; None: the storefront's home.
        purchased_product_ids: the shopper's true last purchases, oldest first, at most ten.
        occurred_at: simulated time, aware UTC.
        memory: the stream's memory, which `World.respond` advances.
        is_bot: nobody who buys; the shop earns nothing by it whatever it clicks, so those who
            measure leave it out.
    """

    seed: int
    number: int
    user_id: str | None
    viewed_product_id: str | None
    purchased_product_ids: tuple[str, ...]
    occurred_at: datetime
    memory: Memory = field(repr=False, compare=False)
    is_bot: bool = field(default=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Response:
    """What a shopper did with a banner.

    Attributes:
        clicked: positions, ascending.
        bought: positions, ascending.
        also_bought: products of the same order that the banner did not show.
        click_delay_seconds: simulated time from the answer to the first click; further clicks
            follow at the same distance.
        order_delay_seconds: simulated time from the answer to the order, after every click.
    """

    clicked: tuple[int, ...] = ()
    bought: tuple[int, ...] = ()
    also_bought: tuple[str, ...] = ()
    click_delay_seconds: float = 0.0
    order_delay_seconds: float = 0.0

    def order(self, banner: Sequence[str]) -> tuple[str, ...]:
        """Return the distinct products of the order, the banner's first; empty: no order."""
        return (*(banner[position] for position in self.bought), *self.also_bought)

    def reward(self, points: Points = DEFAULT_POINTS) -> float:
        """Return what the banner earned."""
        return points.reward(len(self.clicked), len(self.bought))


class World(Protocol):
    """A simulated shop.

    Promise: the same constructor arguments and the same seed give the same products, past and
    visits, whatever the policy shows (only `purchased_product_ids` follows what was bought);
    `respond` draws the same amount of randomness whatever the banner. So two policies on one seed
    meet the same shoppers with the same noise. Streams are independent of each other; a world
    itself never changes and may be shared between threads.
    """

    @property
    def products(self) -> Sequence[Product]:
        """Return everything that is sold; a product's place here is its row."""

    def past_orders(self) -> Iterator[PastPurchaseOrder]:
        """Yield the orders before the recommender came, in the order of time."""

    def visits(self, seed: int) -> Iterator[Visit]:
        """Yield visits in the order of time; each knows the responses given so far."""

    def available(self, visit: Visit) -> npt.NDArray[np.bool_] | None:
        """Return (N,) which products may be shown at a visit, by row; None: all of them."""

    def respond(self, visit: Visit, banner: Sequence[str], rng: np.random.Generator) -> Response:
        """Return what the shopper does, and advance the stream's memory by what she bought.

        Raises:
            BannerNotShowable: see `showable`.
            VisitFromAnotherWorld: this world did not make the visit.
        """

    def expected_reward(
        self, visit: Visit, banner: Sequence[str], points: Points = DEFAULT_POINTS
    ) -> float:
        """Return the exact mean of `respond(...).reward(points)` over the noise."""

    def expected_points(
        self, visit: Visit, points: Points = DEFAULT_POINTS
    ) -> npt.NDArray[np.float64]:
        """Return (N,) the expected reward of each product shown alone; the one viewed has 0."""

    def oracle(self, visit: Visit, points: Points = DEFAULT_POINTS) -> tuple[str, ...]:
        """Return the banner of one who knows the world; each world says how near to best."""


def visit_rng(visit: Visit) -> np.random.Generator:
    """Return the generator of a visit's noise: the same for every policy on the same seed."""
    return np.random.default_rng((visit.seed, visit.number))


def delays(rng: np.random.Generator, factor: float) -> tuple[float, float]:
    """Return the seconds to the first click and, after the last, to the order: log-normal.

    Args:
        rng: two normals are drawn from it.
        factor: on both; with 1 the medians are 4 and 30 seconds.
    """
    click, thinking = rng.standard_normal(2).tolist()
    return (
        factor * math.exp(_CLICK_LOG_SECONDS + _DELAY_SPREAD * click),
        factor * math.exp(_THINKING_LOG_SECONDS + _DELAY_SPREAD * thinking),
    )


def remembered(memory: Memory, user_id: str | None) -> tuple[str, ...]:
    """Return a shopper's last purchases; nothing is known of the anonymous."""
    return () if user_id is None else memory.get(user_id, ())


def memory_of(orders: Iterable[PastPurchaseOrder]) -> Memory:
    """Return what is remembered after orders, given in the order of time."""
    memory: Memory = {}
    for order in orders:
        before = memory.get(order.user_id, ())
        memory[order.user_id] = (*before, *order.product_ids)[-RECENT_PURCHASES:]
    return memory


def remember(visit: Visit, order: Sequence[str]) -> None:
    """Advance the memory of a visit's stream by an order."""
    if visit.user_id is not None and order:
        before = visit.memory.get(visit.user_id, ())
        visit.memory[visit.user_id] = (*before, *order)[-RECENT_PURCHASES:]


def showable(visit: Visit, banner: Sequence[str], row_of: dict[str, int]) -> list[int]:
    """Return the rows of a banner.

    Raises:
        BannerNotShowable: it repeats a product, shows an unknown one or the product viewed, or has
            more than five positions.
    """
    if len(banner) > BANNER_SIZE:
        raise BannerNotShowable(f"{len(banner)} positions; a banner has at most {BANNER_SIZE}")
    if len(set(banner)) < len(banner):
        raise BannerNotShowable("a product stands on two positions")
    if visit.viewed_product_id in banner:
        raise BannerNotShowable("the product viewed is on the banner")
    try:
        return [row_of[product_id] for product_id in banner]
    except KeyError as unknown:
        raise BannerNotShowable(f"unknown product {unknown}") from None
