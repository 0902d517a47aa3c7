"""Who attacks, how much, and what they do between the visits of honest shoppers."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from typing import Any

import numpy as np

from schemas.limits import BANNER_SIZE
from service.tokens import Tokens
from simulator.world import Visit
from tests.faults.attacked_ring import Banner, Ring


@dataclass(frozen=True)
class Attack:
    """Who attacks, and how much.

    Attributes:
        kind: "replayed", "forged", "cross-user", "click flood" or "paid buyers"; "" is nobody.
        share: of all visits.
        addresses: network addresses they come from.
        defended: False: what a page reports counts as if an order service had reported it.
    """

    kind: str = ""
    share: float = 0.0
    addresses: int = 1
    defended: bool = True

    @property
    def is_bounded(self) -> bool:
        """Whether a bound is promised: not for real orders, nor for a crowd of machines."""
        return self.defended and self.kind != "paid buyers" and self.addresses == 1

    @property
    def earns_nothing(self) -> bool:
        """Whether not even one event may count."""
        return self.defended and self.kind in {"replayed", "forged", "cross-user"}


@dataclass
class Attackers:
    """They come between honest visits, and see what the page of an honest shopper shows."""

    ring: Ring
    attack: Attack
    target: str
    rng: np.random.Generator
    loot: Banner | None = None
    _visits: Iterator[int] = field(default_factory=count)

    def come(self, visit: Visit, seen: Banner, now_ms: int) -> None:
        """Visit as often as their share of the traffic says."""
        share = self.attack.share
        for _ in range(self.rng.poisson(share / (1.0 - share)) if share else 0):
            number = next(self._visits)
            machine = number % self.attack.addresses
            address = f"198.51.{machine // 256}.{machine % 256}"
            {
                "replayed": self._replay, "forged": self._forge, "cross-user": self._cross,
                "click flood": self._flood, "paid buyers": self._buy,
            }[self.attack.kind](visit, seen, now_ms, address)  # fmt: skip

    def _banner(self, visit: Visit, now_ms: int) -> Banner:
        """Ask for a banner that can hardly miss the product; unless confirmed it never counts."""
        shop = self.ring.shop
        row = shop.row_of[self.target]
        others = [other for other in range(len(shop.product_ids)) if other != row]
        narrowed = self.rng.permutation(others)[BANNER_SIZE + 1 :].tolist()
        anonymous = replace(visit, user_id=None)
        if visit.viewed_product_id == self.target:
            anonymous = replace(anonymous, viewed_product_id=None)
        return self.ring.recommend(
            anonymous, now_ms, rng=self.rng, excluded=narrowed, deferred=True
        )

    def _say(self, now_ms: int, address: str, **fields: Any) -> None:
        fields = {"type": "click", "product_id": self.target} | fields
        report = partial(self.ring.report, trusted=False, address=address, attacker=True, **fields)
        self.ring.later(now_ms + 2_000, report)

    def _flood(self, visit: Visit, _: Banner, now_ms: int, address: str) -> None:
        mine = self._banner(visit, now_ms)
        if self.target in mine.product_ids:
            self._say(
                now_ms, address,
                recommendation_id=mine.recommendation_id, attribution_token=mine.token,
            )  # fmt: skip

    def _replay(self, visit: Visit, seen: Banner, now_ms: int, address: str) -> None:
        """One genuine token, sent again and again: for its own banner, and for others."""
        if self.loot is None and self.target in (mine := self._banner(visit, now_ms)).product_ids:
            self.loot = mine
        if self.loot is not None:
            token = self.loot.token
            for named in (seen.recommendation_id, seen.recommendation_id[:-1] + "0"):
                self._say(now_ms, address, recommendation_id=named, attribution_token=token)

    def _forge(self, visit: Visit, seen: Banner, now_ms: int, address: str) -> None:
        """Tokens made up for what others were shown, and orders that were never placed."""
        made_up = Tokens([b"not the secret"], window_seconds=86_400).issue(
            seen.recommendation_id, seen.product_ids, now_ms
        )
        for token in (made_up, None):
            self._say(
                now_ms, address, recommendation_id=seen.recommendation_id, attribution_token=token
            )
        self._order(now_ms, address, recommendation_id=seen.recommendation_id)

    def _cross(self, visit: Visit, seen: Banner, now_ms: int, address: str) -> None:
        """A shopper's own token, with the names of others.

        A banner for nobody in particular may be clicked by anybody who has its token.
        """
        if visit.user_id is not None:
            self._say(
                now_ms, address, user_id="somebody else",
                recommendation_id=seen.recommendation_id, attribution_token=seen.token,
            )  # fmt: skip
        self._order(now_ms, address, user_id=visit.user_id or "somebody")

    def _order(self, now_ms: int, address: str, **named: Any) -> None:
        order = f"order-{next(self._visits)}"
        self._say(now_ms, address, type="purchase", order_id=order, **named)

    def _buy(self, visit: Visit, _: Banner, now_ms: int, address: str) -> None:
        """The order service reports it: money was paid."""
        mine = self._banner(visit, now_ms)
        report = partial(
            self.ring.report, trusted=True, address=address, attacker=True, type="purchase",
            order_id=mine.recommendation_id, product_id=self.target,
            recommendation_id=mine.recommendation_id,
        )  # fmt: skip
        self.ring.later(now_ms + 30_000, report)
