import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.errors import RewardError, SpecificationRefused
from rewards.specification import RatedPosition, RewardSpecification

positions = st.sets(st.integers(0, 4))


def test_the_default_rewards_are_a_tenth_a_click_one_a_buy_and_half_more_a_further_buy():
    specification = RewardSpecification()

    assert specification.points(5, set(), set()) == (0, 0, 0, 0, 0)
    assert specification.points(5, {1}, set()) == (0, 0.1, 0, 0, 0)
    assert specification.points(5, {1}, {1}) == (0, 1.1, 0, 0, 0)
    assert specification.points(5, {0}, {1, 4}) == (0.1, 1.25, 0, 0, 1.25)
    assert sum(specification.points(5, set(), {0, 1, 2})) == pytest.approx(1 + 1.5 + 1.5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"click": 0.0},
        {"click": -0.1},
        {"click": 1.0},
        {"click": 2.0},
        {"first_buy": 0.05},
        {"further_buy": 0.0},
        {"further_buy": -0.5},
        {"click": math.nan},
        {"first_buy": math.inf, "further_buy": math.inf},
        {"rating_weights": {"judge": math.nan}},
        {"settlement_seconds": -1},
        {"lateness_seconds": -1},
        {"attribution_window_seconds": 0, "settlement_seconds": 0},
        {"attribution_window_seconds": 4},
    ],
)
def test_a_specification_that_contradicts_the_order_or_itself_is_refused(wrong):
    with pytest.raises(SpecificationRefused) as refusal:
        RewardSpecification(**wrong)

    assert isinstance(refusal.value, RewardError)


def test_the_refusal_says_what_the_order_is_and_what_was_given():
    with pytest.raises(SpecificationRefused, match=r"nothing < click < buy .* click 3"):
        RewardSpecification(click=3)


def test_the_version_is_derived_from_the_content_alone_unless_it_is_given():
    default = RewardSpecification()

    assert default.version == RewardSpecification(attribution_window_seconds=86_400.0).version
    assert default.version != RewardSpecification(click=0.2).version
    assert default.version != RewardSpecification(rating_weights={"judge": 1.0}).version
    assert default.version != RewardSpecification(settlement_seconds=1).version
    assert RewardSpecification(version="v7").version == "v7"


@given(clicked=positions, bought=positions)
def test_nothing_is_less_than_a_click_less_than_a_buy_less_than_a_multi_buy(clicked, bought):
    specification = RewardSpecification()
    reward = sum(specification.points(5, clicked, bought))

    assert reward == pytest.approx(
        0.1 * len(clicked) + (1.0 + 1.5 * (len(bought) - 1) if bought else 0.0)
    )
    for position in set(range(5)) - clicked:
        assert sum(specification.points(5, {*clicked, position}, bought)) > reward
    for position in set(range(5)) - bought:
        assert sum(specification.points(5, clicked, {*bought, position})) > reward + 0.1


def test_a_rating_counts_by_its_source_and_a_source_without_weight_is_a_shadow():
    specification = RewardSpecification(rating_weights={"judge": 2.0})

    points = specification.points(
        2,
        set(),
        set(),
        [
            RatedPosition("judge", 0, 0.5),
            RatedPosition("judge", None, 1.0),
            RatedPosition("shadow", 1, 100.0),
        ],
    )

    assert points == (2.0, 1.0)


def test_an_empty_banner_earns_an_empty_reward():
    assert RewardSpecification().points(0, set(), set(), [RatedPosition("x", None, 1.0)]) == ()
