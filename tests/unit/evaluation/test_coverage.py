"""What a contender would show, and the probability that its candidates leave out."""

from itertools import islice

import numpy as np
import pytest

from evaluation.coverage import PAIRS, covered, outside, pairs
from evaluation.rivals import Foundation, Learning, LinUCB, LinUCBSettings, Popular, dense_features
from evaluation.shop import Shop, Situation
from policy.serving import ServingPolicy
from rewards.specification import RewardSpecification
from simulator.synthetic import SyntheticWorld
from tests.policies import weights_of
from trainer.learner import Learner
from trainer.learner_settings import LearnerSettings

FEW, MANY = 60, 2_100


def shop_of(products: int) -> Shop:
    world = SyntheticWorld(products, seed=4, shoppers=20, past=300)
    return Shop(world, RewardSpecification())


def situations(shop: Shop, count: int) -> list[Situation]:
    visits = islice(shop.world.visits(1), count)
    return [
        Situation(
            number=number,
            visit=visit,
            viewed_row=shop.row_of[visit.viewed_product_id] if visit.viewed_product_id else -1,
            history=b"",
        )
        for number, visit in enumerate(visits)
    ]


def learning(shop: Shop) -> Learning:
    weights = weights_of(len(shop.product_ids), seed=2)
    learner = Learner(weights, weights, shop.features, LearnerSettings(device="cpu"))
    return Learning(learner, shop.features, rng=np.random.default_rng(1))


@pytest.fixture(scope="module")
def shop() -> Shop:
    return shop_of(FEW)


def test_greedy_fives_are_those_of_the_scores_that_serve(shop: Shop) -> None:
    met = situations(shop, 40)
    policy = ServingPolicy.compile(weights_of(FEW, seed=2), shop.features, version=0)
    foundation = Foundation(policy, FEW)

    shown = {row for each in met for row in foundation.banner(each).tolist()}
    assert covered(foundation, met) == len(shown)
    assert covered(learning(shop), met) == len(shown)  # it has learned nothing yet


def test_asking_for_the_greedy_five_changes_no_draw(shop: Shop) -> None:
    met, asked, not_asked = situations(shop, 20), learning(shop), learning(shop)

    covered(asked, met)
    outside(asked, met)

    for each in met:
        assert asked.banner(each).tolist() == not_asked.banner(each).tolist()


def test_a_linear_rival_covers_what_it_shows(shop: Shop) -> None:
    weights, met = weights_of(FEW, seed=2), situations(shop, 20)
    policy = ServingPolicy.compile(weights, shop.features, version=0)
    rival = LinUCB(
        policy, dense_features(weights, shop.features), LinUCBSettings(),
        rng=np.random.default_rng(1),
    )  # fmt: skip

    shown = {row for each in met for row in rival.banner(each).tolist()}
    assert covered(rival, met) == len(shown)


def test_who_has_no_scores_covers_nothing_that_could_be_told(shop: Shop) -> None:
    popular = Popular(np.arange(FEW))

    assert covered(popular, situations(shop, 3)) is None
    assert outside(popular, situations(shop, 3)) is None


def test_the_strongest_pairs_are_those_of_whoever_learns_any(shop: Shop) -> None:
    strongest = pairs(learning(shop), shop.world.products)

    assert 0 < len(strongest) <= PAIRS
    assert strongest == learning(shop).pairs(shop.world.products, count=PAIRS)
    assert pairs(Popular(np.arange(FEW)), shop.world.products) == ()


def test_nothing_lies_outside_where_every_product_is_a_candidate(shop: Shop) -> None:
    assert outside(learning(shop), situations(shop, 3)) is None


def test_the_mass_outside_is_what_the_candidates_do_not_hold() -> None:
    shop = shop_of(MANY)
    met, rival = situations(shop, 5), learning(shop)
    policy = ServingPolicy.compile(weights_of(MANY, seed=2), shop.features, version=0)

    found = outside(rival, met)

    lowest, highest = [], []
    for each in met:
        scores = policy.scores(
            viewed_row=each.viewed_row,
            history=each.history,
            eligible=np.ones(MANY, np.uint8),
            excluded=np.empty(0, np.int32),
        ).astype(np.float64)
        mass = np.sort(np.exp(scores))[::-1]
        lowest.append(mass[516:].sum() / mass.sum())  # were those drawn at random the next best
        highest.append(mass[500:].sum() / mass.sum())
    assert found is not None
    assert 0.0 < np.mean(lowest) <= found <= np.mean(highest)


def test_the_oracle_shows_its_banners_on_the_last_visits_of_a_run(shop: Shop) -> None:
    visits = list(islice(shop.world.visits(9), 30))

    shown = list(shop.best_shown(seed=9, banners=30, last=10))

    assert shown == [shop.world.oracle(visit) for visit in visits[-10:]]
    assert len(list(shop.best_shown(seed=9, banners=5, last=10))) == 5
