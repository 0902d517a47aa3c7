"""What every seeded shop shares, whatever its principles: streams, circumstances, responses.

Dimensions: N products, K positions.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import ClassVar, Final, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from schemas.limits import BANNER_SIZE
from schemas.products import Product
from simulator.circumstances import Circumstances, SyntheticShare
from simulator.errors import VisitFromAnotherWorld, WorldNotPossible
from simulator.shoppers import OPENING
from simulator.world import (
    DEFAULT_POINTS,
    Memory,
    PastPurchaseOrder,
    Points,
    Response,
    Visit,
    delays,
    memory_of,
    remember,
    showable,
)

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
V = TypeVar("V", bound=Visit)

AWAY: Final = 0.2
"""Share of the products that are not on sale, where there is a turnover."""
NOISE_CLICK: Final = 0.2
_TURNOVER_VISITS: Final = 10_000
_SALE_LASTS: Final = 100
"""Visits for which what is on sale stays the same."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """What a visit owes to its stream; attributes as in `Visit`."""

    seed: int
    number: int
    at: datetime
    memory: Memory
    is_bot: bool


class SeededWorld(ABC, Generic[V]):
    """A shop made of a seed: it fulfils `World`, given how its shoppers come and choose.

    Args:
        products: in row order, `p0`, `p1`, ...
        seed: of what comes and goes.
        share: how visits are mixed.
        delay: factor on the delays of clicks and orders.
        circumstances: what makes it harder.

    Raises:
        WorldNotPossible: fewer than six products, or a delay below zero.
    """

    _kind: type[V]
    _noise_per_position: ClassVar[int]

    def __init__(
        self,
        products: tuple[Product, ...],
        *,
        seed: int,
        share: SyntheticShare,
        delay: float,
        circumstances: Circumstances,
    ) -> None:
        if len(products) <= BANNER_SIZE or delay < 0:
            raise WorldNotPossible("a shop needs six products, and no delay below zero")
        self._products = products
        self._rows = {product.product_id: row for row, product in enumerate(products)}
        self._share, self._delay, self._circumstances = share, delay, circumstances
        self._phase = np.random.default_rng((seed, len(products), 2)).random(len(products))
        self._sale: tuple[int, Bools] | None = None

    @abstractmethod
    def _visit(self, arrival: Arrival, rng: np.random.Generator) -> V:
        """Return the next visit of a stream, from as much randomness as any other."""

    @abstractmethod
    def _past(self) -> list[PastPurchaseOrder]:
        """Return the past as if every product had been on sale."""

    @abstractmethod
    def _mean(self, visit: V, rows: Ints, on_sale: Bools | None, points: Points) -> float:
        """Return the exact expected reward of (K,) rows; what is not on sale earns nothing."""

    @abstractmethod
    def _alone(self, visit: V, points: Points) -> Array:
        """Return (N,) the exact expected reward of each product shown alone, all on sale."""

    @abstractmethod
    def _drawn(
        self, visit: V, rows: Ints, on_sale: Bools | None, uniforms: Array
    ) -> tuple[list[int], list[int]]:
        """Return the positions clicked and bought, ascending, by (5, ...) uniforms."""

    @abstractmethod
    def _best(self, visit: V, points: Points) -> Ints:
        """Return the rows of a banner near the best, all on sale."""

    @abstractmethod
    def _habitual(self, visit: V) -> Ints:
        """Return the rows that she always buys; empty for the anonymous."""

    @property
    def products(self) -> Sequence[Product]:
        """Return everything that is ever sold, in row order."""
        return self._products

    def past_orders(self) -> Iterator[PastPurchaseOrder]:
        """Yield the orders before the recommender came, in the order of time."""
        return iter(self._past_on_sale)

    @cached_property
    def _past_on_sale(self) -> list[PastPurchaseOrder]:
        on_sale = self._on_sale(0)
        if on_sale is None:
            return self._past()
        orders = []
        for order in self._past():
            sold = tuple(each for each in order.product_ids if on_sale[self._rows[each]])
            if sold:
                orders.append(
                    PastPurchaseOrder(order.user_id, order.occurred_at, order.order_id, sold)
                )
        return orders

    @cached_property
    def _before(self) -> Memory:
        """Return every shopper's last purchases when the first visit begins."""
        return memory_of(self.past_orders())

    def visits(self, seed: int) -> Iterator[V]:
        """Yield visits without end, at the times of the rhythm."""
        rng = np.random.default_rng((seed, len(self.products)))
        bots = np.random.default_rng((seed, len(self.products), 1))
        rhythm = self._circumstances.rhythm
        memory = dict(self._before)
        at, number = OPENING, 0
        while True:
            usual = float(rng.exponential(rhythm.seconds_between))
            at += timedelta(seconds=rhythm.gap((at - OPENING).total_seconds(), usual))
            is_bot = bots.random() < self._circumstances.bots
            yield self._visit(Arrival(seed, number, at, memory, is_bot), rng)
            number += 1

    def _has_moved(self, shopper: int, number: int) -> bool:
        """Return True if the shopper is after other things by now."""
        moment = self._circumstances.taste_drift
        return moment is not None and number >= moment and shopper % 2 == 0

    def available(self, visit: Visit) -> Bools | None:
        """Return (N,) which products are on sale at a visit; None: all are."""
        return self._on_sale(visit.number)

    def _on_sale(self, number: int) -> Bools | None:
        if not self._circumstances.turnover:
            return None
        since = number // _SALE_LASTS
        if self._sale is None or self._sale[0] != since:
            turns = self._circumstances.turnover * since * _SALE_LASTS / _TURNOVER_VISITS
            on_sale = (self._phase + turns) % 1.0 >= AWAY
            on_sale.setflags(write=False)
            self._sale = since, on_sale
            return on_sale
        return self._sale[1]

    def _page(self, number: int, row: int) -> str | None:
        """Return the id of the product viewed; the home page where it is not on sale."""
        on_sale = self._on_sale(number)
        return f"p{row}" if on_sale is None or on_sale[row] else None

    def _own(self, visit: Visit) -> V:
        if not isinstance(visit, self._kind):
            raise VisitFromAnotherWorld(f"this visit was not made by a {type(self).__name__}")
        return visit

    def _shown(self, visit: V, banner: Sequence[str]) -> tuple[Ints, Bools | None]:
        """Return (K,) rows, and which of them are on sale; None: all."""
        rows = np.array(showable(visit, banner, self._rows), np.int64)
        on_sale = self.available(visit)
        return rows, None if on_sale is None else on_sale[rows]

    def respond(self, visit: Visit, banner: Sequence[str], rng: np.random.Generator) -> Response:
        """Return what the shopper does with the banner, and remember what she bought.

        A product that is not on sale earns nothing wherever it stands.

        Raises:
            BannerNotShowable: see `simulator.world.showable`.
            VisitFromAnotherWorld: this world did not make the visit.
        """
        own = self._own(visit)
        rows, on_sale = self._shown(own, banner)
        uniforms = rng.random((BANNER_SIZE, self._noise_per_position))
        searching = rng.random(2).tolist()
        click_delay, thinking = delays(rng, self._delay)
        clicked, bought = self._drawn(own, rows, on_sale, uniforms)
        if self._circumstances.noise:
            disturbed = rng.random(1 + BANNER_SIZE).tolist()
            if disturbed[0] < self._circumstances.noise:
                clicks = enumerate(disturbed[1 : 1 + len(rows)])
                clicked, bought = [place for place, click in clicks if click < NOISE_CLICK], []
        if visit.is_bot:
            clicked, bought = list(range(len(rows))), []
        response = Response(
            clicked=tuple(clicked),
            bought=tuple(bought),
            also_bought=self._found_alone(own, banner, searching),
            click_delay_seconds=click_delay,
            order_delay_seconds=click_delay * (1 + len(clicked)) + thinking,
        )
        remember(visit, response.order(banner))
        return response

    def _found_alone(
        self, visit: V, banner: Sequence[str], uniforms: Sequence[float]
    ) -> tuple[str, ...]:
        """Return what she buys without the banner: what she always buys, or the product viewed."""
        if visit.is_bot or uniforms[0] >= self._share.searching:
            return ()
        found = [f"p{row}" for row in self._habitual(visit).tolist()]
        if visit.viewed_product_id is not None:
            found.append(visit.viewed_product_id)
        if not found:
            return ()
        chosen = found[int(uniforms[1] * len(found))]
        on_sale = self.available(visit)
        if chosen in banner or (on_sale is not None and not on_sale[self._rows[chosen]]):
            return ()
        return (chosen,)

    def expected_reward(
        self, visit: Visit, banner: Sequence[str], points: Points = DEFAULT_POINTS
    ) -> float:
        """Return the exact expected reward of a banner, in closed form, noise and bots included."""
        own = self._own(visit)
        rows, on_sale = self._shown(own, banner)
        if visit.is_bot:
            return points.click * len(rows)
        noise = self._circumstances.noise
        mean = self._mean(own, rows, on_sale, points)
        return (1.0 - noise) * mean + noise * points.click * NOISE_CLICK * len(rows)

    def expected_points(self, visit: Visit, points: Points = DEFAULT_POINTS) -> Array:
        """Return (N,) the exact expected reward of each product shown alone; 0: it is viewed."""
        own = self._own(visit)
        if visit.is_bot:
            found = np.full(len(self.products), points.click)
        else:
            noise, on_sale = self._circumstances.noise, self.available(visit)
            found = self._alone(own, points)
            if on_sale is not None:
                found = found * on_sale
            found = (1.0 - noise) * found + noise * points.click * NOISE_CLICK
        if visit.viewed_product_id is not None:
            found[self._rows[visit.viewed_product_id]] = 0.0
        return np.asarray(found)

    def oracle(self, visit: Visit, points: Points = DEFAULT_POINTS) -> tuple[str, ...]:
        """Return a banner near the best: greedy and swaps among the products that matter.

        On small shops it is within 1% of brute force, mostly equal to it (the tests say so).
        """
        return tuple(f"p{row}" for row in self._best(self._own(visit), points).tolist())
