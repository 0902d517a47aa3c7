"""Who comes to a synthetic shop: tastes, staples, and what they bought before.

Dimensions: S shoppers, N products, D latent dimensions, T tastes of a shopper, O past orders.

The past is biased on purpose. The old storefront pushed what was popular, shoppers found the rest
by searching, and neither shows which products convert well on a banner.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from simulator.assortment import LATENT, Assortment, unit
from simulator.circumstances import FROM_STOREFRONT, Circumstances
from simulator.world import PastPurchaseOrder

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

TASTES: Final = 2
STAPLES: Final = 6
OPENING: Final = datetime(2025, 1, 1, tzinfo=UTC)
PAST_DAYS: Final = 180
_FROM_STAPLES: Final = 0.15
"""Share of past purchases that repeat a staple, beside an ordinary share of the storefront's."""
_STOREFRONT_FOCUS: Final = 4.0
_SEARCH_FOCUS: Final = 10.0
_ORDERS_AT_ONCE: Final = 256
_NUMBERS_AT_ONCE: Final = 50_000
"""What fits into a processor's own memory."""


@dataclass(frozen=True, slots=True)
class Shoppers:
    """The shoppers of a synthetic shop.

    Attributes:
        tastes: (S, T, D) unit vectors; a visit follows one of them.
        staples: (S, 6) rows they buy again and again (some may repeat).
        activity: (S,) share of the visits that are theirs; sums to one.
    """

    tastes: Array
    staples: Ints
    activity: Array

    def __len__(self) -> int:
        return len(self.activity)


def make_shoppers(count: int, assortment: Assortment, rng: np.random.Generator) -> Shoppers:
    """Return `count` shoppers drawn from `rng`."""
    liked = rng.integers(len(assortment.products), size=(count, TASTES))
    tastes = unit(assortment.vectors[liked] + 0.4 * unit(rng.normal(size=(count, TASTES, LATENT))))
    staples = np.empty((count, STAPLES), np.int64)
    for shopper in range(count):
        weights = np.exp(_SEARCH_FOCUS * (tastes[shopper] @ assortment.vectors.T)).mean(axis=0)
        staples[shopper] = _draw(weights[None], rng.random((1, STAPLES)))[0]
    activity = rng.lognormal(sigma=0.6, size=count)
    return Shoppers(tastes, staples, activity / activity.sum())


def cumulated_share(activity: Array) -> list[float]:
    """Return (S,) cumulated shares, the last exactly one: bisect a uniform to draw a shopper."""
    cumulated = np.cumsum(activity)
    return (cumulated / cumulated[-1]).tolist()  # type: ignore[no-any-return]


def interest_of(taste: Array, noise: Array) -> Array:
    """Return the interest of one visit: the taste it follows, and what is new about today.

    Args:
        taste: (..., D) unit vectors.
        noise: (..., D) standard normal.
    """
    return unit(taste + 0.3 * unit(noise))


def _draw(weights: Array, uniforms: Array) -> Ints:
    """Return (B, J) rows drawn with replacement from (B, N) weights by (B, J) uniforms."""
    cumulated = np.cumsum(weights, axis=1)
    marks = uniforms * cumulated[:, -1:]
    return np.stack(
        [np.searchsorted(*pair, side="right") for pair in zip(cumulated, marks, strict=True)]
    )


def past_orders(
    assortment: Assortment,
    shoppers: Shoppers,
    *,
    orders: int,
    circumstances: Circumstances,
    rng: np.random.Generator,
) -> list[PastPurchaseOrder]:
    """Return `orders` orders of the half year before the opening, in the order of time."""
    seconds = np.sort(rng.uniform(0.0, PAST_DAYS * 86_400.0, orders))
    who = rng.choice(len(shoppers), orders, p=shoppers.activity)
    made: list[PastPurchaseOrder] = []
    for start in range(0, orders, _ORDERS_AT_ONCE):
        these = who[start : start + _ORDERS_AT_ONCE]
        baskets = _baskets(assortment, shoppers, these, circumstances, rng)
        for shopper, rows in zip(these, baskets, strict=True):
            at = OPENING - timedelta(days=PAST_DAYS) + timedelta(seconds=float(seconds[len(made)]))
            ids = tuple(f"p{row}" for row in rows)
            made.append(PastPurchaseOrder(f"s{shopper}", at, f"past-{len(made)}", ids))
    return made


def _baskets(
    assortment: Assortment,
    shoppers: Shoppers,
    who: Ints,
    circumstances: Circumstances,
    rng: np.random.Generator,
) -> list[list[int]]:
    """Return the distinct rows of one order per shopper in `who`."""
    taste = shoppers.tastes[who, rng.integers(TASTES, size=len(who))]
    interest = interest_of(taste, rng.normal(size=taste.shape))
    sizes = np.minimum(1 + rng.poisson(1.5, len(who)), STAPLES)
    uniforms = rng.random((len(who), STAPLES))
    at_once = max(1, _NUMBERS_AT_ONCE // len(assortment.products))
    rows = np.concatenate(
        [
            _draw(
                _past_weights(assortment, interest[start:end], circumstances), uniforms[start:end]
            )
            for start, end in pairwise([*range(0, len(who), at_once), len(who)])
        ]
    )
    again = rng.random(rows.shape) < _FROM_STAPLES * circumstances.unled_past()
    rows = np.where(again, shoppers.staples[who], rows)
    return [list(dict.fromkeys(row[:size].tolist())) for row, size in zip(rows, sizes, strict=True)]


def _past_weights(assortment: Assortment, interest: Array, circumstances: Circumstances) -> Array:
    """Return (B, N) how likely the storefront or a search led from an interest to each product."""
    nearness = interest @ assortment.vectors.T
    storefront = assortment.popularity * np.exp(_STOREFRONT_FOCUS * nearness)
    search = np.exp(_SEARCH_FOCUS * nearness)
    searched = (1.0 - FROM_STOREFRONT - _FROM_STAPLES) * circumstances.unled_past()
    weights = circumstances.biased_past * storefront / storefront.sum(axis=1, keepdims=True)
    return np.asarray(weights + searched * search / search.sum(axis=1, keepdims=True))
