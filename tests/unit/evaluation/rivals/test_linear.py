"""LinUCB: the normal equations, the bound, and what is learned from what was shown."""

from dataclasses import replace

import numpy as np
import pytest

from evaluation.rivals import LinUCB, LinUCBSettings, dense_features
from evaluation.rivals.linear import Asked
from evaluation.shop import Outcome, Shop, Situation
from policy.serving import ServingPolicy
from rewards.specification import RewardSpecification
from simulator.synthetic import SyntheticWorld
from tests.policies import weights_of

PRODUCTS = 60
SETTINGS = LinUCBSettings(alpha=0.3, ridge=2.0, own=0.4, prior=0.05, solve_every=8)


@pytest.fixture(scope="module")
def shop() -> Shop:
    return Shop(SyntheticWorld(PRODUCTS, seed=4, shoppers=20, past=300), RewardSpecification())


def linucb(shop: Shop, settings: LinUCBSettings = SETTINGS) -> LinUCB:
    weights = weights_of(PRODUCTS, seed=2)
    policy = ServingPolicy.compile(weights, shop.features, version=0)
    dense = dense_features(weights, shop.features, columns=6)
    return LinUCB(policy, dense, settings, rng=np.random.default_rng(3))


class Remembering:
    """Passes everything to LinUCB, and remembers every row of the full design matrix."""

    name = "remembering"

    def __init__(self, rival: LinUCB, own: float) -> None:
        self.rival, self.own = rival, own
        self.design: list[np.ndarray] = []
        self.points: list[float] = []
        self.situations: list[Situation] = []

    def banner(self, situation: Situation) -> np.ndarray:
        return self.rival.banner(situation)

    def learn(self, situation: Situation, banner: np.ndarray, outcome: Outcome) -> None:
        asked = self.rival.asked(situation)
        for position, row in enumerate(banner.tolist()):
            (place,) = np.flatnonzero(asked.rows == row)
            phi = asked.phi(np.array([place]))[0]
            own = self.own * np.eye(PRODUCTS)[row]
            self.design.append(np.concatenate([phi, np.eye(5)[position], own]))
        self.points += outcome.points
        self.situations.append(situation)
        self.rival.learn(situation, banner, outcome)


@pytest.fixture(scope="module")
def played(shop: Shop) -> Remembering:
    rival = Remembering(linucb(shop), SETTINGS.own)
    list(shop.play(rival, seed=9, banners=SETTINGS.solve_every * 40))
    return rival


def normal_equations(played: Remembering) -> tuple[np.ndarray, np.ndarray]:
    """Return A and b over all columns, built without any shortcut."""
    design, points = np.array(played.design), np.array(played.points)
    shared = design.shape[1] - PRODUCTS
    prior = np.concatenate([np.full(shared, SETTINGS.ridge), np.ones(PRODUCTS)])
    start = np.zeros(design.shape[1])
    start[shared - 6] = SETTINGS.ridge * SETTINGS.prior
    return np.diag(prior) + design.T @ design, start + design.T @ points


def test_theta_solves_the_normal_equations(played: Remembering) -> None:
    a, b = normal_equations(played)

    expected = np.linalg.solve(a, b)

    found = np.concatenate([played.rival.theta, played.rival.own_theta])
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(found, expected, atol=1e-9)


def full_columns(asked: Asked) -> np.ndarray:
    """Return z of every candidate, no position."""
    every = asked.phi(np.arange(len(asked.rows)))
    own = SETTINGS.own * np.eye(PRODUCTS)[asked.rows]
    return np.concatenate([every, np.zeros((len(every), 5)), own], axis=1)


def test_a_score_is_the_mean_and_alpha_standard_deviations(played: Remembering) -> None:
    a, b = normal_equations(played)
    inverse = np.linalg.inv(a)

    for situation in played.situations[-20:]:
        asked = played.rival.asked(situation)
        z = full_columns(asked)
        mean = z @ inverse @ b
        deviation = np.sqrt(np.einsum("ci,ij,cj->c", z, inverse, z))
        np.testing.assert_allclose(played.rival.mean(asked), mean, atol=1e-9)
        np.testing.assert_allclose(
            played.rival.scores(asked), mean + SETTINGS.alpha * deviation, atol=1e-9
        )
        assert (deviation > 0).all()


def test_the_bound_narrows_as_a_product_is_shown(shop: Shop, played: Remembering) -> None:
    situation = played.situations[0]
    fresh = linucb(shop)

    before = fresh.deviation(fresh.asked(situation))
    after = played.rival.deviation(played.rival.asked(situation))

    assert (after < before).all()


def test_without_experience_the_foundation_decides(shop: Shop, played: Remembering) -> None:
    rival = linucb(shop, replace(SETTINGS, alpha=0.0))
    policy = ServingPolicy.compile(weights_of(PRODUCTS, seed=2), shop.features, version=0)
    situation = played.situations[0]

    greedy = policy.greedy(
        viewed_row=situation.viewed_row,
        history=situation.history,
        eligible=np.ones(PRODUCTS, np.uint8),
        excluded=np.array([situation.viewed_row][: situation.viewed_row >= 0], np.int32),
        size=5,
    )

    assert rival.banner(situation).tolist() == greedy.tolist()


def test_only_the_foundations_candidates_are_shown(shop: Shop, played: Remembering) -> None:
    few = linucb(shop, replace(SETTINGS, candidates=7, alpha=5.0))
    first = linucb(shop, replace(SETTINGS, alpha=0.0))

    asked = few.asked(played.situations[3])

    assert len(asked.rows) == 7
    assert asked.rows[:5].tolist() == first.banner(played.situations[3]).tolist()


def test_a_sampled_theta_differs_and_is_the_same_for_the_same_seed(shop: Shop) -> None:
    settings = replace(SETTINGS, alpha=0.0, sampled=0.5)

    runs = [
        list(shop.play(linucb(shop, chosen), seed=9, banners=60))
        for chosen in (settings, settings, replace(settings, sampled=0.0))
    ]

    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_linucb_beats_the_foundation_it_starts_from(shop: Shop) -> None:
    learned = np.array(list(shop.play(linucb(shop), seed=9, banners=2_000)))[-1_000:]
    still = linucb(shop, replace(SETTINGS, alpha=0.0, solve_every=10_000))
    frozen = np.array(list(shop.play(still, seed=9, banners=2_000)))[-1_000:]

    difference = learned - frozen
    assert difference.mean() > 4 * difference.std() / np.sqrt(len(difference))


def test_a_reward_for_a_banner_that_was_not_shown_is_refused(
    shop: Shop, played: Remembering
) -> None:
    rival = linucb(shop)
    rival.banner(played.situations[0])

    with pytest.raises(ValueError, match="not the last one shown"):
        rival.learn(played.situations[0], np.arange(5), Outcome((0.0,) * 5, (), ()))


def test_dense_features_are_few_and_equal_for_equal_products(shop: Shop) -> None:
    weights = weights_of(PRODUCTS, seed=2)

    dense = dense_features(weights, shop.features, columns=12)
    again = dense_features(weights, shop.features, columns=12)

    assert dense.shape == (PRODUCTS, 12)
    np.testing.assert_allclose(dense, again)
    np.testing.assert_allclose(dense.mean(axis=0), 0.0, atol=1e-12)
