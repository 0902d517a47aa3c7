"""Attackers beside honest shoppers: what a product that is pushed gains, and what shoppers lose.

The shop is simulated, everything else is the ring's own without the wire: serving policy, tokens,
intake, browser rules, attribution and settlement, learner. An attacker holds the key of a page,
which everybody can read there, and pushes one product that shoppers are lukewarm about.

    python -m tests.faults.attacks --seed 1
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from evaluation.learn import past_orders
from evaluation.shop import Histories, Shop
from rewards.specification import RewardSpecification
from simulator.circumstances import Circumstances, Rhythm
from simulator.synthetic import SyntheticWorld
from simulator.world import Visit, visit_rng
from tests.faults.attacked_ring import Banner, Ring
from tests.faults.attackers import Attack, Attackers
from trainer.pretraining import pretrain

HONEST = 3_000
"""Visits of honest shoppers."""
SECONDS_BETWEEN = 0.5
"""Between honest visits."""
MOST_EXPOSURE_GAINED = 0.10
"""Of the honest banners that show the product, beyond those of a calm shop: whatever the attack of
one machine, at up to a fifth of the traffic."""
MOST_REWARD_LOST = 0.05
"""Of honest shoppers' reward in a calm shop, likewise."""
_PRODUCTS, _SHOPPERS, _PAST = 100, 300, 3_000

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
