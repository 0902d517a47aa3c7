"""A seeded shop with latent interests whose expected rewards and best banners are known."""

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
from simulator.assortment import CATEGORIES, make_assortment, partner
from simulator.choice import NOISE_PER_POSITION, Choice
from simulator.circumstances import ORDINARY, SyntheticShare
from simulator.errors import VisitFromAnotherWorld, WorldNotPossible
from simulator.oracle import best_banner
from simulator.shoppers import (
    OPENING,
    TASTES,
    cumulated_share,
    interest_of,
    make_shoppers,
    past_orders,
)
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

EXAMINATION: Final = np.array([0.95, 0.85, 0.7, 0.55, 0.45])
"""Probability that a shopper looks at each position."""
INTEREST: Final = 4.0
APPEAL: Final = 1.0
STAPLE: Final = 1.0
CLICK_OFFSET: Final = 4.0
BUY_OFFSET: Final = 5.5
COMPLEMENT: Final = 0.5
STRONG_PULL: Final = 0.8
"""A pull with which the best banner is worth a quarter more than the five best products alone."""
_VIEW_FOCUS: Final = 12.0
_CANDIDATES: Final = 60
_DRIFT_VISITS: Final = 10_000
_SECONDS_BETWEEN_VISITS: Final = 20.0
_PULLING: Final = 20
_PAIRS_TRIED: Final = 4
_ALL: Final = slice(None)


@dataclass(frozen=True, slots=True)
class SyntheticVisit(Visit):
    """A visit, and what only the world knows of it.

    Attributes:
        interest: (D,) unit vector, what the shopper is after today.
        staples: (6,) rows she buys again and again; empty for the anonymous.
    """

    interest: Array = field(repr=False, compare=False)
    staples: Ints = field(repr=False, compare=False)


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
        pull: probability that a product bought pulls along one of its partner category that she
            looked at, clicked or not (see `simulator.choice`); `STRONG_PULL` makes what stands
            together on the banner matter most.
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
        drift: float = 0.0,
        pull: float = 0.0,
        delay: float = 1.0,
    ) -> None:
        if products <= BANNER_SIZE or shoppers < 1 or past < 0 or delay < 0:
            raise WorldNotPossible(
                "a shop needs six products, one shopper, and neither past nor delay below zero"
            )
        if not 0.0 <= pull <= 1.0:
            raise WorldNotPossible("pull is a probability")
        roots = np.random.SeedSequence(seed).spawn(3)
        self._assortment = make_assortment(products, np.random.default_rng(roots[0]))
        self._shoppers = make_shoppers(shoppers, self._assortment, np.random.default_rng(roots[1]))
        self._past_root = roots[2]
        self._past_size = past
        self._share, self._drift, self._pull, self._delay = share, drift, pull, delay
        self._rows = {product.product_id: row for row, product in enumerate(self.products)}
        self._activity: list[float] = cumulated_share(self._shoppers.activity)
        self._renown = np.sqrt(self._assortment.popularity)

    @property
    def products(self) -> Sequence[Product]:
        """Return everything that is sold, in row order."""
        return self._assortment.products

    def complements(self) -> tuple[tuple[str, str], ...]:
        """Return the pairs of categories that go together: the truth for those who measure.

        Categories that sell nothing are left out with their partners.
        """
        named = {
            int(number): self.category_of(f"p{row}")
            for row, number in enumerate(self._assortment.category)
        }
        return tuple(
            (named[first], named[first + 1])
            for first in range(0, CATEGORIES, 2)
            if first in named and first + 1 in named
        )

    def category_of(self, product_id: str) -> str:
        """Return a product's category, as in `complements`."""
        return str(self.products[self._rows[product_id]].category)

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
        shopper = bisect_right(self._activity, rng.random())
        taste = self._shoppers.tastes[shopper, rng.integers(TASTES)]
        interest = interest_of(taste, rng.normal(size=taste.shape))
        is_anonymous = rng.random() < self._share.anonymous
        is_viewing = rng.random() < self._share.viewed
        uniform = rng.random()
        user_id = None if is_anonymous else f"s{shopper}"
        return SyntheticVisit(
            seed=seed,
            number=number,
            user_id=user_id,
            viewed_product_id=f"p{self._viewed(interest, uniform)}" if is_viewing else None,
            purchased_product_ids=remembered(memory, user_id),
            occurred_at=at,
            memory=memory,
            interest=interest,
            staples=self._shoppers.staples[shopper, : 0 if is_anonymous else None],
        )

    def _viewed(self, interest: Array, uniform: float) -> int:
        weights = np.exp(_VIEW_FOCUS * (self._assortment.vectors @ interest))
        cumulated = np.cumsum(weights * self._renown)
        return int(cumulated.searchsorted(uniform * cumulated[-1], side="right"))

    def _wish(self, visit: Visit, rows: Ints | slice) -> tuple[SyntheticVisit, Array]:
        """Return the visit and (R,) how much its shopper wants the products, in logits.

        Args:
            visit: of this world.
            rows: (R,) of the products, or a slice of all.
        """
        if not isinstance(visit, SyntheticVisit):
            raise VisitFromAnotherWorld("this visit was not made by a SyntheticWorld")
        shop = self._assortment
        turned = self._drift * visit.number / _DRIFT_VISITS
        appeal = shop.appeal[rows]
        if turned:
            appeal = np.cos(turned) * appeal + np.sin(turned) * shop.appeal_later[rows]
        wish = INTEREST * (shop.vectors[rows] @ visit.interest) + APPEAL * appeal
        if isinstance(rows, slice):
            wish[visit.staples] += STAPLE
        else:
            wish += STAPLE * (rows[:, None] == visit.staples).any(axis=1)
        return visit, wish

    def _choice(self, wish: Array, rows: Ints) -> Choice:
        """Return how a banner is seen: `wish` and `rows` are (K,)."""
        return self._seen(*_odds(wish), self._assortment.category[rows])

    def _seen(self, against: Array, buy: Array, category: Ints) -> Choice:
        """Return how banners are seen, by the `_odds` and categories, all (..., K)."""
        look = EXAMINATION[: category.shape[-1]]
        return Choice(
            click=look / against,
            buy=buy,
            goes_with=partner(category)[..., :, None] == category[..., None, :],
            complement=COMPLEMENT,
            look=look,
            pull=self._pull,
        )

    def respond(self, visit: Visit, banner: Sequence[str], rng: np.random.Generator) -> Response:
        """Return what the shopper does with the banner, and remember what she bought.

        Raises:
            BannerNotShowable: see `simulator.world.showable`.
            VisitFromAnotherWorld: no SyntheticWorld made the visit.
        """
        rows = np.array(showable(visit, banner, self._rows), np.int64)
        own, wish = self._wish(visit, rows)
        uniforms = rng.random((BANNER_SIZE, NOISE_PER_POSITION))
        searching = rng.random(2)
        click_delay, thinking = delays(rng, self._delay)
        is_clicked, is_bought = self._choice(wish, rows).draw(uniforms)
        clicked = tuple(is_clicked.nonzero()[0].tolist())
        response = Response(
            clicked=clicked,
            bought=tuple(is_bought.nonzero()[0].tolist()),
            also_bought=self._found_alone(own, banner, searching),
            click_delay_seconds=click_delay,
            order_delay_seconds=click_delay * (1 + len(clicked)) + thinking,
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
        _, wish = self._wish(visit, rows)
        return float(self._choice(wish, rows).expected(points))

    def oracle(self, visit: Visit, points: Points = DEFAULT_POINTS) -> tuple[str, ...]:
        """Return a banner near the best: greedy and swaps among the 60 most wanted products.

        On small shops it is within 1% of brute force, mostly equal to it (the tests say so).
        """
        _, wish = self._wish(visit, _ALL)
        if visit.viewed_product_id is not None:
            wish[self._rows[visit.viewed_product_id]] = -np.inf
        wanted = self._worth_trying(wish, len(wish) - (visit.viewed_product_id is not None))
        against, buy = _odds(wish[wanted])
        category = self._assortment.category[wanted]
        best = best_banner(
            len(wanted),
            BANNER_SIZE,
            lambda places: self._seen(against[places], buy[places], category[places]).expected(
                points
            ),
            beginnings=_pairs_of(category) if self._pull else (),
        )
        return tuple(f"p{wanted[place]}" for place in best)

    def _worth_trying(self, wish: Array, allowed: int) -> Ints:
        """Return the rows among which the best banner is sought, the most wanted first.

        Where there is a pull, partners of what is wanted most are among them, wanted or not.
        """
        wanted = _most_wanted(wish, min(_CANDIDATES, allowed))
        if not self._pull:
            return wanted
        category = self._assortment.category
        found = [wanted]
        for pulled in np.unique(partner(category[wanted[:_PULLING]])).tolist():
            rows = np.flatnonzero(category == pulled)
            rows = rows[_most_wanted(wish[rows], min(BANNER_SIZE, len(rows)))]
            found.append(rows[wish[rows] > -np.inf])
        every = np.unique(np.concatenate(found))
        return np.asarray(every[np.argsort(-wish[every], kind="stable")])


def _pairs_of(category: Ints) -> list[Ints]:
    """Return, for the pairs of categories wanted most, the places of their best products."""
    pairs = list(dict.fromkeys((category[:_PULLING] // 2).tolist()))[:_PAIRS_TRIED]
    return [
        np.concatenate(
            [np.flatnonzero(category == each)[:BANNER_SIZE] for each in (2 * p, 2 * p + 1)]
        )
        for p in pairs
    ]


def _odds(wish: Array) -> tuple[Array, Array]:
    """Return one over the chance of a click where looked at, and the chance of buying, by wish."""
    return 1.0 + np.exp(CLICK_OFFSET - wish), 1.0 / (1.0 + np.exp(BUY_OFFSET - wish))


def _most_wanted(wish: Array, count: int) -> Ints:
    """Return the `count` rows of the highest wishes, the most wanted first, ties by row."""
    least = np.partition(wish, -count)[-count]
    rows = np.flatnonzero(wish >= least)
    return np.asarray(rows[np.argsort(-wish[rows], kind="stable")[:count]])
