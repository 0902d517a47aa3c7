import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.choice import Choice
from simulator.world import DEFAULT_POINTS, Points


def made_choice(*, click, buy, pairs=(), complement=0.5) -> Choice:
    goes_with = np.zeros((len(click), len(click)), bool)
    for left, right in pairs:
        goes_with[left, right] = goes_with[right, left] = True
    return Choice(np.array(click), np.array(buy), goes_with, complement)


def enumerated(choice: Choice, points: Points) -> float:
    """The mean reward over every outcome: per position not clicked, clicked, bought on its own."""
    size = len(choice.click)
    mean = 0.0
    for states in itertools.product((0, 1, 2), repeat=size):
        chance = 1.0
        for position, state in enumerate(states):
            click, buy = choice.click[position], choice.buy[position]
            chance *= (1 - click, click * (1 - buy), click * buy)[state]
        alone = [position for position, state in enumerate(states) if state == 2]
        open_ = [position for position, state in enumerate(states) if state == 1]
        moved = [
            1 - (1 - choice.complement) ** sum(choice.goes_with[position, other] for other in alone)
            for position in open_
        ]
        clicks = len(alone) + len(open_)
        for extra in itertools.product((0, 1), repeat=len(open_)):
            odds = np.prod([m if e else 1 - m for m, e in zip(moved, extra, strict=True)])
            mean += chance * odds * points.reward(clicks, len(alone) + sum(extra))
    return mean


probability = st.floats(0.0, 1.0)


@given(
    click=st.lists(probability, min_size=4, max_size=4),
    buy=st.lists(probability, min_size=4, max_size=4),
    pairs=st.lists(st.sampled_from(list(itertools.combinations(range(4), 2))), max_size=6),
    complement=probability,
    further=st.floats(0.0, 3.0),
)
def test_the_expected_reward_is_the_mean_over_every_outcome(click, buy, pairs, complement, further):
    choice = made_choice(click=click, buy=buy, pairs=pairs, complement=complement)
    points = Points(further=further)

    expected = choice.expected(points)

    assert float(expected) == pytest.approx(enumerated(choice, points), abs=1e-9)


def test_many_banners_at_once_are_worth_what_each_is_worth_alone():
    rng = np.random.default_rng(1)
    click, buy = rng.random((2, 6, 5))
    goes_with = np.zeros((6, 5, 5), bool)
    goes_with[:, 0, 1] = goes_with[:, 1, 0] = True

    together = Choice(click, buy, goes_with, 0.5).expected(DEFAULT_POINTS)

    alone = [
        float(Choice(*parts, 0.5).expected(DEFAULT_POINTS))
        for parts in zip(click, buy, goes_with, strict=True)
    ]
    assert together.tolist() == pytest.approx(alone)


def test_what_goes_with_a_bought_product_is_bought_more_often():
    apart = made_choice(click=[0.5, 0.5], buy=[0.5, 0.1])
    together = made_choice(click=[0.5, 0.5], buy=[0.5, 0.1], pairs=[(0, 1)])

    assert together.expected(DEFAULT_POINTS) > apart.expected(DEFAULT_POINTS) * 1.1


def test_drawn_responses_average_to_the_expected_reward():
    choice = made_choice(
        click=[0.8, 0.6, 0.5, 0.3, 0.2], buy=[0.5, 0.3, 0.2, 0.6, 0.1], pairs=[(0, 2), (0, 4)]
    )
    rng = np.random.default_rng(5)

    rewards = []
    for _ in range(20_000):
        clicked, bought = choice.draw(rng.random((5, 7)))
        rewards.append(DEFAULT_POINTS.reward(int(clicked.sum()), int(bought.sum())))

    standard_error = np.std(rewards) / np.sqrt(len(rewards))
    expected = float(choice.expected(DEFAULT_POINTS))
    assert abs(np.mean(rewards) - expected) < 4 * standard_error


def test_nothing_is_bought_without_a_click():
    choice = made_choice(click=[0.3] * 5, buy=[0.9] * 5, pairs=[(0, 1), (1, 2)])
    rng = np.random.default_rng(6)

    for _ in range(500):
        clicked, bought = choice.draw(rng.random((5, 7)))
        assert not (bought & ~clicked).any()
