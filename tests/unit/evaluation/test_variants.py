"""Contenders are varied by name, and what cannot be meant is answered with what can."""

from typing import get_type_hints

import pytest

from evaluation.contenders import maker
from evaluation.errors import NotationNotReadable
from evaluation.notation import read_settings
from evaluation.rivals import RingConditions
from evaluation.variants import read_variant
from trainer.learner_settings import LearnerSettings
from trainer.reward_model import RewardModelSettings


def test_a_value_goes_where_its_key_belongs() -> None:
    variant = read_variant("policy:weight=6+pair_spread=.3/.1+epochs=1+device=cpu+stale=16")

    settings = variant.settings(LearnerSettings(batch_banners=64))
    assert settings == LearnerSettings(
        batch_banners=64,
        epochs=1,
        device="cpu",
        reward_model=RewardModelSettings(weight=6.0, pair_spread=(0.3, 0.1)),
    )
    assert variant.ring.stale == 16


def test_the_base_is_the_policy_without_its_reward_model() -> None:
    assert read_variant("base").settings(LearnerSettings()).reward_model.weight == 0.0
    assert read_variant("base:kl=.1").settings(LearnerSettings()).kl == 0.1


def test_a_plus_inside_a_number_ends_no_setting() -> None:
    assert read_variant("policy:horizon_banners=1e+5+stale=2").reward_model == {
        "horizon_banners": 100_000.0
    }


def test_what_may_be_missing_has_the_type_it_has_otherwise() -> None:
    assert read_variant("policy:bad_batch=500").ring.bad_batch == 500


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nobody", "choose among random"),
        ("nobody:weight=1", "choose among random"),
        ("linucb:alpha=1", "only policy and base"),
        ("policy:wait=1", "'wait' is unknown; there are batch_banners"),
        ("policy:wait=1", "settle_seconds"),
        ("policy:weight", "write KEY=VALUE"),
        ("policy:weight=much", "weight=much: a number is wanted"),
        ("policy:epochs=1.5", "a whole number is wanted"),
        ("policy:pair_spread=.3", "2 values are wanted, with / between"),
        ("policy:weight=1+weight=2", "given twice"),
        ("policy:", "write KEY=VALUE"),
        ("policy:corrections=2", "between 0 and 1"),
        ("policy:corrections=nan", "between 0 and 1"),
        ("policy:stale=-1", "not negative"),
        ("policy:settle_seconds=nan", "finite"),
        ("policy:settle_seconds=inf", "finite"),
        ("policy:corrected_after_seconds=nan", "finite"),
        ("policy:corrected_after_seconds=-1", "not negative"),
        ("policy:bad_batch=-1", "0 or more"),
        ("policy:reward_model=1", "unknown"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_can(name: str, said: str) -> None:
    with pytest.raises(NotationNotReadable, match=said):
        maker(name)


def test_a_value_or_none_is_read_as_the_value() -> None:
    assert read_settings(["a=3"], {"a": int | None}) == {"a": 3}


def test_no_key_means_two_things() -> None:
    learner, model, ring = (
        set(get_type_hints(each)) for each in (LearnerSettings, RewardModelSettings, RingConditions)
    )

    assert not learner & model
    assert not (learner | model) & ring
