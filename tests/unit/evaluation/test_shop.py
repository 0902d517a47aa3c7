"""The closed loop: the same shoppers for every rival, the ring's own history and points."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from evaluation.rivals import Foundation, Learning, Popular, Random
from evaluation.shop import Outcome, Shop, Situation
from policy.serving import ServingPolicy
from rewards.specification import RewardSpecification
from schemas.history import unpack
from simulator.circumstances import Circumstances
from simulator.synthetic import SyntheticWorld
from tests.policies import weights_of
from trainer.learner import Learner
from trainer.learner_settings import LearnerSettings

PRODUCTS = 60
BANNERS = 120


@pytest.fixture(scope="module")
def shop() -> Shop:
    return Shop(SyntheticWorld(PRODUCTS, seed=4, shoppers=20, past=300), RewardSpecification())


@dataclass
class Fixed:
    """Shows the same five rows to everybody, and remembers what it was told."""

    first: int
    name: str = "fixed"
    situations: list[Situation] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)

    def banner(self, situation: Situation) -> Any:
        rows = np.arange(self.first, self.first + 6)
        return rows[rows != situation.viewed_row][:5]

    def learn(self, situation: Situation, banner: Any, outcome: Outcome) -> None:
        self.situations.append(situation)
        self.outcomes.append(outcome)


def who_came(rival: Fixed) -> list[tuple[str | None, str | None]]:
    """Return shopper and product viewed of each visit; what she has bought depends on the rival."""
    visits = [situation.visit for situation in rival.situations]
    return [(visit.user_id, visit.viewed_product_id) for visit in visits]


def test_every_rival_meets_the_same_visits(shop: Shop) -> None:
    first, other = Fixed(0), Fixed(30)

    earned = [list(shop.play(rival, seed=9, banners=BANNERS)) for rival in (first, other)]

    assert who_came(first) == who_came(other)
    assert len(earned[0]) == BANNERS
    assert earned[0] != earned[1]


def test_a_rival_played_again_starts_where_it_started(shop: Shop) -> None:
    once, again = Fixed(0), Fixed(0)

    earned = [list(shop.play(rival, seed=9, banners=BANNERS)) for rival in (once, again)]

    assert earned[0] == earned[1]
    assert [s.history for s in once.situations] == [s.history for s in again.situations]


def test_another_seed_brings_other_visits(shop: Shop) -> None:
    first, other = Fixed(0), Fixed(0)

    list(shop.play(first, seed=9, banners=20))
    list(shop.play(other, seed=10, banners=20))

    assert who_came(first) != who_came(other)


def test_a_shoppers_history_holds_what_she_bought_since(shop: Shop) -> None:
    rival = Fixed(0)

    list(shop.play(rival, seed=9, banners=600))

    orders: dict[str, list[int]] = {}
    for situation in rival.situations:
        if situation.visit.user_id is not None:
            orders.setdefault(situation.visit.user_id, []).append(unpack(situation.history).orders)
    grown = [seen for seen in orders.values() if len(seen) > 1]
    assert grown
    assert all(earlier <= later for seen in grown for earlier, later in pairwise(seen))
    assert any(seen[-1] > seen[0] for seen in grown)


def test_points_are_those_of_the_reward_specification(shop: Shop) -> None:
    rival = Fixed(0)

    list(shop.play(rival, seed=9, banners=600))

    clicked = [outcome for outcome in rival.outcomes if outcome.clicked]
    assert clicked
    for outcome in rival.outcomes:
        expected = shop.specification.points(5, clicked=outcome.clicked, bought=outcome.bought)
        assert outcome.points == expected


def test_what_is_expected_is_what_is_drawn_on_average(shop: Shop) -> None:
    rival = Fixed(0)

    expected = np.array(list(shop.play(rival, seed=9, banners=4_000)))

    drawn = np.array([sum(outcome.points) for outcome in rival.outcomes])
    difference = drawn - expected
    error = difference.std() / np.sqrt(len(difference))
    assert abs(difference.mean()) < 4 * error


def test_the_learning_rival_swaps_its_weights_after_each_full_batch(shop: Shop) -> None:
    weights = weights_of(PRODUCTS, seed=2)
    learner = Learner(
        weights, weights, shop.features, LearnerSettings(batch_banners=32, device="cpu")
    )
    rival = Learning(learner, shop.features, rng=np.random.default_rng(1))

    list(shop.play(rival, seed=9, banners=32 * 3 + 5))

    assert learner.updates == 3
    assert learner.banners == 96
    after = learner.weights()
    assert any(not np.array_equal(after[name], weights[name]) for name in weights)


def test_a_reward_for_a_banner_that_was_not_drawn_is_refused(shop: Shop) -> None:
    weights = weights_of(PRODUCTS, seed=2)
    learner = Learner(
        weights, weights, shop.features, LearnerSettings(batch_banners=32, device="cpu")
    )
    rival = Learning(learner, shop.features, rng=np.random.default_rng(1))
    situation = Situation(0, next(iter(shop.world.visits(1))), -1, b"")

    with pytest.raises(ValueError, match="not the last one drawn"):
        rival.learn(situation, np.arange(5), Outcome((0.0,) * 5, (), ()))


def test_the_foundation_is_greedy_and_never_shows_what_is_viewed(shop: Shop) -> None:
    policy = ServingPolicy.compile(weights_of(PRODUCTS, seed=2), shop.features, version=0)
    foundation = Foundation(policy, PRODUCTS)

    for situation in situations(shop, 200):
        rows = foundation.banner(situation)
        assert len(set(rows.tolist())) == 5
        assert situation.viewed_row not in rows
        assert rows.tolist() == foundation.banner(situation).tolist()


def situations(shop: Shop, count: int) -> list[Situation]:
    rival = Fixed(0)
    list(shop.play(rival, seed=9, banners=count))
    return rival.situations


@pytest.fixture(scope="module")
def changing() -> Shop:
    circumstances = Circumstances(turnover=20.0, bots=0.2)
    world = SyntheticWorld(PRODUCTS, seed=4, shoppers=20, past=300, circumstances=circumstances)
    return Shop(world, RewardSpecification())


def test_no_rival_shows_what_is_not_on_sale(changing: Shop) -> None:
    weights = weights_of(PRODUCTS, seed=2)
    policy = ServingPolicy.compile(weights, changing.features, version=0)
    learner = Learner(weights, weights, changing.features, LearnerSettings(device="cpu"))
    rng = np.random.default_rng(1)
    seen: set[int] = set()

    for rival in (
        Random(PRODUCTS, rng),
        Popular(np.arange(PRODUCTS)),
        Foundation(policy, PRODUCTS),
        Learning(learner, changing.features, rng=rng),
    ):
        for situation in situations(changing, 300):
            rows = rival.banner(situation)
            assert situation.eligible is not None
            assert situation.eligible[rows].all()
            assert situation.viewed_row not in rows
            assert len(set(rows.tolist())) == 5
            seen.update(rows.tolist())

    assert len(seen) > 40


def test_where_nothing_comes_and_goes_every_product_may_be_shown(shop: Shop) -> None:
    assert all(situation.eligible is None for situation in situations(shop, 20))


def test_the_shop_earns_nothing_by_bots_but_they_click(changing: Shop) -> None:
    rival = Fixed(0)

    earned = list(changing.play(rival, seed=9, banners=300))

    for situation, outcome, reward in zip(rival.situations, rival.outcomes, earned, strict=True):
        if situation.visit.is_bot:
            assert (reward, outcome.clicked, outcome.bought) == (0.0, (0, 1, 2, 3, 4), ())
    assert sum(situation.visit.is_bot for situation in rival.situations) > 30
