"""A seeded shop of aisles and shelves whose expected rewards and best banners are known."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.limits import BANNER_SIZE
from schemas.products import Product
from simulator.cascade import NOISE_PER_POSITION, Cascade
from simulator.circumstances import ORDINARY, SyntheticShare
from simulator.errors import VisitFromAnotherWorld, WorldNotPossible
from simulator.habits import NEED_UNIFORMS, drawn, make_habits, need_of, past_orders
from simulator.oracle import best_banner
from simulator.shelves import make_shelves
from simulator.shoppers import OPENING, cumulated_share
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
    remembered,
    showable,
)

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

IN_AISLE: Final = -2.0
IN_DEPARTMENT: Final = -3.5
ELSEWHERE: Final = -6.0
"""Logits that a product loses by its distance from what the visit needs."""
RENOWN: Final = 0.2
LOOKS: Final = 1.1
APPEAL: Final = 2.4
REGULAR: Final = 1.0
CLICK_OFFSET: Final = 1.0
BUY_OFFSET: Final = 2.2
_NOTHING: Final = np.empty(0, np.int64)
_CANDIDATES: Final = 40
_SECONDS_BETWEEN_VISITS: Final = 20.0
_VISIT_UNIFORMS: Final = NEED_UNIFORMS + 5


@dataclass(frozen=True, slots=True)
class AislesVisit(Visit):
    """A visit, and what only the world knows of it.

    Attributes:
        shopper: who it is, also when anonymous.
        need: distinct shelves she wants something from.
    """

    shopper: int = field(repr=False, compare=False)
    need: tuple[int, ...] = field(repr=False, compare=False)


class AislesWorld:
    """A shop of departments, aisles and shelves, built on other principles than `SyntheticWorld`.

    Every visit needs something from one or two shelves, mostly of the aisles its shopper lives in,
    or from the four shelves of a mission. The need shows in the product viewed and, roughly, in
    what she bought before. A product converts by its distance from the need in the tree, its
    renown, the shopper's brands and price level, whether she buys it regularly, and by two traits
    the past does not tell: how much it draws the eye, and how well it sells once clicked. Banners
    are read in a cascade in which products of one shelf take from each other
    (see `simulator.cascade`). There are no latent vectors.

    What a shopper wants does not depend on what she bought before, so every policy meets the same
    wishes; what she bought is what the next visit's context shows.

    Args:
        products: number of products, at least six; twenty stand on a shelf, more above 12,000.
        seed: of products, shoppers and their past.
        shoppers: number of shoppers with a user id.
        past: number of past orders.
        share: how visits are mixed.
        delay: factor on the delays of clicks (median 4 s) and orders (30 s later); 0: at once.

    Raises:
        WorldNotPossible: a size or factor makes no shop.
    """

    def __init__(
        self,
        products: int = 1000,
        *,
        seed: int = 0,
        shoppers: int = 1000,
        past: int = 12_000,
        share: SyntheticShare = ORDINARY,
        delay: float = 1.0,
    ) -> None:
        if products <= BANNER_SIZE or shoppers < 1 or past < 0 or delay < 0:
            raise WorldNotPossible(
                "a shop needs six products, one shopper, and neither past nor delay below zero"
            )
        roots = np.random.SeedSequence(seed).spawn(3)
        self._shelves = make_shelves(products, np.random.default_rng(roots[0]))
        self._habits = make_habits(shoppers, self._shelves, np.random.default_rng(roots[1]))
        self._past_root = roots[2]
        self._past_size = past
        self._share, self._delay = share, delay
        self._rows = {product.product_id: row for row, product in enumerate(self.products)}
        self._activity = cumulated_share(self._habits.activity)
        self._demand = cumulated_share(self._shelves.demand)

    @property
    def products(self) -> Sequence[Product]:
        """Return everything that is sold, in row order."""
        return self._shelves.products

    @cached_property
    def _past(self) -> list[PastPurchaseOrder]:
        rng = np.random.default_rng(self._past_root)
        return past_orders(self._habits, self._shelves, orders=self._past_size, rng=rng)

    def past_orders(self) -> Iterator[PastPurchaseOrder]:
        """Yield the orders before the recommender came, in the order of time."""
        return iter(self._past)

    @cached_property
    def _before(self) -> Memory:
        """Return every shopper's last purchases when the first visit begins."""
        return memory_of(self.past_orders())

    def visits(self, seed: int) -> Iterator[AislesVisit]:
        """Yield visits without end, twenty simulated seconds apart on average."""
        rng = np.random.default_rng((seed, len(self.products)))
        memory = dict(self._before)
        at = OPENING
        number = 0
        while True:
            at += timedelta(seconds=float(rng.exponential(_SECONDS_BETWEEN_VISITS)))
            yield self._visit(seed, number, at, memory, rng.random(_VISIT_UNIFORMS).tolist())
            number += 1

    def _visit(
        self, seed: int, number: int, at: datetime, memory: Memory, u: Sequence[float]
    ) -> AislesVisit:
        shopper = bisect_right(self._activity, u[0])
        need = need_of(self._habits, self._shelves, self._demand, shopper, u[5:])
        user_id = None if u[1] < self._share.anonymous else f"s{shopper}"
        viewed = None
        if u[2] < self._share.viewed:
            shelf = self._shelves.on(need[int(u[3] * len(need))])
            viewed = f"p{drawn(shelf, self._shelves.share[shelf], u[4])}" if len(shelf) else None
        return AislesVisit(
            seed=seed,
            number=number,
            user_id=user_id,
            viewed_product_id=viewed,
            purchased_product_ids=remembered(memory, user_id),
            occurred_at=at,
            memory=memory,
            shopper=shopper,
            need=need,
        )

    def _own(self, visit: Visit) -> AislesVisit:
        if not isinstance(visit, AislesVisit):
            raise VisitFromAnotherWorld("this visit was not made by an AislesWorld")
        return visit

    def _distance(self, visit: AislesVisit) -> Array:
        """Return (S,) the logits that products of each shelf lose by their distance."""
        shop = self._shelves
        lost = np.full(len(shop.aisle), ELSEWHERE)
        need = list(visit.need)
        for shelf in need:
            lost[shop.department == shop.department[shelf]] = IN_DEPARTMENT
        lost[[shelf ^ 1 for shelf in need]] = IN_AISLE
        lost[need] = 0.0
        return lost

    def _chances(self, visit: AislesVisit, rows: Ints) -> tuple[Array, Array]:
        """Return two (R,): the chance of a click where read, and of buying where clicked."""
        shop = self._shelves
        wish = self._distance(visit)[shop.shelf[rows]] + RENOWN * shop.renown[rows]
        wish += self._habits.preference(visit.shopper, rows, shop)
        regulars = self._regulars(visit)
        if len(regulars):
            wish += REGULAR * (rows[:, None] == regulars).any(axis=1)
        click = 1.0 / (1.0 + np.exp(CLICK_OFFSET - wish - LOOKS * shop.looks[rows]))
        buy = 1.0 / (1.0 + np.exp(BUY_OFFSET - 0.5 * wish - APPEAL * shop.appeal[rows]))
        return click, buy

    def _regulars(self, visit: AislesVisit) -> Ints:
        """Return the rows she buys again and again; nothing is known of the anonymous."""
        return _NOTHING if visit.user_id is None else self._habits.regulars[visit.shopper]

    def _cascade(self, visit: Visit, banner: Sequence[str]) -> Cascade:
        rows = np.array(showable(visit, banner, self._rows), np.int64)
        click, buy = self._chances(self._own(visit), rows)
        return Cascade(click.tolist(), buy.tolist(), self._shelves.shelf[rows].tolist())

    def respond(self, visit: Visit, banner: Sequence[str], rng: np.random.Generator) -> Response:
        """Return what the shopper does with the banner, and remember what she bought.

        Raises:
            BannerNotShowable: see `simulator.world.showable`.
            VisitFromAnotherWorld: no AislesWorld made the visit.
        """
        uniforms = rng.random((BANNER_SIZE, NOISE_PER_POSITION)).tolist()
        searching = rng.random(2).tolist()
        click_delay, thinking = delays(rng, self._delay)
        clicked, bought = self._cascade(visit, banner).draw(uniforms)
        response = Response(
            clicked=tuple(clicked),
            bought=tuple(bought),
            also_bought=self._found_alone(self._own(visit), banner, searching),
            click_delay_seconds=click_delay,
            order_delay_seconds=click_delay * (1 + len(clicked)) + thinking,
        )
        remember(visit, response.order(banner))
        return response

    def _found_alone(
        self, visit: AislesVisit, banner: Sequence[str], uniforms: Sequence[float]
    ) -> tuple[str, ...]:
        """Return what she buys without the banner: a regular product, or the one viewed."""
        if uniforms[0] >= self._share.searching:
            return ()
        found = [f"p{row}" for row in self._regulars(visit).tolist()]
        if visit.viewed_product_id is not None:
            found.append(visit.viewed_product_id)
        if not found:
            return ()
        chosen = found[int(uniforms[1] * len(found))]
        return () if chosen in banner else (chosen,)

    def expected_reward(
        self, visit: Visit, banner: Sequence[str], points: Points = DEFAULT_POINTS
    ) -> float:
        """Return the exact expected reward of a banner, in closed form."""
        return float(self._cascade(visit, banner).expected(points))

    def oracle(self, visit: Visit, points: Points = DEFAULT_POINTS) -> tuple[str, ...]:
        """Return a banner near the best: greedy and swaps among the 40 best products alone.

        On small shops it is within 1% of brute force, mostly equal to it (the tests say so).
        """
        own = self._own(visit)
        rows = self._within_reach(own)
        click, buy = self._chances(own, rows)
        alone = click * (points.click + points.buy * buy)
        best = np.argsort(-alone, kind="stable")[:_CANDIDATES]
        click, buy, shelf = click[best], buy[best], self._shelves.shelf[rows[best]]

        def expected(places: Ints) -> Array:
            turned = places.T
            return np.asarray(
                Cascade(click[turned], buy[turned], shelf[turned]).expected(points)  # type: ignore[arg-type]
            )

        found = best_banner(len(best), BANNER_SIZE, expected)
        return tuple(f"p{rows[best[place]]}" for place in found)

    def _within_reach(self, visit: AislesVisit) -> Ints:
        """Return the rows that the best banner may hold: all near the need, without the viewed."""
        near = sorted({shelf for need in visit.need for shelf in (need, need ^ 1)})
        rows = np.concatenate([self._shelves.on(shelf) for shelf in near])
        if len(rows) <= 2 * BANNER_SIZE:
            rows = np.arange(len(self.products))
        if visit.viewed_product_id is not None:
            rows = rows[rows != self._rows[visit.viewed_product_id]]
        return np.asarray(rows)
