"""A seeded shop of aisles and shelves whose expected rewards and best banners are known."""

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.limits import BANNER_SIZE
from simulator.cascade import NOISE_PER_POSITION, Cascade
from simulator.circumstances import NOTHING_SPECIAL, ORDINARY, Circumstances, SyntheticShare
from simulator.errors import WorldNotPossible
from simulator.habits import NEED_UNIFORMS, Habits, drawn, make_habits, need_of, past_orders
from simulator.oracle import best_banner
from simulator.seeded import Arrival, Bools, SeededWorld
from simulator.shelves import make_shelves
from simulator.shoppers import cumulated_share
from simulator.world import PastPurchaseOrder, Points, Visit, remembered

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


class AislesWorld(SeededWorld[AislesVisit]):
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
        circumstances: what makes it harder: tastes that move, turnover, noise, bots, the rhythm.

    Raises:
        WorldNotPossible: a size or factor makes no shop.
    """

    _kind = AislesVisit
    _noise_per_position = NOISE_PER_POSITION

    def __init__(
        self,
        products: int = 1000,
        *,
        seed: int = 0,
        shoppers: int = 1000,
        past: int = 12_000,
        share: SyntheticShare = ORDINARY,
        delay: float = 1.0,
        circumstances: Circumstances = NOTHING_SPECIAL,
    ) -> None:
        if products <= BANNER_SIZE or shoppers < 1 or past < 0:
            raise WorldNotPossible("a shop needs six products, one shopper and no past below zero")
        roots = np.random.SeedSequence(seed).spawn(4)
        shop = make_shelves(products, np.random.default_rng(roots[0]))
        super().__init__(
            shop.products, seed=seed, share=share, delay=delay, circumstances=circumstances
        )
        self._shelves = shop
        self._habits = make_habits(shoppers, shop, np.random.default_rng(roots[1]))
        self._moved = self._habits
        if circumstances.taste_drift is not None:
            self._moved = make_habits(shoppers, shop, np.random.default_rng(roots[3]))
        self._past_root, self._past_size = roots[2], past
        self._activity = cumulated_share(self._habits.activity)
        self._demand = cumulated_share(shop.demand)

    def _past(self) -> list[PastPurchaseOrder]:
        return past_orders(
            self._habits,
            self._shelves,
            orders=self._past_size,
            circumstances=self._circumstances,
            rng=np.random.default_rng(self._past_root),
        )

    def _visit(self, arrival: Arrival, rng: np.random.Generator) -> AislesVisit:
        u: list[float] = rng.random(_VISIT_UNIFORMS).tolist()
        shopper = bisect_right(self._activity, u[0])
        hers = self._as_of(shopper, arrival.number)
        need = need_of(hers, self._shelves, self._demand, shopper, u[5:])
        is_anonymous = u[1] < self._share.anonymous or arrival.is_bot
        user_id = None if is_anonymous else f"s{shopper}"
        viewed = None
        if u[2] < self._share.viewed:
            shelf = self._shelves.on(need[int(u[3] * len(need))])
            viewed = self._page(arrival.number, drawn(shelf, self._shelves.share[shelf], u[4]))
        return AislesVisit(
            seed=arrival.seed,
            number=arrival.number,
            user_id=user_id,
            viewed_product_id=viewed,
            purchased_product_ids=remembered(arrival.memory, user_id),
            occurred_at=arrival.at,
            memory=arrival.memory,
            is_bot=arrival.is_bot,
            shopper=shopper,
            need=need,
        )

    def _as_of(self, shopper: int, number: int) -> Habits:
        return self._moved if self._has_moved(shopper, number) else self._habits

    def _habitual(self, visit: AislesVisit) -> Ints:
        if visit.user_id is None:
            return _NOTHING
        hers = self._as_of(visit.shopper, visit.number)
        return np.asarray(hers.regulars[visit.shopper])

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
        hers = self._as_of(visit.shopper, visit.number)
        wish += hers.preference(visit.shopper, rows, shop)
        regulars = self._habitual(visit)
        if len(regulars):
            wish += REGULAR * (rows[:, None] == regulars).any(axis=1)
        click = 1.0 / (1.0 + np.exp(CLICK_OFFSET - wish - LOOKS * shop.looks[rows]))
        buy = 1.0 / (1.0 + np.exp(BUY_OFFSET - 0.5 * wish - APPEAL * shop.appeal[rows]))
        return click, buy

    def _cascade(self, visit: AislesVisit, rows: Ints, on_sale: Bools | None) -> Cascade:
        """Return how a banner of (K,) rows is read; what is not on sale is passed by."""
        click, buy = self._chances(visit, rows)
        if on_sale is not None:
            click = click * on_sale
        return Cascade(click.tolist(), buy.tolist(), self._shelves.shelf[rows].tolist())

    def _mean(self, visit: AislesVisit, rows: Ints, on_sale: Bools | None, points: Points) -> float:
        return float(self._cascade(visit, rows, on_sale).expected(points))

    def _alone(self, visit: AislesVisit, points: Points) -> Array:
        click, buy = self._chances(visit, np.arange(len(self.products)))
        return np.asarray(Cascade([click], [buy], [self._shelves.shelf]).expected(points))

    def _drawn(
        self, visit: AislesVisit, rows: Ints, on_sale: Bools | None, uniforms: Array
    ) -> tuple[list[int], list[int]]:
        return self._cascade(visit, rows, on_sale).draw(uniforms.tolist())

    def _best(self, visit: AislesVisit, points: Points) -> Ints:
        rows = self._within_reach(visit)
        click, buy = self._chances(visit, rows)
        alone = click * (points.click + points.buy * buy)
        best = np.argsort(-alone, kind="stable")[:_CANDIDATES]
        click, buy, rows = click[best], buy[best], rows[best]
        shelf = self._shelves.shelf[rows]

        def expected(places: Ints) -> Array:
            turned = places.T
            cascade = Cascade(list(click[turned]), list(buy[turned]), list(shelf[turned]))
            return np.asarray(cascade.expected(points))

        return rows[best_banner(len(rows), BANNER_SIZE, expected)]

    def _within_reach(self, visit: AislesVisit) -> Ints:
        """Return the rows that the best banner may hold: on sale and near the need."""
        near = sorted({shelf for need in visit.need for shelf in (need, need ^ 1)})
        rows = np.concatenate([self._shelves.on(shelf) for shelf in near])
        showable = self._showable(visit, rows)
        if len(showable) <= 2 * BANNER_SIZE:
            showable = self._showable(visit, np.arange(len(self.products)))
        return showable

    def _showable(self, visit: AislesVisit, rows: Ints) -> Ints:
        on_sale = self.available(visit)
        if on_sale is not None:
            rows = rows[on_sale[rows]]
        if visit.viewed_product_id is not None:
            rows = rows[rows != self._rows[visit.viewed_product_id]]
        return rows
