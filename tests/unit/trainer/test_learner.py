"""The learner: it learns what pays, deterministically, and refuses what is not finite."""

from typing import Any

import msgspec
import numpy as np
import pytest

from policy.features import encode_products
from projections.orders import with_order
from schemas import history as histories
from schemas.products import Product
from schemas.rewards import Reward
from trainer.errors import RewardNotUsable, SettingsNotPossible
from trainer.examples import read_example
from trainer.health import HEALTH
from trainer.learner import Learner
from trainer.learner_settings import LearnerSettings
from trainer.reward_model import RewardModelSettings, reward_model_settings


def pays(*good: int) -> Any:
    return lambda rows: tuple(1.0 if row in good else 0.0 for row in rows)


def learner_of(shop: Any, **changes: Any) -> Learner:
    """Return a learner whose policy gradient moves with every batch, however small."""
    settings = LearnerSettings(**{"device": "cpu", "batch_banners": 1, **changes})
    return Learner(shop.weights, shop.weights, shop.features, settings)


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(
        one[name].tobytes() == other[name].tobytes() for name in one
    )


def share_of(shop: Any, weights: Any, product: int) -> float:
    """Share of banners that show a product."""
    return float(np.mean([product in r.rows for r in shop.rewards(400, seed=99, weights=weights)]))


def test_what_pays_is_shown_more_and_the_rest_less(shop: Any) -> None:
    learner = learner_of(shop)
    weights = shop.weights

    for number in range(12):
        learner.update(shop.rewards(128, seed=number, points=pays(7), weights=weights))
        weights = learner.weights()

    assert share_of(shop, weights, 7) > share_of(shop, shop.weights, 7) + 0.2


def test_equal_batches_give_equal_bits(shop: Any) -> None:
    one, other = learner_of(shop), learner_of(shop)

    for number in range(3):
        batch = shop.rewards(64, seed=number, points=pays(3, 4))
        assert one.update(batch) == other.update(batch)

    assert same(one.weights(), other.weights())


def test_a_restored_learner_continues_to_the_same_bits(shop: Any) -> None:
    batches = [shop.rewards(64, seed=number, points=pays(3)) for number in range(4)]
    unbroken = learner_of(shop)
    for batch in batches[:2]:
        unbroken.update(batch)

    restored = learner_of(shop)
    restored.restore(unbroken.state())
    healths = [(unbroken.update(batch), restored.update(batch)) for batch in batches[2:]]

    assert all(one == other for one, other in healths)
    assert same(unbroken.weights(), restored.weights())
    assert same(unbroken.state(), restored.state())


def test_every_health_metric_is_explained(shop: Any) -> None:
    health = learner_of(shop).update(shop.rewards(32, points=pays(1)))

    assert health.keys() == HEALTH.keys()
    assert all(np.isfinite(list(health.values())))


def test_without_rewards_the_policy_stays_with_the_foundation(shop: Any) -> None:
    learner = learner_of(shop)

    for number in range(3):
        health = learner.update(shop.rewards(64, seed=number))

    assert health["kl_nats"] == pytest.approx(0.0, abs=1e-3)


def test_a_batch_that_is_not_finite_is_refused_and_changes_nothing(shop: Any) -> None:
    endless = {**shop.weights, "user_bias": np.full(32, np.inf, np.float32)}
    learner = Learner(endless, shop.weights, shop.features, LearnerSettings(device="cpu"))
    before = learner.state()

    health = learner.update(shop.rewards(32, points=pays(2)))

    assert health == {"refused": 1.0}
    after = learner.state()
    assert learner.refused == 1
    del before["counters"], after["counters"]
    assert same(before, after)


def test_a_small_batch_moves_the_weights_less(shop: Any) -> None:
    full, small = learner_of(shop), learner_of(shop)
    rewards = shop.rewards(64, points=pays(1))

    at_full = full.update(rewards)["learning_rate"]
    at_small = small.update(rewards[:4])["learning_rate"]

    assert at_small == pytest.approx(at_full / 4, rel=1e-3)


def test_a_correction_moves_the_policy_like_the_difference_it_carries(shop: Any) -> None:
    learner = learner_of(shop)
    learner.update(shop.rewards(128, points=pays(1)))
    settled = shop.rewards(128, seed=3)
    later = [
        msgspec.structs.replace(r, revision=1, points=pays(7)(r.rows), delta=pays(7)(r.rows))
        for r in settled
    ]
    before = share_of(shop, learner.weights(), 7)

    for _ in range(8):
        health = learner.update(later)

    assert share_of(shop, learner.weights(), 7) > before
    assert health["corrections"] == 128.0
    assert learner.banners == 128  # corrections are no new banners


def test_pinned_positions_and_short_banners_are_learned_from(shop: Any) -> None:
    learner = learner_of(shop)
    full = shop.rewards(64, points=pays(7))
    short = [
        msgspec.structs.replace(
            r, rows=r.rows[:3], points=r.points[:3], delta=r.delta[:3], log_probs=r.log_probs[:3]
        )
        for r in full[:32]
    ]
    pinned = [_with_pin(r) for r in full[32:]]

    health = learner.update([*short, *pinned])

    assert health["refused"] == 0.0
    assert not same(learner.weights(), shop.weights)


def _with_pin(reward: Reward) -> Reward:
    """Return the banner as if a product that is no candidate had been pinned at position 1."""
    log_probs = (reward.log_probs[0], None, *reward.log_probs[2:])
    rows = (reward.rows[0], reward.viewed_row if reward.viewed_row >= 0 else 29, *reward.rows[2:])
    return msgspec.structs.replace(reward, rows=rows, log_probs=log_probs)


def test_stale_banners_count_with_a_capped_weight(shop: Any) -> None:
    learner = learner_of(shop)
    unlikely = [
        msgspec.structs.replace(r, log_probs=(-40.0,) * 5) for r in shop.rewards(32, points=pays(2))
    ]

    health = learner.update(unlikely)

    assert health["cap_share"] == 1.0
    assert health["refused"] == 0.0


def test_a_grown_catalogue_keeps_moments_and_starts_new_rows_at_zero(shop: Any) -> None:
    learner = learner_of(shop)
    learner.update(shop.rewards(64, points=pays(7)))
    before = learner.state()
    grown = encode_products(
        [
            Product(product_id=f"p{row}", title=f"thing {row % 5}", category=f"c{row % 3}")
            for row in range(33)
        ]
    )

    learner.grow(grown)

    after = learner.state()
    assert learner.products == 33
    assert not after["weights/output_rows"][30:].any()
    np.testing.assert_array_equal(
        after["moments/exp_avg/output_rows"][:30], before["moments/exp_avg/output_rows"]
    )
    assert learner.update(shop.rewards(64, seed=2, points=pays(7)))["refused"] == 0.0


def history_with_a_count_that_is_no_number() -> bytes:
    packed = histories.pack(with_order(histories.EMPTY, [4]))
    words = np.frombuffer(packed, np.uint32).copy()
    words[6] = 0x7FC00000
    return words.tobytes()


@pytest.mark.parametrize(
    "change",
    [
        {"points": (1.0,)},
        {"points": (1e300, 0.0, 0.0, 0.0, 0.0)},
        {"rows": (1, 1, 2, 3, 4)},
        {"rows": (1, 2, 3, 4, 29), "candidates": b"\x00\x1f"},
        {"candidates": b""},
        {"candidates": b"\x07\x00"},
        {"history": b"short"},
        {"history": history_with_a_count_that_is_no_number()},
        {"log_probs": (0.5, -1.0, -1.0, -1.0, -1.0)},
        {"log_probs": (None,) * 5},
    ],
    ids=[
        "lengths", "huge points", "shown twice", "not a candidate", "no candidates",
        "unknown encoding", "history cut short", "count not finite",
        "probability above one", "nothing drawn",
    ],
)  # fmt: skip
def test_a_reward_that_contradicts_itself_is_not_usable(shop: Any, change: dict[str, Any]) -> None:
    learner = learner_of(shop)
    reward = msgspec.structs.replace(shop.rewards(1)[0], **change)

    with pytest.raises(RewardNotUsable):
        learner.update([reward])


def test_candidates_beyond_the_catalogue_are_not_usable(shop: Any) -> None:
    reward = shop.rewards(1)[0]

    with pytest.raises(RewardNotUsable, match="beyond"):
        read_example(reward, shop.size - 5)


def test_before_the_first_policy_gradient_its_metrics_are_missing_not_zero(shop: Any) -> None:
    learner = learner_of(shop, batch_banners=64)

    early = learner.update(shop.rewards(16))
    restored = learner_of(shop, batch_banners=64)
    restored.restore(learner.state())
    later = restored.update(shop.rewards(48, seed=1))

    assert "entropy_nats" not in early
    assert early["records"] == 16
    assert later.keys() == HEALTH.keys()


def test_what_is_served_is_sharper_than_what_is_trained_and_less_so_with_time(shop: Any) -> None:
    learner = learner_of(shop, focus_gain=2.0, focus_banners=64.0)
    before = learner.weights()

    learner.update(shop.rewards(64, points=pays(7)))
    early, trained = learner.weights(), learner.state()
    for number in range(1, 4):
        learner.update(shop.rewards(64, seed=number, points=pays(7)))

    assert np.array_equal(before["sharpness"], shop.weights["sharpness"])
    assert np.allclose(early["sharpness"], 2.0 * shop.weights["sharpness"])
    assert np.allclose(early["value_bias"], 2.0 * trained["weights/value_bias"])
    assert np.array_equal(early["value_precision"], trained["weights/value_precision"])
    assert np.allclose(learner.weights()["sharpness"], 1.4 * shop.weights["sharpness"])


def test_training_goes_on_from_what_was_served_as_if_it_had_not_been_sharpened(shop: Any) -> None:
    learner = learner_of(shop)
    learner.update(shop.rewards(64, points=pays(7)))

    again = Learner(learner.weights(), shop.weights, shop.features, learner.settings)

    trained, taken = learner.state(), again.state()
    assert learner.focus > 3.5
    for name in ("sharpness", "value_main", "value_bias", "output_rows"):
        assert np.allclose(taken[f"weights/{name}"], trained[f"weights/{name}"], atol=1e-6)
    assert np.allclose(taken["model/earning/bias"] * 4.0, trained["weights/value_bias"], atol=1e-6)


@pytest.mark.parametrize("gain", [0.0, 1.5])
def test_variety_is_that_of_what_is_served(shop: Any, gain: float) -> None:
    learner = learner_of(shop, focus_gain=gain, focus_banners=1e9, batch_banners=64)

    learner.update(shop.rewards(64))
    drawn = shop.rewards(400, seed=5, weights=learner.weights())
    health = learner.update(shop.rewards(64, seed=1))

    spread = -np.mean([reward.log_probs[0] for reward in drawn])
    assert health["entropy_nats"] == pytest.approx(spread, rel=0.2)


def test_the_policy_gradient_alone_is_served_as_it_is_trained(shop: Any) -> None:
    learner = learner_of(shop, reward_model=RewardModelSettings(weight=0.0))

    learner.update(shop.rewards(64, points=pays(7)))

    assert np.array_equal(learner.weights()["sharpness"], shop.weights["sharpness"])


def test_pairs_can_be_learned_from_some_day_on(shop: Any) -> None:
    before = learner_of(shop)
    before.update(shop.rewards(64))
    after = learner_of(shop, reward_model=reward_model_settings(pairs=True))

    after.restore(before.state())
    health = after.update(shop.rewards(64, seed=1, points=pays(7)))

    assert health["refused"] == 0.0
    assert after.weights()["value_pairs"].any()


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"learning_rate": float("nan")}, {"kl": -1.0}, {"device": "gpux"}],
    ids=str,
)
def test_settings_that_nobody_could_follow_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsNotPossible, match=next(iter(wrong))):
        LearnerSettings(**wrong)
    with pytest.raises(SettingsNotPossible, match="pair_spread"):
        RewardModelSettings(pair_spread=(0.3, float("inf")))
