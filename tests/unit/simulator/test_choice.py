import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.choice import Choice
from simulator.world import DEFAULT_POINTS, Points


def made_choice(*, click, buy, pairs=(), complement=0.5, look=None, pull=0.0) -> Choice:
    goes_with = np.zeros((len(click), len(click)), bool)
    for left, right in pairs:
        goes_with[left, right] = goes_with[right, left] = True
    looks = np.ones(len(click)) if look is None else np.array(look)
    return Choice(np.array(click), np.array(buy), goes_with, complement, looks, pull)


def enumerated(choice: Choice, points: Points) -> float:
    """The mean reward over every outcome: per position unseen, seen, clicked, bought on its own."""
    size = len(choice.click)
    mean = 0.0
    for states in itertools.product(range(4), repeat=size):
        chance = 1.0
        for position, state in enumerate(states):
            look, click, buy = (part[position] for part in (choice.look, choice.click, choice.buy))
            chance *= (1 - look, look - click, click * (1 - buy), click * buy)[state]
        alone = [position for position, state in enumerate(states) if state == 3]
        open_ = [position for position, state in enumerate(states) if state in {1, 2}]
        moved = []
        for position in open_:
            clicked = states[position] == 2
            strength = max(choice.complement, choice.pull) if clicked else choice.pull
            movers = sum(choice.goes_with[position, other] for other in alone)
            moved.append(1 - (1 - strength) ** movers)
        clicks = sum(state >= 2 for state in states)
        for extra in itertools.product((0, 1), repeat=len(open_)):
            odds = np.prod([m if e else 1 - m for m, e in zip(moved, extra, strict=True)])
            mean += chance * odds * points.reward(clicks, len(alone) + sum(extra))
    return mean


probability = st.floats(0.0, 1.0)
four = st.lists(probability, min_size=4, max_size=4)


@given(
    look=four,
    noticed=four,
    buy=four,
    pairs=st.lists(st.sampled_from(list(itertools.combinations(range(4), 2))), max_size=6),
    complement=probability,
    pull=st.one_of(st.just(0.0), probability),
    further=st.floats(0.0, 3.0),
)
def test_the_expected_reward_is_the_mean_over_every_outcome(
    look, noticed, buy, pairs, complement, pull, further
):
    click = [seen * notice for seen, notice in zip(look, noticed, strict=True)]
    choice = made_choice(
        click=click, buy=buy, pairs=pairs, complement=complement, look=look, pull=pull
    )
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


@pytest.mark.parametrize("pull", [0.0, 0.3, 0.8])
def test_drawn_responses_average_to_the_expected_reward(pull):
    choice = made_choice(
        click=[0.8, 0.6, 0.5, 0.3, 0.2],
        buy=[0.5, 0.3, 0.2, 0.6, 0.1],
        pairs=[(0, 2), (0, 4)],
        look=[0.95, 0.85, 0.7, 0.55, 0.45],
        pull=pull,
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


def test_a_pull_sells_what_was_seen_without_a_click_but_only_beside_its_partner():
    def sold_unclicked(pairs):
        choice = made_choice(
            click=[0.9, 0.1], buy=[0.9, 0.0], pairs=pairs, look=[1.0, 0.5], pull=0.8
        )
        rng = np.random.default_rng(6)
        drawn = [choice.draw(rng.random((5, 7))) for _ in range(2000)]
        return sum(bool(bought[1] and not clicked[1]) for clicked, bought in drawn) / 2000

    assert sold_unclicked([(0, 1)]) == pytest.approx(0.4 * 0.81 * 0.8, abs=0.04)
    assert sold_unclicked([]) == 0.0
