import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.cascade import AFTER_BUY, AFTER_CLICK, AFTER_NOTHING, Cascade
from simulator.world import DEFAULT_POINTS, Points


def enumerated(cascade: Cascade, points: Points) -> float:
    """The mean reward over every course of events: per position nothing, clicked or bought."""
    mean = 0.0
    size = len(cascade.click)
    for ending in range(1, size + 1):
        for course in itertools.product((0, 1, 2), repeat=ending):
            chance, bought = 1.0, []
            for k, found in enumerate(course):
                click = 0.0 if cascade.shelf[k] in bought else cascade.click[k]
                buy = cascade.buy[k]
                chance *= (1 - click, click * (1 - buy), click * buy)[found]
                goes_on = (AFTER_NOTHING, AFTER_CLICK, AFTER_BUY)[found]
                is_end = k == size - 1
                chance *= 1 - goes_on if k == ending - 1 and not is_end else 1.0
                chance *= goes_on if k < ending - 1 else 1.0
                if found == 2:
                    bought.append(cascade.shelf[k])
            clicks = sum(found > 0 for found in course)
            mean += chance * points.reward(clicks, len(bought))
    return mean


chances = st.lists(st.floats(0.0, 1.0), min_size=5, max_size=5)


@given(
    click=chances,
    buy=chances,
    shelf=st.lists(st.integers(0, 3), min_size=5, max_size=5),
    further=st.floats(0.0, 3.0),
)
def test_the_expected_reward_is_the_mean_over_every_course_of_events(click, buy, shelf, further):
    cascade, points = Cascade(click, buy, shelf), Points(further=further)

    assert cascade.expected(points) == pytest.approx(enumerated(cascade, points), abs=1e-9)


def test_many_banners_at_once_are_worth_what_each_is_worth_alone():
    rng = np.random.default_rng(1)
    click, buy = rng.random((2, 5, 40))
    shelf = rng.integers(3, size=(5, 40))

    together = Cascade(click, buy, shelf).expected(DEFAULT_POINTS)

    alone = [
        Cascade(*(part[:, nth].tolist() for part in (click, buy, shelf))).expected(DEFAULT_POINTS)
        for nth in range(40)
    ]
    assert together.tolist() == pytest.approx(alone)


def test_drawn_responses_average_to_the_expected_reward():
    cascade = Cascade([0.8, 0.6, 0.5, 0.7, 0.9], [0.5, 0.6, 0.4, 0.6, 0.3], [0, 1, 0, 1, 2])
    rng = np.random.default_rng(5)

    rewards = []
    for _ in range(20_000):
        clicked, bought = cascade.draw(rng.random((5, 3)).tolist())
        rewards.append(DEFAULT_POINTS.reward(len(clicked), len(bought)))

    standard_error = np.std(rewards) / np.sqrt(len(rewards))
    assert abs(np.mean(rewards) - cascade.expected(DEFAULT_POINTS)) < 4 * standard_error


def test_of_one_shelf_at_most_one_product_is_bought_and_nothing_without_a_click():
    cascade = Cascade([0.9] * 5, [0.8] * 5, [0, 1, 0, 1, 0])
    rng = np.random.default_rng(6)

    for _ in range(500):
        clicked, bought = cascade.draw(rng.random((5, 3)).tolist())
        assert set(bought) <= set(clicked)
        assert len({cascade.shelf[k] for k in bought}) == len(bought)


def test_two_products_of_one_shelf_are_worth_less_than_of_two_shelves():
    apart = Cascade([0.8, 0.8], [0.6, 0.6], [0, 1])
    together = Cascade([0.8, 0.8], [0.6, 0.6], [0, 0])

    assert together.expected(DEFAULT_POINTS) < 0.8 * apart.expected(DEFAULT_POINTS)


def test_who_has_found_something_reads_on_less_often():
    def last_is_clicked(first_buy):
        cascade = Cascade([1.0, 1.0], [first_buy, 0.0], [0, 1])
        rng = np.random.default_rng(7)
        return sum(1 in cascade.draw(rng.random((5, 3)).tolist())[0] for _ in range(4000)) / 4000

    assert last_is_clicked(1.0) == pytest.approx(AFTER_BUY, abs=0.03)
    assert last_is_clicked(0.0) == pytest.approx(AFTER_CLICK, abs=0.03)
