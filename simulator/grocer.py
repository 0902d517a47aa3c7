"""A real grocery: households come trip by trip with the baskets they really bought."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.limits import BANNER_SIZE
from schemas.products import Product
from simulator.errors import VisitFromAnotherWorld, WorldNotPossible
from simulator.grocery import PAST_WEEKS, Parity, read_grocery
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

EXAMINATION: Final = np.array([0.95, 0.85, 0.75, 0.65, 0.55])
"""Probability that a household looks at each position."""
CLICK_WANTED: Final = 0.85
"""Probability that a product seen and wanted is clicked; else it is bought without a click."""
CLICK_UNWANTED: Final = 0.02
"""Probability that a product seen and not wanted is clicked all the same."""


@dataclass(frozen=True, slots=True)
class GrocerVisit(Visit):
    """A trip, and what only the world knows of it.

    Attributes:
        basket: what the household buys on this trip, whatever the banner.
    """

    basket: tuple[str, ...] = field(repr=False, compare=False)


class GrocerWorld:
    """The households of a real grocery (`The Complete Journey`), on the year's second half.

    The first 26 weeks are the past. Every later trip is one visit, in true time order, for as long
    as the year lasts. A product on the banner that is in the trip's basket is bought. She looks at
    position k with probability .95, .85, .75, .65, .55; clicks 85% of the wanted and 2% of the
    unwanted products she looks at (so one bought product in seven that she saw has no click, and a
    product she overlooked is bought without one). The order is the whole basket. Mostly she is on
    the storefront's home page; a share of the visits happen on the page of a product of the basket,
    which the banner cannot show again.

    Args:
        seed: of which page a visit happens on and of how baskets are dealt; visits also take one.
        parity: households with an odd id; the even ones are kept apart for a final examination.
        products: so many products sold most often in the first 26 weeks.
        cache: folder to keep the arrays in, so that loading takes a moment; None: not kept.
        viewed_share: share of visits on a product page (of trips with two products or more).
        banners_per_trip: a trip's basket is dealt to so many visits, each with an order of its own.
        delay: factor on the delays of clicks (median 4 s) and orders (30 s later); 0: at once.

    Raises:
        GroceryNotInstalled: the extra `demo` is missing.
        WorldNotPossible: a number makes no shop.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        parity: Parity = "odd",
        products: int = 5000,
        cache: Path | None = None,
        viewed_share: float = 0.2,
        banners_per_trip: int = 1,
        delay: float = 1.0,
    ) -> None:
        if products <= BANNER_SIZE or banners_per_trip < 1 or delay < 0:
            raise WorldNotPossible("six products and one banner per trip at least, delay >= 0")
        if not 0.0 <= viewed_share <= 1.0:
            raise WorldNotPossible("viewed_share lies between 0 and 1")
        self._grocery = read_grocery(parity, products=products, cache=cache)
        self._seed, self._viewed_share = seed, viewed_share
        self._banners_per_trip, self._delay = banners_per_trip, delay
        self._products = self._described()
        self._ids = [product.product_id for product in self._products]
        self._rows = {product_id: row for row, product_id in enumerate(self._ids)}
        self._first_visit = int(np.searchsorted(self._grocery.week, PAST_WEEKS, side="right"))

    def _described(self) -> tuple[Product, ...]:
        shop = self._grocery
        return tuple(
            Product(
                product_id=f"g{number}",
                title=str(title),
                category=str(category),
                brand=str(brand),
                price_cents=int(price),
            )
            for number, title, category, brand, price in zip(
                shop.product, shop.title, shop.category, shop.brand, shop.price_cents, strict=True
            )
        )

    @property
    def products(self) -> Sequence[Product]:
        """Return everything that is sold, the most sold first."""
        return self._products

    def _order(self, place: int) -> PastPurchaseOrder:
        shop = self._grocery
        rows = shop.row[shop.start[place] : shop.start[place + 1]]
        return PastPurchaseOrder(
            user_id=f"h{shop.household[place]}",
            occurred_at=datetime.fromtimestamp(int(shop.second[place]), UTC),
            order_id=f"b{shop.order[place]}",
            product_ids=tuple(self._ids[row] for row in rows),
        )

    def past_orders(self) -> Iterator[PastPurchaseOrder]:
        """Yield the orders of weeks 1 to 26, in the order of time."""
        return (self._order(place) for place in range(self._first_visit))

    def trips(self) -> Iterator[PastPurchaseOrder]:
        """Yield the orders of weeks 27 to 53, in the order of time: the truth behind the visits."""
        return (self._order(place) for place in range(self._first_visit, len(self._grocery.order)))

    @cached_property
    def _before(self) -> Memory:
        """Return every shopper's last purchases when the first visit begins."""
        return memory_of(self.past_orders())

    def visits(self, seed: int) -> Iterator[GrocerVisit]:
        """Yield a visit (or `banners_per_trip`) per trip of weeks 27 to 53."""
        rng = np.random.default_rng((self._seed, seed))
        memory = dict(self._before)
        number = 0
        for trip in self.trips():
            for basket in self._dealt(trip.product_ids, rng):
                yield GrocerVisit(
                    seed=seed,
                    number=number,
                    user_id=trip.user_id,
                    viewed_product_id=self._viewed(basket, rng),
                    purchased_product_ids=remembered(memory, trip.user_id),
                    occurred_at=trip.occurred_at,
                    memory=memory,
                    basket=basket,
                )
                number += 1

    def _dealt(self, basket: tuple[str, ...], rng: np.random.Generator) -> list[tuple[str, ...]]:
        if self._banners_per_trip == 1:
            return [basket]
        hands = rng.integers(self._banners_per_trip, size=len(basket))
        dealt = [
            tuple(product for product, mine in zip(basket, hands == hand, strict=True) if mine)
            for hand in range(self._banners_per_trip)
        ]
        return [hand for hand in dealt if hand]

    def _viewed(self, basket: tuple[str, ...], rng: np.random.Generator) -> str | None:
        viewing, which = rng.random(2)
        if len(basket) < 2 or viewing >= self._viewed_share:
            return None
        return basket[int(which * len(basket))]

    def available(self, visit: Visit) -> None:
        """Return None: whatever the grocer sells is always there."""

    def _wanted(self, visit: Visit, banner: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Return (K,) bool: which products of the banner are in the basket."""
        if not isinstance(visit, GrocerVisit):
            raise VisitFromAnotherWorld("this visit was not made by a GrocerWorld")
        showable(visit, banner, self._rows)
        return np.array([product in visit.basket for product in banner], dtype=bool)

    def _click(self, wanted: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        """Return (K,) probabilities of a click, looking included."""
        return np.asarray(
            np.where(wanted, CLICK_WANTED, CLICK_UNWANTED) * EXAMINATION[: len(wanted)]
        )

    def respond(self, visit: Visit, banner: Sequence[str], rng: np.random.Generator) -> Response:
        """Return the clicks, and the trip's real basket as the order.

        Raises:
            BannerNotShowable: see `simulator.world.showable`.
            VisitFromAnotherWorld: no GrocerWorld made the visit.
        """
        wanted = self._wanted(visit, banner)
        clicked = rng.random(BANNER_SIZE)[: len(banner)] < self._click(wanted)
        click_delay, thinking = delays(rng, self._delay)
        bought = {banner[position] for position in np.flatnonzero(wanted).tolist()}
        basket = visit.basket if isinstance(visit, GrocerVisit) else ()
        response = Response(
            clicked=tuple(np.flatnonzero(clicked).tolist()),
            bought=tuple(np.flatnonzero(wanted).tolist()),
            also_bought=tuple(product for product in basket if product not in bought),
            click_delay_seconds=click_delay,
            order_delay_seconds=click_delay * (1 + int(clicked.sum())) + thinking,
        )
        remember(visit, response.order(banner))
        return response

    def expected_reward(
        self, visit: Visit, banner: Sequence[str], points: Points = DEFAULT_POINTS
    ) -> float:
        """Return the exact expected reward: purchases are certain, clicks are not."""
        wanted = self._wanted(visit, banner)
        return points.reward(float(self._click(wanted).sum()), int(wanted.sum()))

    def expected_points(
        self, visit: Visit, points: Points = DEFAULT_POINTS
    ) -> npt.NDArray[np.float64]:
        """Return (N,) the exact expected reward of each product shown alone; 0: it is viewed."""
        if not isinstance(visit, GrocerVisit):
            raise VisitFromAnotherWorld("this visit was not made by a GrocerWorld")
        looked = points.click * EXAMINATION[0]
        found = np.full(len(self._ids), looked * CLICK_UNWANTED)
        wanted = [self._rows[product] for product in visit.basket if product in self._rows]
        found[wanted] = looked * CLICK_WANTED + points.buy
        if visit.viewed_product_id is not None:
            found[self._rows[visit.viewed_product_id]] = 0.0
        return found

    def oracle(self, visit: Visit, points: Points = DEFAULT_POINTS) -> tuple[str, ...]:  # noqa: ARG002
        """Return the best banner, exactly: the basket first, then what is sold most."""
        if not isinstance(visit, GrocerVisit):
            raise VisitFromAnotherWorld("this visit was not made by a GrocerWorld")
        best = [product for product in visit.basket if product != visit.viewed_product_id]
        for product in self._ids:
            if len(best) >= BANNER_SIZE:
                break
            if product not in visit.basket:
                best.append(product)
        return tuple(best[:BANNER_SIZE])
