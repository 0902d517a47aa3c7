"""Who comes to the shop of aisles: where they live in it, what they prefer, and what they bought.

Dimensions: H shoppers, N products, S shelves, O past orders.

The past is biased on purpose: the old storefront pushed the best-selling products of a shelf,
shoppers found the rest by searching, and neither shows what converts on a banner.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt

from simulator.circumstances import Circumstances
from simulator.shelves import BRANDS, Shelves
from simulator.shoppers import OPENING, PAST_DAYS, cumulated_share
from simulator.world import PastPurchaseOrder

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

HOMES: Final = 6
"""Shelves that a shopper lives on: both of three aisles."""
NEED_UNIFORMS: Final = 6
FAVOURED: Final = 3
"""Brands that a loyal shopper prefers."""
_ON_A_MISSION: Final = 0.3
_AT_HOME: Final = 0.8
_SECOND_NEED: Final = 0.6
_HOME_WEIGHTS: Final = (0.3, 0.5, 0.65, 0.8, 0.9, 1.0)
"""Cumulated: how often a visit begins on the first, second, ... of the shelves she lives on."""
_LOYAL: Final = 0.6
_REGULARLY: Final = 0.6
"""Share of past purchases on a home shelf, beside the storefront's, that repeat her regular one."""
_LINES: Final = 6


@dataclass(frozen=True, slots=True)
class Habits:
    """The shoppers of the shop of aisles.

    Attributes:
        homes: (H, 6) shelves they live on.
        regulars: (H, 6) rows, the product they buy again on each of those.
        missions: (H, 2) missions they come with.
        liking: (H, BRANDS) what a brand is worth to them, in logits; zeros for the disloyal.
        level: (H,) the price level they look for, as `Shelves.tier`.
        thrift: (H,) logits that a distance of one from it costs.
        activity: (H,) share of the visits that are theirs; sums to one.
    """

    homes: Ints
    regulars: Ints
    missions: Ints
    liking: Array
    level: Array
    thrift: Array
    activity: Array

    def __len__(self) -> int:
        return len(self.level)

    def preference(self, shopper: int, rows: Ints, shelves: Shelves) -> Array:
        """Return how much the shopper prefers each product by brand and price, in logits."""
        distance = np.abs(shelves.tier[rows] - self.level[shopper])
        liked = self.liking[shopper, shelves.brand[rows]]
        return np.asarray(liked - self.thrift[shopper] * distance)


def make_habits(count: int, shelves: Shelves, rng: np.random.Generator) -> Habits:
    """Return `count` shoppers drawn from `rng`."""
    first = rng.choice(len(shelves.demand), (count, HOMES // 2), p=shelves.demand)
    homes = np.stack([first, first ^ 1], axis=-1).reshape(count, HOMES)
    missions = rng.integers(len(shelves.missions), size=(count, 2))
    liking = np.zeros((count, BRANDS))
    loyal = np.flatnonzero(rng.random(count) < _LOYAL)
    favoured = rng.integers(BRANDS, size=(count, FAVOURED))
    liking[loyal[:, None], favoured[loyal]] = 1.5
    level = 0.8 * rng.normal(size=count)
    thrift = rng.uniform(0.2, 1.2, count)
    activity = rng.lognormal(sigma=0.6, size=count)
    habits = Habits(
        homes=homes,
        regulars=np.empty((count, HOMES), np.int64),
        missions=missions,
        liking=liking,
        level=level,
        thrift=thrift,
        activity=activity / activity.sum(),
    )
    found = rng.random((count, HOMES))
    for shopper in range(count):
        for place, home in enumerate(homes[shopper].tolist()):
            habits.regulars[shopper, place] = _searched(
                habits, shelves, shopper, home, float(found[shopper, place])
            )
    return habits


def need_of(
    habits: Habits, shelves: Shelves, demand: Sequence[float], shopper: int, u: Sequence[float]
) -> tuple[int, ...]:
    """Return the distinct shelves that a visit needs: those of a mission, or one or two.

    Args:
        habits: of every shopper.
        shelves: the shop.
        demand: cumulated share of the shelves' demand.
        shopper: who comes.
        u: six uniforms.
    """
    if u[0] < _ON_A_MISSION:
        mission = habits.missions[shopper, int(u[1] < 0.5)]
        return tuple(shelves.missions[mission].tolist())
    homes = habits.homes[shopper]
    if u[1] < _AT_HOME:
        first = int(homes[bisect_right(_HOME_WEIGHTS, u[2])])
    else:
        first = bisect_right(demand, u[2])
    if u[3] >= _SECOND_NEED:
        return (first,)
    second = int(homes[bisect_right(_HOME_WEIGHTS, u[4])])
    return (first,) if second == first else (first, second)


def past_orders(
    habits: Habits,
    shelves: Shelves,
    *,
    orders: int,
    circumstances: Circumstances,
    rng: np.random.Generator,
) -> list[PastPurchaseOrder]:
    """Return `orders` orders of the half year before the opening, in the order of time."""
    seconds = np.sort(rng.uniform(0.0, PAST_DAYS * 86_400.0, orders)).tolist()
    who = rng.choice(len(habits), orders, p=habits.activity).tolist()
    needs = rng.random((orders, NEED_UNIFORMS)).tolist()
    sizes = np.minimum(1 + rng.poisson(1.5, orders), _LINES).tolist()
    lines = rng.random((orders, _LINES, 4)).tolist()
    demand = cumulated_share(shelves.demand)
    begin = OPENING - timedelta(days=PAST_DAYS)
    made: list[PastPurchaseOrder] = []
    for number in range(orders):
        shopper = who[number]
        need = need_of(habits, shelves, demand, shopper, needs[number])
        rows = [
            _bought(habits, shelves, shopper, need, circumstances.biased_past, line)
            for line in lines[number][: sizes[number]]
        ]
        at: datetime = begin + timedelta(seconds=seconds[number])
        ids = tuple(f"p{row}" for row in dict.fromkeys(rows))
        made.append(PastPurchaseOrder(f"s{shopper}", at, f"past-{number}", ids))
    return made


def _bought(
    habits: Habits,
    shelves: Shelves,
    shopper: int,
    need: Sequence[int],
    biased: float,
    u: Sequence[float],
) -> int:
    """Return the row of one line of a past order, by four uniforms."""
    shelf = need[int(u[0] * len(need))]
    if u[2] < biased:
        return drawn(shelves.on(shelf), shelves.share[shelves.on(shelf)], u[3])
    if u[1] < _REGULARLY:
        homes = habits.homes[shopper].tolist()
        if shelf in homes:
            return int(habits.regulars[shopper, homes.index(shelf)])
    return _searched(habits, shelves, shopper, shelf, u[3])


def _searched(habits: Habits, shelves: Shelves, shopper: int, shelf: int, uniform: float) -> int:
    """Return what a shopper finds on a shelf by herself: what suits her, known names first."""
    rows = shelves.on(shelf)
    weights = np.sqrt(shelves.share[rows]) * np.exp(habits.preference(shopper, rows, shelves))
    return drawn(rows, weights, uniform)


def drawn(rows: Ints, weights: Array, uniform: float) -> int:
    """Return one of the rows, drawn by weights that need not sum to one."""
    cumulated = np.cumsum(weights)
    place = int(np.searchsorted(cumulated, uniform * cumulated[-1], side="right"))
    return int(rows[min(place, len(rows) - 1)])
