"""A seeded shop with latent interests whose expected rewards and best banners are known."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.limits import BANNER_SIZE
from schemas.products import Product
from simulator.assortment import make_assortment, partner
from simulator.choice import NOISE_PER_POSITION, Choice
from simulator.errors import VisitFromAnotherWorld, WorldNotPossible
from simulator.oracle import best_banner
from simulator.shoppers import OPENING, TASTES, interest_of, make_shoppers, past_orders
from simulator.world import (
    DEFAULT_POINTS,
    Memory,
    PastPurchaseOrder,
    Points,
    Response,
    Visit,
    memory_of,
    remember,
    remembered,
    showable,
)

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

EXAMINATION: Final = np.array([0.95, 0.85, 0.7, 0.55, 0.45])
"""Probability that a shopper looks at each position."""
INTEREST: Final = 4.0
APPEAL: Final = 1.0
STAPLE: Final = 1.0
CLICK_OFFSET: Final = 4.0
BUY_OFFSET: Final = 5.5
COMPLEMENT: Final = 0.5
_VIEW_FOCUS: Final = 12.0
_CANDIDATES: Final = 60
_DRIFT_VISITS: Final = 10_000
_SECONDS_BETWEEN_VISITS: Final = 20.0


@dataclass(frozen=True, slots=True)
class SyntheticVisit(Visit):
    """A visit, and what only the world knows of it.

    Attributes:
        interest: (D,) unit vector, what the shopper is after today.
        staples: (6,) rows she buys again and again; empty for the anonymous.
    """

    interest: Array = field(repr=False, compare=False)
    staples: Ints = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class SyntheticShare:
    """How the visits of a synthetic shop are mixed.

    Attributes:
        anonymous: share of visits without a user id.
        viewed: share of visits on a product page.
        searching: share of visits whose shopper also buys staples, or the product viewed, by
            herself.
    """

    anonymous: float = 0.1
    viewed: float = 0.8
    searching: float = 0.25

    def __post_init__(self) -> None:
        if not all(0.0 <= share <= 1.0 for share in (self.anonymous, self.viewed, self.searching)):
            raise WorldNotPossible("shares lie between 0 and 1")


class SyntheticWorld:
    """A shop of latent interests: learnable, with a past that hides what converts.

    Every visit has an interest (one of the shopper's tastes, varied). It shows in the product
    viewed and in what she bought before. Whether a product on the banner is clicked and bought
    depends on the interest times the product's latent vector, and on the product's appeal, which
    the past does not reveal; looking falls with the position; pairs of categories go together
    (see `simulator.choice`). Staples, which she buys again anyway, convert a little better.

    What a shopper wants does not depend on what she bought before, so every policy meets the same
    wishes; what she bought is what the next visit's context shows.

    Args:
        products: number of products, at least six.
        seed: of products, shoppers and their past.
        shoppers: number of shoppers with a user id.
        past: number of past orders.
        share: how visits are mixed.
        drift: radians per 10,000 visits by which every appeal turns to another, independent one;
            0: nothing changes, pi / 2: every appeal is new after 10,000 visits.
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
        share: SyntheticShare = SyntheticShare(),
        drift: float = 0.0,
        delay: float = 1.0,
    ) -> None:
        if products <= BANNER_SIZE or shoppers < 1 or past < 0 or delay < 0:
            raise WorldNotPossible(
                "a shop needs six products, one shopper, and neither past nor delay below zero"
            )
        roots = np.random.SeedSequence(seed).spawn(3)
        self._assortment = make_assortment(products, np.random.default_rng(roots[0]))
        self._shoppers = make_shoppers(shoppers, self._assortment, np.random.default_rng(roots[1]))
        self._past_root = roots[2]
        self._past_size = past
        self._share, self._drift, self._delay = share, drift, delay
        self._rows = {product.product_id: row for row, product in enumerate(self.products)}

    @property
    def products(self) -> Sequence[Product]:
        """Return everything that is sold, in row order."""
        return self._assortment.products

    @cached_property
    def _past(self) -> list[PastPurchaseOrder]:
        rng = np.random.default_rng(self._past_root)
        return past_orders(self._assortment, self._shoppers, orders=self._past_size, rng=rng)

    def past_orders(self) -> Iterator[PastPurchaseOrder]:
        """Yield the orders before the recommender came, in the order of time."""
        return iter(self._past)

    @cached_property
    def _before(self) -> Memory:
        """Return every shopper's last purchases when the first visit begins."""
        return memory_of(self.past_orders())

    def visits(self, seed: int) -> Iterator[SyntheticVisit]:
        """Yield visits without end, twenty simulated seconds apart on average."""
        rng = np.random.default_rng((seed, len(self.products)))
        memory = dict(self._before)
        at = OPENING
        number = 0
        while True:
            at += timedelta(seconds=float(rng.exponential(_SECONDS_BETWEEN_VISITS)))
            yield self._visit(seed, number, at, memory, rng)
            number += 1

    def _visit(
        self, seed: int, number: int, at: datetime, memory: Memory, rng: np.random.Generator
    ) -> SyntheticVisit:
        shopper = int(rng.choice(len(self._shoppers), p=self._shoppers.activity))
        taste = self._shoppers.tastes[shopper, rng.integers(TASTES)]
        interest = interest_of(taste, rng.normal(size=taste.shape))
        is_anonymous, is_viewing = rng.random(2) < (self._share.anonymous, self._share.viewed)
        viewed = self._viewed(interest, float(rng.random()))
        user_id = None if is_anonymous else f"s{shopper}"
        return SyntheticVisit(
            seed=seed,
            number=number,
            user_id=user_id,
            viewed_product_id=f"p{viewed}" if is_viewing else None,
            purchased_product_ids=remembered(memory, user_id),
            occurred_at=at,
            memory=memory,
            interest=interest,
            staples=self._shoppers.staples[shopper, : 0 if is_anonymous else None],
        )

    def _viewed(self, interest: Array, uniform: float) -> int:
        weights = np.exp(_VIEW_FOCUS * (self._assortment.vectors @ interest))
        cumulated = np.cumsum(weights * np.sqrt(self._assortment.popularity))
        return int(np.searchsorted(cumulated, uniform * cumulated[-1], side="right"))

    def _wish(self, visit: Visit) -> tuple[SyntheticVisit, Array]:
        """Return the visit and (N,) how much its shopper wants each product, in logits."""
        if not isinstance(visit, SyntheticVisit):
            raise VisitFromAnotherWorld("this visit was not made by a SyntheticWorld")
        shop = self._assortment
        turned = self._drift * visit.number / _DRIFT_VISITS
        appeal = shop.appeal
        if turned:
            appeal = np.cos(turned) * shop.appeal + np.sin(turned) * shop.appeal_later
        wish = INTEREST * (shop.vectors @ visit.interest) + APPEAL * appeal
        wish[visit.staples] += STAPLE
        return visit, wish

    def _choice(self, wish: Array, rows: Ints) -> Choice:
        """Return how banners are seen: `wish` and `rows` are (..., K)."""
        category = self._assortment.category[rows]
        return Choice(
            click=EXAMINATION[: rows.shape[-1]] / (1.0 + np.exp(CLICK_OFFSET - wish)),
            buy=1.0 / (1.0 + np.exp(BUY_OFFSET - wish)),
            goes_with=partner(category)[..., :, None] == category[..., None, :],
            complement=COMPLEMENT,
        )

    def respond(self, visit: Visit, banner: Sequence[str], rng: np.random.Generator) -> Response:
        """Return what the shopper does with the banner, and remember what she bought.

        Raises:
            BannerNotShowable: see `simulator.world.showable`.
            VisitFromAnotherWorld: no SyntheticWorld made the visit.
        """
        own, wish = self._wish(visit)
        rows = np.array(showable(visit, banner, self._rows), np.int64)
        uniforms = rng.random((BANNER_SIZE, NOISE_PER_POSITION))
        searching = rng.random(2)
        click_delay, thinking = self._delay * rng.lognormal(np.log([4.0, 30.0]), [0.5, 0.5])
        clicked, bought = self._choice(wish[rows], rows).draw(uniforms)
        response = Response(
            clicked=tuple(np.flatnonzero(clicked).tolist()),
            bought=tuple(np.flatnonzero(bought).tolist()),
            also_bought=self._found_alone(own, banner, searching),
            click_delay_seconds=float(click_delay),
            order_delay_seconds=float(click_delay * (1 + clicked.sum()) + thinking),
        )
        remember(visit, response.order(banner))
        return response

    def _found_alone(
        self, visit: SyntheticVisit, banner: Sequence[str], uniforms: Array
    ) -> tuple[str, ...]:
        """Return what she buys without the banner: a staple, or the product viewed."""
        if uniforms[0] >= self._share.searching:
            return ()
        found = [f"p{row}" for row in visit.staples]
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
        rows = np.array(showable(visit, banner, self._rows), np.int64)
        _, wish = self._wish(visit)
        return float(self._choice(wish[rows], rows).expected(points))

    def expected_points(self, visit: Visit, points: Points = DEFAULT_POINTS) -> Array:
        """Return (N,) the exact expected reward of each product shown alone; 0: it is viewed."""
        _, wish = self._wish(visit)
        found = self._choice(wish[:, None], np.arange(len(wish))[:, None]).expected(points)
        if visit.viewed_product_id is not None:
            found[self._rows[visit.viewed_product_id]] = 0.0
        return found

    def oracle(self, visit: Visit, points: Points = DEFAULT_POINTS) -> tuple[str, ...]:
        """Return a banner near the best: greedy and swaps among the 60 most wanted products.

        On small shops it is within 1% of brute force, mostly equal to it (the tests say so).
        """
        _, wish = self._wish(visit)
        if visit.viewed_product_id is not None:
            wish[self._rows[visit.viewed_product_id]] = -np.inf
        allowed = len(wish) - (visit.viewed_product_id is not None)
        wanted = np.argsort(-wish, kind="stable")[: min(_CANDIDATES, allowed)]
        best = best_banner(
            len(wanted),
            BANNER_SIZE,
            lambda places: self._choice(wish[wanted[places]], wanted[places]).expected(points),
        )
        return tuple(f"p{wanted[place]}" for place in best)
