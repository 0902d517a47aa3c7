"""Attackers beside honest shoppers: what a product that is pushed gains, and what shoppers lose.

The shop is simulated, everything else is the ring's own without the wire: serving policy, tokens,
intake, browser rules, attribution and settlement, learner. An attacker holds the key of a page,
which everybody can read there, and pushes one product that shoppers are lukewarm about.

    python -m tests.faults.attacks --seed 1
"""

import argparse
import heapq
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from itertools import count, islice
from typing import Any

import numpy as np

from evaluation.learn import past_orders
from evaluation.shop import Histories, Shop
from policy.serving import UNIFORMS, ServingPolicy
from rewards.settlement import PartitionRewards
from rewards.specification import RewardSpecification
from schemas import identity
from schemas.codec import decode_event
from schemas.events import Recommended
from schemas.limits import BANNER_SIZE
from schemas.requests import EventIn
from schemas.rewards import Reward
from service.intake import Intake
from service.judgement import Caller, judged
from service.limits import BrowserLimits, BrowserRules
from service.tokens import Tokens
from simulator.circumstances import Circumstances, Rhythm
from simulator.synthetic import SyntheticWorld
from simulator.world import Visit, visit_rng
from trainer.learner import Learner
from trainer.learner_settings import LearnerSettings
from trainer.pretraining import pretrain

SECRET = b"a secret of the attacked shop"
HONEST = 3_000
"""Visits of honest shoppers."""
SECONDS_BETWEEN = 0.5
"""Between honest visits."""
BROWSER_AGENT = "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"
MOST_EXPOSURE_GAINED = 0.10
"""Of the honest banners that show the product, beyond those of a calm shop: whatever the attack of
one machine, at up to a fifth of the traffic."""
MOST_REWARD_LOST = 0.05
"""Of honest shoppers' reward in a calm shop, likewise."""
_PRODUCTS, _SHOPPERS, _PAST = 100, 300, 3_000


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


ATTACKS = (
    Attack(),
    *(
        Attack(kind, 0.05, defended=defended)
        for kind in ("replayed", "forged", "cross-user")
        for defended in (True, False)
    ),
    *(
        Attack("click flood", share, defended=defended)
        for share in (0.01, 0.05, 0.2)
        for defended in (True, False)
    ),
    Attack("click flood", 0.2, addresses=1_000),
    Attack("paid buyers", 0.05),
)


@dataclass(frozen=True)
class Suffered:
    """What came of an attack, over the second half of the honest visits.

    Attributes:
        attack: who, and how much.
        exposure: share of the honest banners that show the product.
        reward: expected reward of an honest banner.
        outcomes: of the attackers' events.
    """

    attack: Attack
    exposure: float
    reward: float
    outcomes: Counter[str]


@dataclass(frozen=True)
class Finding:
    """What the table says.

    Attributes:
        rows: calm first.
        broken: bounds that do not hold, a line each; empty: all hold.
    """

    rows: tuple[Suffered, ...]
    broken: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether every bound holds."""
        return not self.broken


@dataclass(frozen=True)
class Banner:
    """One answer, as its asker has it."""

    recommendation_id: str
    token: str
    product_ids: tuple[str, ...]


class Ring:
    """The ring's pure parts around one shop."""

    def __init__(self, shop: Shop, weights: Any, *, seed: int, defended: bool) -> None:
        self.outcomes: Counter[str] = Counter()
        self.shop, self.defended = shop, defended
        self._learner = Learner(weights, weights, shop.features, LearnerSettings(device="cpu"))
        self._rewards = PartitionRewards(shop.specification)
        window = int(shop.specification.attribution_window_seconds)
        self._tokens = Tokens([SECRET], window_seconds=window)
        self._intake, self._rules = Intake(SECRET, self._tokens), BrowserRules(BrowserLimits())
        self._ids = np.random.default_rng((seed, 7))
        self._settled: list[Reward] = []
        self._versions = count(1)
        self._waiting: list[tuple[int, int, Callable[[int], None]]] = []
        self._numbers = count()
        self._swap()

    def _swap(self) -> None:
        self._version = next(self._versions)
        self._policy = ServingPolicy.compile(
            self._learner.weights(), self.shop.features, version=self._version
        )

    def recommend(
        self, visit: Visit, now_ms: int, *, rng: np.random.Generator, history: bytes = b"",
        excluded: Sequence[int] = (), deferred: bool = False,
    ) -> Banner:  # fmt: skip
        """Draw a banner, as the service does, and let the log have it."""
        viewed = visit.viewed_product_id
        viewed_row = -1 if viewed is None else self.shop.row_of[viewed]
        not_shown = sorted({*excluded, *([] if viewed is None else [viewed_row])})
        drawn = self._policy.draw(
            viewed_row=viewed_row,
            history=history,
            eligible=np.ones(len(self.shop.product_ids), np.uint8),
            excluded=np.array(not_shown, np.int32),
            size=BANNER_SIZE,
            uniforms=rng.random(UNIFORMS),
        )
        ulid = identity.ulid(now_ms, self._ids.bytes(10))
        user_key = identity.user_key(SECRET, visit.user_id) if visit.user_id else None
        key = user_key or identity.anonymous_key(SECRET, ulid)
        named = identity.recommendation_id(ulid, key)
        product_ids = tuple(self.shop.product_ids[row] for row in drawn.rows.tolist())
        fact = Recommended(
            event_id=named, occurred_at_ms=now_ms, recommendation_id=named, user_key=user_key,
            unit=named, arm="policy", source="policy", deferred=deferred, trainable=True,
            policy_version=self._version, catalogue_version=0, viewed_row=viewed_row,
            history=history, candidates=drawn.packed_candidates, product_ids=product_ids,
            rows=tuple(drawn.rows.tolist()), log_probs=tuple(drawn.log_probs.tolist()),
        )  # fmt: skip
        self._take(self._rewards.apply(key, fact, now_ms)[1])
        return Banner(named, self._tokens.issue(named, product_ids, now_ms), product_ids)

    def later(self, at_ms: int, do: Callable[[int], None]) -> None:
        """Do something when its time has come; it is given the time."""
        heapq.heappush(self._waiting, (at_ms, next(self._numbers), do))

    def reach(self, now_ms: int) -> None:
        """Let everything happen that is due, and settle what is due."""
        while self._waiting and self._waiting[0][0] <= now_ms:
            at_ms, _, do = heapq.heappop(self._waiting)
            self._take(self._rewards.advance(at_ms))
            do(at_ms)
        self._take(self._rewards.advance(now_ms))

    def report(
        self, now_ms: int, *, trusted: bool, address: str, attacker: bool, **fields: Any
    ) -> None:
        """Report an event, as `POST /events` takes it."""
        at = datetime.fromtimestamp(now_ms / 1000, UTC).isoformat()
        if attacker and not self.defended:
            trusted = True
            fields["attribution_token"] = None  # from an order service it may be missing
        event = EventIn(event_id=f"event-{next(self._numbers)}", occurred_at=at, **fields)
        verdict = judged(
            event, Caller(trusted, address, BROWSER_AGENT), intake=self._intake, rules=self._rules,
            rows=self.shop.row_of, now_ms=now_ms,
        )  # fmt: skip
        if attacker:
            self.outcomes[verdict.outcome] += 1
        for message in verdict.messages:
            assert message.key is not None
            assert message.value is not None
            self._take(self._rewards.apply(message.key, decode_event(message.value), now_ms)[1])

    def _take(self, settled: Sequence[Any]) -> None:
        for _, reward in settled:
            self._settled.append(reward)
            if len(self._settled) >= self._learner.wanted:
                self._learner.update(self._settled)
                self._settled = []
                self._swap()


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


def suffer(shop: Shop, weights: Any, attack: Attack, *, seed: int, honest: int) -> Suffered:
    """Play one attack; honest shoppers and their luck are the same whatever it is."""
    ring = Ring(shop, weights, seed=seed, defended=attack.defended)
    target = lukewarm(shop, seed)
    attackers = Attackers(ring, attack, target, np.random.default_rng((seed, 11)))
    rng = np.random.default_rng((seed, 5))
    histories = Histories(shop.row_of, dict(shop._start))
    shown, earned = [], []
    for visit in islice(shop.world.visits(seed), honest):
        now_ms = int(visit.occurred_at.timestamp() * 1000)
        ring.reach(now_ms)
        banner = ring.recommend(visit, now_ms, rng=rng, history=histories.packed(visit))
        shown.append(target in banner.product_ids)
        earned.append(shop.world.expected_reward(visit, banner.product_ids))
        _respond(ring, visit, banner, now_ms, histories)
        attackers.come(visit, banner, now_ms)
    half = len(shown) // 2
    return Suffered(
        attack, float(np.mean(shown[half:])), float(np.mean(earned[half:])), ring.outcomes
    )


def _respond(ring: Ring, visit: Visit, banner: Banner, now_ms: int, histories: Histories) -> None:
    """Let the shopper do what she does: her page reports clicks, the order service her order."""
    response = ring.shop.world.respond(visit, banner.product_ids, visit_rng(visit))
    address = f"203.0.{visit.number // 256 % 256}.{visit.number % 256}"
    click_ms = max(400, int(1000 * response.click_delay_seconds))
    for number, position in enumerate(response.clicked, start=1):
        ring.later(now_ms + number * click_ms, partial(
            ring.report, trusted=False, address=address, attacker=False, type="click",
            recommendation_id=banner.recommendation_id, attribution_token=banner.token,
            product_id=banner.product_ids[position],
        ))  # fmt: skip
    order = response.order(banner.product_ids)
    histories.ordered(visit.user_id, order)
    for product_id in order:
        ring.later(now_ms + int(1000 * response.order_delay_seconds), partial(
            ring.report, trusted=True, address="", attacker=False, type="purchase",
            recommendation_id=banner.recommendation_id, product_id=product_id,
            order_id=banner.recommendation_id,
        ))  # fmt: skip


def lukewarm(shop: Shop, seed: int) -> str:
    """Return the product that half of the others earn more than, over some visits."""
    some = islice(shop.world.visits(seed + 1), 200)
    earned = np.mean([shop.world.expected_points(visit) for visit in some], axis=0)
    return shop.product_ids[int(np.argsort(earned)[len(earned) // 2])]


def attack_table(
    seed: int,
    *,
    honest: int = HONEST,
    attacks: Sequence[Attack] = ATTACKS,
    told: Callable[[Suffered], None] = lambda _: None,
) -> Finding:
    """Play attacks in one simulated shop, each beside the same honest shoppers.

    Args:
        seed: of the shop, its shoppers and the attackers.
        honest: visits of honest shoppers.
        attacks: the first is a calm shop.
        told: hears every row as soon as it is played.
    """
    rhythm = Rhythm(seconds_between=SECONDS_BETWEEN)
    world = SyntheticWorld(
        _PRODUCTS, seed=seed, shoppers=_SHOPPERS, past=_PAST,
        circumstances=Circumstances(rhythm=rhythm),
    )  # fmt: skip
    shop = Shop(world, RewardSpecification())
    weights, _ = pretrain(
        past_orders(shop), shop.features, seed=seed, device="cpu", progress=lambda *_: None
    )
    rows = []
    for attack in attacks:
        rows.append(suffer(shop, weights, attack, seed=seed, honest=honest))
        told(rows[-1])
    return Finding(tuple(rows), tuple(_broken(rows)))


def _broken(rows: Sequence[Suffered]) -> Iterator[str]:
    calm = rows[0]
    for row in rows[1:]:
        gained, lost = row.exposure - calm.exposure, 1.0 - row.reward / calm.reward
        if row.attack.earns_nothing and (row.outcomes["accepted"] or gained or lost):
            yield f"{_name(row.attack)}: something counted"
        if row.attack.is_bounded and gained > MOST_EXPOSURE_GAINED:
            yield f"{_name(row.attack)}: {gained:+.1%} of the banners"
        if row.attack.is_bounded and lost > MOST_REWARD_LOST:
            yield f"{_name(row.attack)}: {lost:.1%} of the reward lost"


def _name(attack: Attack) -> str:
    if not attack.kind:
        return "calm"
    many = "" if attack.addresses == 1 else f" from {attack.addresses:,} addresses"
    return f"{attack.kind} {attack.share:.0%}{many}{'' if attack.defended else ', undefended'}"


def line(row: Suffered) -> str:
    """Return a row of the table as text."""
    told = ", ".join(f"{count} {outcome}" for outcome, count in sorted(row.outcomes.items()))
    return f"{_name(row.attack):<40} {row.exposure:>9.1%} {row.reward:>8.4f}  {told}"


def main() -> int:
    """Print the table; 1: a bound does not hold."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--honest", type=int, default=HONEST)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--kind", help="this kind of attack alone")
    given = arguments.parse_args()
    attacks = [each for each in ATTACKS if given.kind in (None, each.kind) or not each.kind]
    print(f"{'attack':<40} {'exposure':>9} {'reward':>8}  events of the attackers", flush=True)
    found = attack_table(
        given.seed,
        honest=given.honest,
        attacks=attacks,
        told=lambda row: print(line(row), flush=True),
    )
    print("\n".join(found.broken))
    return 0 if found.holds else 1


if __name__ == "__main__":
    sys.exit(main())
