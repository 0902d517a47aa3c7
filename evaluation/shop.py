"""One rival in one simulated shop: every visit gets its banner, every banner what it earns.

The history kept here is the ring's own (`projections.orders`), the points are the ring's own
(`rewards.specification`): only the wire is missing.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, count, islice
from typing import Protocol

import numpy as np
import numpy.typing as npt

from policy.features import ProductFeatures, encode_products
from projections.orders import with_order
from rewards.specification import RewardSpecification
from schemas.history import EMPTY, History, pack
from simulator.world import Response, Visit, World, visit_rng


@dataclass(frozen=True, slots=True)
class Situation:
    """What a rival knows of a visit: the context of a request.

    Attributes:
        number: 0-based place of the visit in the run.
        viewed_row: -1: none.
        history: packed (`schemas.history`).
        eligible: (N,) uint8, by row: 1 where the product may be shown, the one viewed not
            considered; None: all may.
    """

    number: int
    visit: Visit
    viewed_row: int
    history: bytes
    eligible: npt.NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a banner earned: (K,) points of each position, and the positions behind them."""

    points: tuple[float, ...]
    clicked: tuple[int, ...]
    bought: tuple[int, ...]


class Rival(Protocol):
    """Something that fills banners, and may learn from what they earn."""

    name: str

    def banner(self, situation: Situation) -> npt.NDArray[np.integer]:
        """Return (K,) rows to show, the first position first."""

    def learn(
        self, situation: Situation, banner: npt.NDArray[np.integer], outcome: Outcome
    ) -> None:
        """Take in what the banner earned, before the next visit."""


@dataclass(slots=True)
class Histories:
    """Every shopper's history, advanced by her orders."""

    row_of: dict[str, int]
    known: dict[str, History] = field(default_factory=dict)

    def ordered(self, user_id: str | None, product_ids: tuple[str, ...]) -> None:
        """Advance a shopper's history by one order; nothing is kept of the anonymous."""
        if user_id is None or not product_ids:
            return
        rows = [self.row_of[product_id] for product_id in product_ids if product_id in self.row_of]
        self.known[user_id] = with_order(self.known.get(user_id, EMPTY), rows)

    def packed(self, visit: Visit) -> bytes:
        """Return a visit's packed history; an anonymous shopper has recent purchases at most."""
        if visit.user_id is not None:
            return pack(self.known.get(visit.user_id, EMPTY))
        recent = [self.row_of[product_id] for product_id in visit.purchased_product_ids]
        return pack(History(recent=np.array(recent, np.uint32)))


class Shop:
    """A world with its past: where any number of rivals can be played, each from the same start."""

    def __init__(self, world: World, specification: RewardSpecification) -> None:
        """Replay the world's past into histories."""
        self.world = world
        self.specification = specification
        self.product_ids = [product.product_id for product in world.products]
        self.row_of = {product_id: row for row, product_id in enumerate(self.product_ids)}
        self.features: ProductFeatures = encode_products(world.products)
        start = Histories(self.row_of)
        for order in world.past_orders():
            start.ordered(order.user_id, order.product_ids)
        self._start = start.known

    def play(self, rival: Rival, *, seed: int, banners: int) -> Iterator[float]:
        """Yield the expected reward of each banner the rival shows; it learns from the drawn one.

        Visits and their noise depend on the seed alone, so rivals meet the same shoppers. Bots are
        learned from like anybody, but the shop earns nothing by them, so 0 is yielded.
        """
        histories = Histories(self.row_of, dict(self._start))
        for number, visit in enumerate(islice(self._visits(seed), banners)):
            viewed = visit.viewed_product_id
            available = self.world.available(visit)
            situation = Situation(
                number=number,
                visit=visit,
                viewed_row=-1 if viewed is None else self.row_of[viewed],
                history=histories.packed(visit),
                eligible=None if available is None else available.astype(np.uint8),
            )
            rows = rival.banner(situation)
            shown = [self.product_ids[row] for row in rows.tolist()]
            yield 0.0 if visit.is_bot else self.world.expected_reward(visit, shown)
            response = self.world.respond(visit, shown, visit_rng(visit))
            rival.learn(situation, rows, self._outcome(response, len(shown)))
            histories.ordered(visit.user_id, response.order(shown))

    def best(self, *, seed: int, banners: int, every: int) -> Iterator[float]:
        """Yield the oracle's expected reward of every so manieth visit of `play`; bots give 0.

        What the oracle earns does not depend on what anybody was shown before.
        """
        for visit in islice(self._visits(seed), 0, banners, every):
            shown = () if visit.is_bot else self.world.oracle(visit)
            yield self.world.expected_reward(visit, shown) if shown else 0.0

    def best_shown(self, *, seed: int, banners: int, last: int) -> Iterator[tuple[str, ...]]:
        """Yield the oracle's banners of the last visits of `play`; bots are left out."""
        for visit in islice(self._visits(seed), max(0, banners - last), banners):
            if not visit.is_bot:
                yield self.world.oracle(visit)

    def _visits(self, seed: int) -> Iterator[Visit]:
        """Return visits without end: where a world has no more, others begin."""
        return chain.from_iterable(self.world.visits(seed + 1_000_003 * again) for again in count())

    def _outcome(self, response: Response, size: int) -> Outcome:
        points = self.specification.points(size, clicked=response.clicked, bought=response.bought)
        return Outcome(points=points, clicked=response.clicked, bought=response.bought)
