"""A seeded shop with latent interests whose expected rewards and best banners are known."""

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.limits import BANNER_SIZE
from simulator.assortment import CATEGORIES, make_assortment, partner
from simulator.choice import NOISE_PER_POSITION, Choice
from simulator.circumstances import NOTHING_SPECIAL, ORDINARY, Circumstances, SyntheticShare
from simulator.errors import WorldNotPossible
from simulator.oracle import best_banner
from simulator.seeded import Arrival, Bools, SeededWorld
from simulator.shoppers import (
    TASTES,
    Shoppers,
    cumulated_share,
    interest_of,
    make_shoppers,
    past_orders,
)
from simulator.world import PastPurchaseOrder, Points, Visit, remembered

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


class SyntheticWorld(SeededWorld[SyntheticVisit]):
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
        circumstances: what makes it harder: tastes that move, turnover, noise, bots, the rhythm.

    Raises:
        WorldNotPossible: a size or factor makes no shop.
    """

    _kind = SyntheticVisit
    _noise_per_position = NOISE_PER_POSITION

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
        circumstances: Circumstances = NOTHING_SPECIAL,
    ) -> None:
        if products <= BANNER_SIZE or shoppers < 1 or past < 0:
            raise WorldNotPossible("a shop needs six products, one shopper and no past below zero")
        if not 0.0 <= pull <= 1.0:
            raise WorldNotPossible("pull is a probability")
        roots = np.random.SeedSequence(seed).spawn(4)
        shop = make_assortment(products, np.random.default_rng(roots[0]))
        super().__init__(
            shop.products, seed=seed, share=share, delay=delay, circumstances=circumstances
        )
        self._assortment = shop
        self._shoppers = make_shoppers(shoppers, shop, np.random.default_rng(roots[1]))
        self._moved = self._shoppers
        if circumstances.taste_drift is not None:
            self._moved = make_shoppers(shoppers, shop, np.random.default_rng(roots[3]))
        self._past_root, self._past_size = roots[2], past
        self._drift, self._pull = drift, pull
        self._activity = cumulated_share(self._shoppers.activity)
        self._renown = np.sqrt(shop.popularity)

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

    def _past(self) -> list[PastPurchaseOrder]:
        return past_orders(
            self._assortment,
            self._shoppers,
            orders=self._past_size,
            circumstances=self._circumstances,
            rng=np.random.default_rng(self._past_root),
        )

    def _visit(self, arrival: Arrival, rng: np.random.Generator) -> SyntheticVisit:
        shopper = bisect_right(self._activity, rng.random())
        hers = self._as_of(shopper, arrival.number)
        taste = hers.tastes[shopper, rng.integers(TASTES)]
        interest = interest_of(taste, rng.normal(size=taste.shape))
        is_anonymous = rng.random() < self._share.anonymous or arrival.is_bot
        is_viewing = rng.random() < self._share.viewed
        uniform = rng.random()
        viewed = None
        if is_viewing:
            viewed = self._page(arrival.number, self._viewed(interest, uniform))
        user_id = None if is_anonymous else f"s{shopper}"
        return SyntheticVisit(
            seed=arrival.seed,
            number=arrival.number,
            user_id=user_id,
            viewed_product_id=viewed,
            purchased_product_ids=remembered(arrival.memory, user_id),
            occurred_at=arrival.at,
            memory=arrival.memory,
            is_bot=arrival.is_bot,
            interest=interest,
            staples=hers.staples[shopper, : 0 if is_anonymous else None],
        )

    def _as_of(self, shopper: int, number: int) -> Shoppers:
        return self._moved if self._has_moved(shopper, number) else self._shoppers

    def _habitual(self, visit: SyntheticVisit) -> Ints:
        return visit.staples

    def _viewed(self, interest: Array, uniform: float) -> int:
        weights = np.exp(_VIEW_FOCUS * (self._assortment.vectors @ interest))
        cumulated = np.cumsum(weights * self._renown)
        return int(cumulated.searchsorted(uniform * cumulated[-1], side="right"))

    def _wish(self, visit: SyntheticVisit, rows: Ints | slice) -> Array:
        """Return (R,) how much a shopper wants (R,) products, or a slice of all, in logits."""
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
        return np.asarray(wish)

    def _choice(self, visit: SyntheticVisit, rows: Ints, on_sale: Bools | None) -> Choice:
        """Return how a banner of (K,) rows is seen; what is not on sale is not looked at."""
        odds = _odds(self._wish(visit, rows))
        look = EXAMINATION[: len(rows)]
        return self._seen(
            look if on_sale is None else look * on_sale, *odds, self._assortment.category[rows]
        )

    def _seen(self, look: Array, against: Array, buy: Array, category: Ints) -> Choice:
        """Return how banners are seen, by the `_odds` and categories, all (..., K)."""
        return Choice(
            click=look / against,
            buy=buy,
            goes_with=partner(category)[..., :, None] == category[..., None, :],
            complement=COMPLEMENT,
            look=look,
            pull=self._pull,
        )

    def _mean(
        self, visit: SyntheticVisit, rows: Ints, on_sale: Bools | None, points: Points
    ) -> float:
        return float(self._choice(visit, rows, on_sale).expected(points))

    def _alone(self, visit: SyntheticVisit, points: Points) -> Array:
        against, buy = _odds(self._wish(visit, _ALL)[:, None])
        seen = self._seen(EXAMINATION[:1], against, buy, self._assortment.category[:, None])
        return seen.expected(points)

    def _drawn(
        self, visit: SyntheticVisit, rows: Ints, on_sale: Bools | None, uniforms: Array
    ) -> tuple[list[int], list[int]]:
        clicked, bought = self._choice(visit, rows, on_sale).draw(uniforms)
        return clicked.nonzero()[0].tolist(), bought.nonzero()[0].tolist()

    def _best(self, visit: SyntheticVisit, points: Points) -> Ints:
        wish = self._wish(visit, _ALL)
        on_sale = self.available(visit)
        if on_sale is not None:
            wish[~on_sale] = -np.inf
        if visit.viewed_product_id is not None:
            wish[self._rows[visit.viewed_product_id]] = -np.inf
        wanted = self._worth_trying(wish)
        against, buy = _odds(wish[wanted])
        category = self._assortment.category[wanted]

        def expected(places: Ints) -> Array:
            look = EXAMINATION[: places.shape[1]]
            choice = self._seen(look, against[places], buy[places], category[places])
            return choice.expected(points)

        beginnings = _pairs_of(category) if self._pull else ()
        return wanted[best_banner(len(wanted), BANNER_SIZE, expected, beginnings=beginnings)]

    def _worth_trying(self, wish: Array) -> Ints:
        """Return the rows among which the best banner is sought, the most wanted first.

        Where there is a pull, partners of what is wanted most are among them, wanted or not.
        """
        wanted = _most_wanted(wish, _CANDIDATES)
        if not self._pull:
            return wanted
        category = self._assortment.category
        found = [wanted]
        for pulled in np.unique(partner(category[wanted[:_PULLING]])).tolist():
            rows = np.flatnonzero(category == pulled)
            found.append(rows[_most_wanted(wish[rows], BANNER_SIZE)])
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
    """Return at most `count` places of the highest wishes, highest first, ties in their order.

    What cannot be wished for (-inf) is left out.
    """
    if count < len(wish):
        least = np.partition(wish, -count)[-count]
        places = np.flatnonzero((wish >= least) & (wish > -np.inf))
    else:
        places = np.flatnonzero(wish > -np.inf)
    return np.asarray(places[np.argsort(-wish[places], kind="stable")[:count]])
