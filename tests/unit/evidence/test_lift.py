import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from evidence.errors import ConfidenceNotUsable, EvidenceError, UnitsNotUsable
from evidence.lift import Lift, Mean, lift, mean
from evidence.sums import ArmSums, UnitSums

TRIALS = 2_000


def shoppers(rng, units, base=0.12):
    """Return an arm of shoppers: few to many banners each, tastes that differ, rare purchases."""
    banners = 1 + rng.negative_binomial(1, 0.15, units)
    taste = base * rng.gamma(2.0, 0.5, units)
    clicks = rng.binomial(banners, np.minimum(1, 2 * taste))
    bought = rng.binomial(banners, np.minimum(1, 0.8 * taste))
    return UnitSums(banners, 0.1 * clicks + 1.0 * bought)


def true_lift(factor):
    return factor - 1


def coverage(seed, *, policy, control, factor):
    """Return the share of trials whose 95% interval holds the truth, and of those above zero."""
    rng = np.random.default_rng(seed)
    held = above = below = 0
    for _ in range(TRIALS):
        found = lift(shoppers(rng, policy, 0.12 * factor), shoppers(rng, control))
        if found.low is None:
            continue
        held += found.low <= true_lift(factor) <= found.high
        above += found.low > 0
        below += found.high < 0
    return held / TRIALS, above / TRIALS, below / TRIALS


# Four standard errors of a share of .95 among 2,000 trials are .0195; a hundredth is left for skew.
@pytest.mark.parametrize(("policy", "control"), [(900, 100), (400, 400), (2_000, 200)])
def test_the_interval_holds_the_truth_as_often_as_it_says(policy, control):
    held, _, _ = coverage(1, policy=policy, control=control, factor=1.25)

    standard_error = math.sqrt(0.95 * 0.05 / TRIALS)
    assert 0.95 - 4 * standard_error - 0.01 <= held <= 0.95 + 4 * standard_error


def test_two_arms_that_are_the_same_are_told_apart_no_more_often_than_they_should():
    _, above, below = coverage(2, policy=900, control=100, factor=1.0)

    assert above + below <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / TRIALS) + 0.01


def test_banners_of_one_unit_are_not_taken_for_independent():
    rng = np.random.default_rng(3)
    taste = rng.gamma(0.5, 0.4, 60)
    units = UnitSums(np.full(60, 100), rng.binomial(100, np.minimum(1, taste)))
    rewards = units.reward.sum()
    naive = math.sqrt(rewards / 6_000 * (1 - rewards / 6_000) / 6_000)

    found = mean(units)

    assert found.high - found.low > 5 * 2 * naive


def test_the_mean_of_units_with_one_banner_each_is_the_classic_t_interval():
    rewards = np.array([0.0, 0.1, 1.0, 0.0, 2.6, 0.1])

    found = mean(UnitSums(np.ones(6), rewards))

    low, high = stats.t.interval(0.95, 5, rewards.mean(), stats.sem(rewards))
    assert found.estimate == pytest.approx(rewards.mean())
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_the_bounds_are_where_the_t_test_of_the_ratio_turns():
    rng = np.random.default_rng(4)
    policy, control = shoppers(rng, 300).sums(), shoppers(rng, 60).sums()

    found = lift(policy, control)

    for bound in (found.low, found.high):
        ratio = 1 + bound
        difference = policy.mean - ratio * control.mean
        error = math.sqrt(policy.variance + ratio**2 * control.variance)
        estimate = 1 + found.estimate
        shares = np.array([policy.variance, estimate**2 * control.variance])
        freedom = shares.sum() ** 2 / (shares**2 / [299, 59]).sum()
        assert abs(difference / error) == pytest.approx(stats.t.ppf(0.975, freedom))


def test_more_confidence_is_a_wider_interval():
    rng = np.random.default_rng(5)
    policy, control = shoppers(rng, 300), shoppers(rng, 60)

    narrow, wide = lift(policy, control, confidence=0.8), lift(policy, control, confidence=0.99)

    assert wide.low < narrow.low < narrow.estimate < narrow.high < wide.high


ONE = UnitSums(np.array([3.0]), np.array([1.2]))
TWO = UnitSums(np.array([3.0, 2.0]), np.array([1.2, 0.9]))
EARNS_NOTHING = UnitSums(np.array([3.0, 2.0]), np.array([0.0, 0.0]))


@pytest.mark.parametrize(
    ("policy", "control", "expected"),
    [
        (ArmSums(), ArmSums(), Lift(None, None, None)),
        (TWO, ArmSums(), Lift(None, None, None)),
        (ArmSums(), TWO, Lift(None, None, None)),
        (TWO, EARNS_NOTHING, Lift(None, None, None)),
        (ONE, ONE, Lift(0.0, None, None)),
        (TWO, ONE, Lift(pytest.approx(0.05), None, None)),
    ],
)
def test_what_is_undefined_is_none_and_nothing_is_divided_by_zero(policy, control, expected):
    assert lift(policy, control) == expected


def test_a_control_arm_that_may_earn_nothing_leaves_the_interval_open():
    one_buyer = UnitSums(np.ones(20), np.eye(20)[0])

    found = lift(UnitSums(np.ones(50), np.full(50, 0.2)), one_buyer)

    assert found == Lift(pytest.approx(3.0), None, None)


def test_a_policy_that_earns_nothing_lost_everything():
    control = UnitSums(np.ones(100), np.tile([0.1, 0.2], 50))

    found = lift(UnitSums(np.ones(100), np.zeros(100)), control)

    assert found == Lift(-1.0, -1.0, -1.0)


def test_arms_without_any_variance_have_a_certain_lift():
    found = lift(
        UnitSums(np.array([1, 2, 3]), np.array([0.3, 0.6, 0.9])),
        UnitSums(np.array([4, 1]), np.array([0.8, 0.2])),
    )

    assert (found.low, found.estimate, found.high) == pytest.approx((0.5, 0.5, 0.5), abs=1e-6)


def test_an_arm_with_few_units_has_a_mean_and_no_interval():
    assert mean(ArmSums()) == Mean(None, None, None)
    assert mean(ONE) == Mean(pytest.approx(0.4), None, None)


moves = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.integers(0, 3),
        st.sampled_from([0.0, 0.1, 1.0, 1.35, -0.5, -1.0]),
    ),
    max_size=40,
)


@given(moves)
def test_sums_that_are_moved_record_by_record_equal_those_of_the_units(told):
    units, sums = {}, ArmSums()
    for unit, banners, reward in told:
        before = units.get(unit)
        if before is None and not banners:
            continue
        sums = sums.moved(banners, reward, before)
        m, r = before or (0.0, 0.0)
        units[unit] = (m + banners, r + reward)

    table = np.array(list(units.values())).reshape(-1, 2)
    whole = UnitSums(table[:, 0], table[:, 1]).sums()

    assert sums.units == whole.units
    for name in ("reward", "banners", "reward_squared", "reward_banners", "banners_squared"):
        assert getattr(sums, name) == pytest.approx(getattr(whole, name), abs=1e-9)


def test_units_without_banners_do_not_count():
    assert UnitSums(np.array([2.0, 0.0]), np.array([0.5, 0.0])).sums().units == 1


@pytest.mark.parametrize(
    ("banners", "reward"),
    [([1.0], [1.0, 2.0]), ([[1.0]], [[1.0]]), ([-1.0], [0.0]), ([1.0], [math.nan])],
)
def test_units_that_cannot_be_are_refused(banners, reward):
    with pytest.raises(UnitsNotUsable) as refusal:
        UnitSums(np.array(banners), np.array(reward))

    assert isinstance(refusal.value, EvidenceError)


@pytest.mark.parametrize("confidence", [0.0, 1.0, -1.0, 95.0, math.nan])
def test_a_confidence_outside_zero_and_one_is_refused(confidence):
    with pytest.raises(ConfidenceNotUsable):
        mean(TWO, confidence=confidence)
