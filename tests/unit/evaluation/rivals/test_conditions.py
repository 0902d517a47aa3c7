"""What befalls the ring: stale weights, slow rewards, corrections, one bad batch."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from evaluation.rivals import Learning, RingConditions
from evaluation.rivals.conditions import RewardsUnderWay, WeightsUnderWay, in_two_parts
from evaluation.shop import Shop
from policy import reference
from policy.context import Context
from rewards.specification import RewardSpecification
from schemas import candidates
from schemas import history as histories
from schemas.rewards import Reward
from simulator.synthetic import SyntheticWorld
from tests.policies import Weights, weights_of
from trainer.learner import Learner
from trainer.learner_settings import LearnerSettings

PRODUCTS = 60
WEIGHTS = weights_of(PRODUCTS, seed=2)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def reward(name: str, *, bought: tuple[int, ...] = ()) -> Reward:
    points = RewardSpecification().points(5, clicked=(0,), bought=bought)
    return Reward(
        recommendation_id=name, revision=0, settled_at_ms=0, specification="", unit="",
        arm="policy", source="policy", trainable=True, points=points, delta=points, clicked=(0,),
        bought=bought, policy_version=1, catalogue_version=0, viewed_row=-1, history=b"",
        candidates=b"", rows=(0, 1, 2, 3, 4), log_probs=(-1.0,) * 5,
    )  # fmt: skip


def names(rewards: list[Reward]) -> list[str]:
    return [each.recommendation_id for each in rewards]


def test_rewards_arrive_when_they_are_due_and_in_that_order() -> None:
    under_way = RewardsUnderWay(5.0)
    under_way.send(reward("corrected"), NOON, later_seconds=10)
    under_way.send(reward("first"), NOON)
    under_way.send(reward("second"), NOON + timedelta(seconds=1))

    assert names(under_way.arrived(NOON + timedelta(seconds=4.9))) == []
    assert names(under_way.arrived(NOON + timedelta(seconds=6))) == ["first", "second"]
    assert names(under_way.arrived(NOON + timedelta(seconds=15))) == ["corrected"]


def test_where_visits_begin_anew_nothing_waits_for_the_year_to_pass_again() -> None:
    under_way = RewardsUnderWay(3600.0)
    under_way.send(reward("last"), NOON)
    under_way.arrived(NOON)

    assert names(under_way.arrived(NOON - timedelta(days=180))) == ["last"]


def test_fresh_weights_always_serve_and_stale_ones_wait() -> None:
    fresh, stale = WeightsUnderWay(0), WeightsUnderWay(2)

    def of(banners: int) -> Any:
        return lambda: {"banners": np.array(banners)}

    assert [fresh.served(banners, of(banners)) for banners in (0, 64)] == [
        {"banners": 0},
        {"banners": 64},
    ]
    served = {
        banners: found["banners"].item()
        for banners in range(0, 1281, 64)
        if (found := stale.served(banners, of(banners))) is not None
    }
    assert served == {0: 0, 768: 256, 1024: 512, 1280: 768}


def test_a_reward_in_two_parts_is_the_whole_in_the_end() -> None:
    whole = reward("r", bought=(0, 3))

    clicks, correction = in_two_parts(whole, RewardSpecification())

    assert (clicks.points, clicks.bought, clicks.revision) == ((0.1, 0, 0, 0, 0), (), 0)
    assert (correction.points, correction.bought, correction.revision) == (
        whole.points,
        whole.bought,
        1,
    )
    assert np.add(clicks.delta, correction.delta) == pytest.approx(whole.points)


@pytest.fixture(scope="module")
def shop() -> Shop:
    return Shop(SyntheticWorld(PRODUCTS, seed=4, shoppers=20, past=300), RewardSpecification())


class Remembering(Learner):
    """A learner that remembers what it was told, and the weights it had, by banners learned."""

    def __init__(self, features: Any) -> None:
        settings = LearnerSettings(batch_banners=64, device="cpu")
        super().__init__(WEIGHTS, WEIGHTS, features, settings)
        self.told: list[Reward] = []
        self.had = {0: self.weights()}

    def update(self, batch: Any) -> dict[str, float]:
        self.told.extend(batch)
        found = super().update(batch)
        self.had[self.banners] = self.weights()
        return found


def played(shop: Shop, ring: RingConditions, banners: int = 600) -> tuple[list[float], Remembering]:
    learner = Remembering(shop.features)
    rival = Learning(learner, shop.features, rng=np.random.default_rng(1), ring=ring)
    return list(shop.play(rival, seed=9, banners=banners)), learner


@pytest.fixture(scope="module")
def ordinary(shop: Shop) -> tuple[list[float], Remembering]:
    return played(shop, RingConditions())


def test_stale_weights_serve_first_and_their_draws_say_which_they_were(shop: Shop) -> None:
    earned, learner = played(shop, RingConditions(stale=1), banners=1_088)

    versions = [told.policy_version for told in learner.told]
    assert len(earned) == 1_088
    assert versions == [1] * 512 + [2] * 256 + [3] * 256 + [4] * 64
    assert learner.updates == 17


def defined_log_probs(shop: Shop, weights: Weights, reward: Reward) -> npt.NDArray[np.float64]:
    """Return (K,) log-probabilities of a banner under weights, by the float64 definition."""
    rows = candidates.unpack(reward.candidates)
    context = Context(reward.viewed_row, histories.unpack(reward.history))
    products = reference.compile_products(weights, shop.features)
    scores = reference.scores(weights, products, shop.features, context)[rows]
    banner = np.searchsorted(rows, reward.rows)
    lifts = reference.pair_lifts(weights, shop.features, rows, banner)
    return reference.position_log_prob(scores, banner, lifts)


def test_the_probabilities_of_stale_draws_are_those_of_the_weights_that_drew(shop: Shop) -> None:
    learner = played(shop, RingConditions(stale=1), banners=1_088)[1]

    for told in learner.told[900:1_000]:
        assert told.policy_version == 3
        drew, newer = (defined_log_probs(shop, learner.had[at], told) for at in (512, 768))
        assert np.array(told.log_probs, float) == pytest.approx(drew, abs=1e-4)
        assert np.abs(drew - newer).max() > 1e-3


def test_slow_rewards_are_late_and_none_is_lost(
    shop: Shop, ordinary: tuple[list[float], Remembering]
) -> None:
    slow = played(shop, RingConditions(settle_seconds=3600))[1]

    # 20 seconds lie between visits: an hour is some 180 of them
    assert 300 < len(slow.told) < 500
    assert names(slow.told) == [str(number) for number in range(len(slow.told))]
    assert slow.told[0] == ordinary[1].told[0]


def test_corrections_come_after_the_clicks_and_bring_the_rest(
    shop: Shop, ordinary: tuple[list[float], Remembering]
) -> None:
    told = played(shop, RingConditions(corrections=1.0))[1].told

    corrections = [each for each in told if each.revision == 1]
    first = {each.recommendation_id: place for place, each in enumerate(told) if not each.revision}
    bought = [each for each in ordinary[1].told if each.bought]
    assert bought
    assert corrections
    assert all(not told[place].bought for place in first.values())
    for each in corrections:
        settled = told[first[each.recommendation_id]]
        assert first[each.recommendation_id] < told.index(each)
        assert np.add(settled.points, each.delta) == pytest.approx(each.points)


def test_a_bad_batch_is_one_shoppers_who_clicked_everything(
    shop: Shop, ordinary: tuple[list[float], Remembering]
) -> None:
    earned, learner = played(shop, RingConditions(bad_batch=99))

    bad = [each for each in learner.told if "again" in each.recommendation_id]
    assert len(bad) == 256
    assert {each.unit for each in bad} == {learner.told[99].unit}
    assert {each.clicked for each in bad} == {(0, 1, 2, 3, 4)}
    assert {each.points for each in bad} == {(0.1,) * 5}
    assert [learner.told.index(each) for each in bad] == list(range(100, 356))
    assert len({each.rows for each in bad}) > 1
    assert earned[:100] == ordinary[0][:100]
    assert earned != ordinary[0]


def test_a_bad_batch_settles_as_late_as_any_reward(shop: Shop) -> None:
    told = played(shop, RingConditions(bad_batch=99, settle_seconds=3600))[1].told

    bad = [place for place, each in enumerate(told) if "again" in each.recommendation_id]
    assert bad == list(range(100, 356))  # after what the visits before it earned, itself late
    assert told[99].recommendation_id == "99"


def test_as_it_stands_nothing_befalls_the_ring(
    shop: Shop, ordinary: tuple[list[float], Remembering]
) -> None:
    told = ordinary[1].told

    assert names(told) == [str(number) for number in range(len(told))]
    assert len(told) == 576
    assert {each.revision for each in told} == {0}
    assert all(
        later.policy_version - before.policy_version in {0, 1} for before, later in pairwise(told)
    )
    assert msgspec.structs.asdict(told[0])["policy_version"] == 1
