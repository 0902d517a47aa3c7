"""What earns more together is found, told apart from what earns by itself."""

from typing import Any

import numpy as np
import pytest

from policy.architecture import PAIR_GROUPS, TRAITS
from policy.features import pair_groups
from trainer.learner import Learner
from trainer.learner_settings import LearnerSettings
from trainer.observations import Observations
from trainer.pair_effects import PairEffects, other_groups
from trainer.reward_model import RewardModel, RewardModelSettings

PRODUCTS = 12
GROUPS = np.arange(PRODUCTS) % 4
GROUPS[11] = PAIR_GROUPS
"""Products 0, 4, 8 are of group 0, and so on; 11 has none."""


def seen_of(banners: int, *, together: float, seed: int = 0) -> Observations:
    """Return banners drawn evenly; products of groups 1 and 2 earn more together by so many nats,
    and product 0 earns a nat more than the others wherever it stands."""
    rng = np.random.default_rng(seed)
    rows = np.array([rng.choice(PRODUCTS, 5, replace=False) for _ in range(banners)])
    groups = GROUPS[rows]
    others = other_groups(groups)
    partner = np.select([groups == 1, groups == 2], [2, 1], -1)
    rate = np.exp(-2.5 + (rows == 0) + together * (others == partner[:, :, None]).sum(axis=2))
    count, earned = banners * 5, rng.random(rows.shape) < np.minimum(rate, 1.0)
    return Observations(
        rows=rows.ravel(),
        traits=np.zeros((count, TRAITS)),
        contexts=np.zeros((count, 2 * TRAITS)),
        familiarity=np.zeros(count),
        groups=groups.ravel(),
        others=others.reshape(count, 4),
        positions=np.tile(np.arange(5), banners),
        earned=earned.ravel().astype(np.float64),
        began=earned.ravel().astype(np.float64),
        is_new=np.ones(count, np.bool_),
    )


def model_of(batches: int = 30, *, together: float = 0.8, **changes: Any) -> RewardModel:
    settings = RewardModelSettings(exploration=0.0, **{"pair_spread": (0.7, 0.0), **changes})
    model = RewardModel(PRODUCTS, settings)
    for seed in range(batches):
        model.observe(seen_of(128, together=together, seed=seed), 128)
    return model


def drawn(model: RewardModel) -> dict[str, np.ndarray]:
    return model.draw(np.random.default_rng(0))


def test_a_planted_pair_is_found_and_no_other() -> None:
    settings = RewardModelSettings()

    tensors = drawn(model_of())

    effects = tensors["value_pairs"] / (settings.weight * settings.pair_reach)
    assert 0.4 < effects[1, 2] < 0.9  # products that always stand beside partners earn more too
    assert effects.dtype == np.float32
    np.testing.assert_array_equal(effects, effects.T)
    effects[1, 2] = effects[2, 1] = 0.0
    assert np.abs(effects).max() < 0.25
    assert not effects[4:].any()  # groups that were never shown


def test_what_earns_by_itself_is_not_taken_for_a_pair() -> None:
    tensors = drawn(model_of(together=0.0))

    settings = RewardModelSettings()
    bias = tensors["value_bias"] / settings.weight
    assert bias[0] > np.delete(bias, 0).max() + 0.5
    assert np.abs(tensors["value_pairs"]).max() < 0.2 * settings.weight * settings.pair_reach


def test_without_a_spread_nothing_is_learned_of_pairs() -> None:
    model = model_of(3, pair_spread=(0.0, 0.0))

    assert not drawn(model)["value_pairs"].any()


def test_products_without_a_group_go_with_nothing() -> None:
    effects = PairEffects.unknown(0.5)
    groups = np.array([PAIR_GROUPS, 3])
    others = np.array([[3, 5], [PAIR_GROUPS, 5]])
    left = np.array([2.0, 1.0])

    precision = effects.precision(groups, others, np.ones(2))
    step = effects.step(effects.means, precision, groups, others, left)

    assert step[3, 5] == step[5, 3] == pytest.approx(1.0 / 5.0)
    assert np.count_nonzero(step) == 2
    assert np.count_nonzero(precision != 4.0) == 2


def test_a_pair_that_stands_twice_on_a_banner_tells_more() -> None:
    effects = PairEffects.unknown(1.0)
    groups, others = np.array([3]), np.array([[5, 5]])

    effects.means = effects.step(
        effects.means, effects.precision(groups, others, np.ones(1)), groups, others, np.ones(1)
    )

    assert effects.precision(groups, others, np.ones(1))[3, 5] == 1.0 + 2.0**2
    assert effects.effects(groups, others) == pytest.approx([2 * 2.0 / 5.0])


def test_precisions_return_to_their_prior() -> None:
    effects = PairEffects.unknown(1.0)
    effects.precisions[1, 2] = 11.0

    effects.forget(0.5)

    assert effects.precisions[1, 2] == 6.0
    assert effects.precisions[2, 2] == 1.0


def test_a_draw_is_symmetric_and_its_spread_is_narrowed() -> None:
    effects = PairEffects.unknown(0.5)

    found = effects.draw(0.4, np.random.default_rng(1))

    np.testing.assert_array_equal(found, found.T)
    assert np.triu(found).std() > 0
    assert found.std() == pytest.approx(0.5 * 0.4, rel=0.05)
    assert not effects.draw(0.0, np.random.default_rng(1)).any()


def test_a_model_goes_on_from_its_state_and_from_a_snapshot() -> None:
    model = model_of(10)
    tensors = drawn(model)
    other = RewardModel(PRODUCTS, model.settings)

    other.restore(model.state())
    weights = {**tensors, "sharpness": np.ones(1, np.float32)}
    third = RewardModel.from_value(weights, PRODUCTS, model.settings)

    for name, value in drawn(other).items():
        np.testing.assert_array_equal(value, tensors[name])
    np.testing.assert_allclose(drawn(third)["value_pairs"], tensors["value_pairs"], atol=1e-5)


def test_a_learner_learns_which_categories_pay_together(shop: Any) -> None:
    """Of three categories, each is worth nothing but beside products of the right other one."""
    groups = pair_groups(shop.features.categories)
    kinds = sorted(set(groups.tolist()))
    first, second = kinds[:2]

    def pays(rows: tuple[int, ...]) -> tuple[float, ...]:
        beside = {int(group) for group in groups[list(rows)]}
        good = {first, second} if {first, second} <= beside else set()
        return tuple(float(groups[row] in good) for row in rows)

    settings = LearnerSettings(
        device="cpu", reward_model=RewardModelSettings(pair_spread=(0.3, 0.3))
    )
    learner = Learner(shop.weights, shop.weights, shop.features, settings)
    weights = learner.weights()
    for number in range(12):
        learner.update(shop.rewards(64, seed=number, points=pays, weights=weights))
        weights = learner.weights()

    table = weights["value_pairs"][np.ix_(kinds, kinds)]
    assert np.unravel_index(np.argmax(table), table.shape) in {(0, 1), (1, 0)}
    assert table[0, 1] > 0.5
