"""The reward model: it finds what was planted, knows what it does not know, and can be resumed."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from policy.architecture import PAIR_GROUPS, TENSORS, TRAITS
from trainer.observations import Observations
from trainer.reward_model import RewardModel, RewardModelSettings

PRODUCTS = 40
CERTAIN = RewardModelSettings(weight=1.0, exploration=0.0)


def observed(
    count: int, *, seed: int = 0, rate: Any = lambda rows, _: np.full(len(rows), 0.2)
) -> Observations:
    """Return positions shown at random, each earning 1 with probability rate(rows, z)."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, PRODUCTS, count)
    traits = np.random.default_rng(99).normal(size=(PRODUCTS, TRAITS))[rows]
    z = rng.normal(size=(count, 2 * TRAITS))
    earned = (rng.random(count) < rate(rows, z)).astype(float)
    return Observations(
        rows=rows, traits=traits, contexts=z, familiarity=np.zeros(count),
        positions=rng.integers(0, 5, count), earned=earned, began=earned,
        is_new=np.ones(count, bool), groups=np.full(count, PAIR_GROUPS),
        others=np.full((count, 4), PAIR_GROUPS),
    )  # fmt: skip


def learned(seen: list[Observations], settings: RewardModelSettings = CERTAIN) -> RewardModel:
    model = RewardModel(PRODUCTS, settings)
    for batch in seen:
        model.observe(batch, len(batch.rows) // 5)
    return model


def drawn(model: RewardModel, seed: int = 0) -> dict[str, Any]:
    return model.draw(np.random.default_rng(seed))


def test_a_product_that_earns_more_than_the_rest_is_found() -> None:
    def rate(rows: Any, _: Any) -> Any:
        return np.where(rows == 7, 0.6, 0.15)

    bias = drawn(learned([observed(640, seed=n, rate=rate) for n in range(6)]))["value_bias"]

    assert bias.argmax() == 7
    # between nothing and the whole truth, log 4, since it is shrunk
    assert 0.6 < bias[7] - np.delete(bias, 7).mean() < np.log(4.0) + 0.2


def test_what_a_context_does_for_one_product_is_found() -> None:
    def rate(rows: Any, z: Any) -> Any:
        return np.where(rows == 3, np.clip(0.15 * np.exp(0.8 * z[:, 5]), 0.0, 0.9), 0.15)

    slopes = drawn(learned([observed(1280, seed=n, rate=rate) for n in range(8)]))["value_rows"]

    assert np.abs(slopes).argmax() == 3 * 2 * TRAITS + 5
    assert slopes[3, 5] > 0.15


def test_what_all_products_share_is_found() -> None:
    traits = np.random.default_rng(99).normal(size=(PRODUCTS, TRAITS))

    def rate(rows: Any, z: Any) -> Any:
        return np.clip(0.1 * np.exp(0.5 * traits[rows, 2] * z[:, 9]), 0.0, 0.9)

    context = drawn(learned([observed(1280, seed=n, rate=rate) for n in range(8)]))["value_context"]

    assert np.abs(context).argmax() == 9 * TRAITS + 2
    assert context[9, 2] > 0.15


def test_where_nothing_differs_nothing_is_claimed() -> None:
    value = drawn(learned([observed(640, seed=n) for n in range(6)]))

    assert value["value_bias"].std() < 0.25
    assert abs(value["value_bias"].mean()) < 0.2  # what all earn is the level's
    assert np.abs(value["value_context"]).max() < 0.15


def test_what_was_shown_more_is_more_certain_and_draws_tell_so() -> None:
    seen = observed(1280)
    often = seen.only(seen.rows < 20)
    model = learned([often], RewardModelSettings(weight=1.0, exploration=1.0))

    draws = np.stack([drawn(model, seed)["value_bias"] for seed in range(60)]).std(axis=0)
    precision = drawn(model)["value_precision"]

    assert draws[:20].mean() < 0.8 * draws[20:].mean()
    assert precision[:20].min() > precision[20:].max()


def test_certainty_fades_with_the_banners_that_pass() -> None:
    settings = RewardModelSettings(horizon_banners=100.0)
    model = learned([observed(1280)], settings)
    before = drawn(model)["value_precision"]

    nothing = observed(5).only(np.zeros(5, bool))
    model.observe(nothing, 50)

    prior = drawn(RewardModel(PRODUCTS, settings))["value_precision"]
    assert drawn(model)["value_precision"] == pytest.approx((before + prior) / 2, rel=1e-5)


def test_corrections_count_like_points_that_came_at_once() -> None:
    at_once = [observed(640, seed=n) for n in range(4)]
    late = np.arange(640) % 3 == 0  # a third of what is earned is known only later
    batches = []
    for seen in at_once:
        soon = np.where(late, 0.0, seen.earned)
        batches.append(replace(seen, earned=soon, began=soon))
        left = replace(seen, is_new=np.zeros(640, bool)).only(late & (seen.earned > 0))
        batches.append(left)

    corrected = drawn(learned(batches))["value_bias"]

    assert np.corrcoef(corrected, drawn(learned(at_once))["value_bias"])[0, 1] > 0.9


def test_a_restored_model_continues_to_the_same_bits() -> None:
    unbroken = learned([observed(320, seed=1)])
    restored = RewardModel(PRODUCTS, CERTAIN)
    restored.restore(unbroken.state())

    for model in (unbroken, restored):
        model.observe(observed(320, seed=2), 64)

    one, other = drawn(unbroken, 5), drawn(restored, 5)
    assert all(one[name].tobytes() == other[name].tobytes() for name in one)
    assert unbroken.state().keys() == restored.state().keys()


def test_a_part_without_slopes_keeps_none() -> None:
    state = learned([observed(320, seed=1)]).state()

    assert state["earning/slopes"].shape == (PRODUCTS, 2 * TRAITS)
    assert state["worth/slopes"].size == state["worth/slopes_precision"].size == 0


@pytest.mark.parametrize("spread", [(0.0, 0.0), (0.0, 0.5), (0.5, 0.5)])
def test_either_part_may_have_slopes(spread: tuple[float, float]) -> None:
    settings = replace(CERTAIN, slope_spread=spread)
    model = learned([observed(640, seed=n) for n in range(2)], settings)
    model.grow(PRODUCTS + 3)
    model.observe(observed(320, seed=7), 64)
    again = RewardModel(PRODUCTS + 3, settings)
    again.restore(model.state())
    snapshot = {**drawn(model), "sharpness": np.ones(1, np.float32)}

    assert drawn(model)["value_rows"].shape == (PRODUCTS + 3, 2 * TRAITS)
    assert drawn(model)["value_rows"].any() == any(spread)
    assert drawn(again)["value_rows"].tobytes() == drawn(model)["value_rows"].tobytes()
    gone_on = RewardModel.from_value(snapshot, PRODUCTS + 3, settings)
    assert drawn(gone_on)["value_rows"].any() == (spread[0] > 0)


def test_a_state_that_still_has_empty_slopes_is_taken() -> None:
    unbroken = learned([observed(320, seed=1)])
    earlier = unbroken.state()
    earlier["worth/slopes"] = np.zeros((PRODUCTS, 2 * TRAITS))
    earlier["worth/slopes_precision"] = np.zeros((PRODUCTS, 0))
    restored = RewardModel(PRODUCTS, CERTAIN)
    restored.restore(earlier)

    for model in (unbroken, restored):
        model.grow(PRODUCTS + 1)
        model.observe(observed(320, seed=2), 64)

    one, other = unbroken.state(), restored.state()
    assert {name: value.tobytes() for name, value in one.items()} == {
        name: value.tobytes() for name, value in other.items()
    }


def test_a_draw_is_what_a_snapshot_holds() -> None:
    for name, value in drawn(RewardModel(PRODUCTS)).items():
        assert value.shape == TENSORS[name].sizes(PRODUCTS)
        assert value.dtype == np.dtype(TENSORS[name].dtype)


def test_a_model_goes_on_from_a_snapshot_where_its_draw_stood() -> None:
    settings = RewardModelSettings(weight=4.0, exploration=0.0)
    model = learned([observed(640, seed=n) for n in range(3)], settings)
    snapshot = drawn(model)

    again = RewardModel.from_value(
        {**snapshot, "sharpness": np.ones(1, np.float32)}, PRODUCTS, settings
    )

    for name, value in drawn(again).items():
        np.testing.assert_allclose(value, snapshot[name], rtol=1e-4, atol=1e-5)


def test_a_foundation_has_no_value_to_go_on_from() -> None:
    zeros = {name: np.zeros(TENSORS[name].sizes(PRODUCTS)) for name in TENSORS}
    zeros["sharpness"] = np.array([4.0], np.float32)
    fresh = RewardModel.from_value(zeros, PRODUCTS + 5, CERTAIN)

    assert len(drawn(fresh)["value_bias"]) == PRODUCTS + 5
    assert not drawn(fresh)["value_bias"].any()


def test_new_products_are_as_uncertain_as_any_was() -> None:
    model = learned([observed(640)])
    model.grow(PRODUCTS + 3)

    value = drawn(model)
    assert (value["value_bias"][PRODUCTS:] == 0.0).all()
    assert value["value_precision"][PRODUCTS:].max() < value["value_precision"][:PRODUCTS].min()


def test_a_strong_foundation_leaves_less_to_correct() -> None:
    seen = [observed(640, rate=lambda rows, _: np.where(rows == 7, 0.6, 0.15))]
    weak, strong = RewardModel(PRODUCTS, CERTAIN), RewardModel(PRODUCTS, CERTAIN, sharpness=4.0)
    for model in (weak, strong):
        model.observe(seen[0], 128)

    assert 0.0 < drawn(strong)["value_bias"][7] < 0.8 * drawn(weak)["value_bias"][7]
