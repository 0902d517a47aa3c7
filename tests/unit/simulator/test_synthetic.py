from itertools import islice

import numpy as np
import pytest

from simulator.errors import WorldNotPossible
from simulator.synthetic import STRONG_PULL, SyntheticWorld


def taken(world, seed, count):
    return list(islice(world.visits(seed), count))


def shown(world, visit, rows):
    ids = [world.products[row].product_id for row in rows]
    return [product for product in ids if product != visit.viewed_product_id][:5]


def test_without_drift_a_banner_is_worth_the_same_later_and_with_drift_it_is_not():
    drifting = SyntheticWorld(50, seed=1, shoppers=10, past=10, drift=np.pi / 2)
    steady = SyntheticWorld(50, seed=1, shoppers=10, past=10)

    pairs = list(islice(zip(steady.visits(1), drifting.visits(1), strict=True), 2000))
    first, last = pairs[0], pairs[-1]

    for world_pair, is_equal in ((first, True), (last, False)):
        still, moved = world_pair
        banner = steady.oracle(still)
        values = steady.expected_reward(still, banner), drifting.expected_reward(moved, banner)
        assert (values[0] == values[1]) is is_equal


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_oracle_leaves_room_to_learn_above_popularity_and_own_favourites(seed):
    world = SyntheticWorld(seed=seed)
    popularity, own = _past_counts(world)
    rng = np.random.default_rng(0)
    earned = {"random": 0.0, "popular": 0.0, "own": 0.0, "oracle": 0.0}

    for visit in taken(world, 1, 400):
        mine = own.get(visit.user_id, np.zeros(1000))
        favourites = np.argsort(-(mine * 1000 + popularity), kind="stable")
        for name, rows in (
            ("random", rng.choice(1000, 6, replace=False)),
            ("popular", np.argsort(-popularity, kind="stable")[:6]),
            ("own", favourites[:6]),
        ):
            earned[name] += world.expected_reward(visit, shown(world, visit, rows))
        earned["oracle"] += world.expected_reward(visit, world.oracle(visit))

    assert 0.8 < earned["oracle"] / 400 < 2.5
    assert earned["random"] < 0.05 * earned["oracle"]
    assert 0.02 * earned["oracle"] < earned["popular"] < 0.15 * earned["oracle"]
    assert 0.05 * earned["oracle"] < earned["own"] < 0.3 * earned["oracle"]


def _past_counts(world):
    rows = {product.product_id: row for row, product in enumerate(world.products)}
    popularity, own = np.zeros(len(rows)), {}
    for order in world.past_orders():
        mine = own.setdefault(order.user_id, np.zeros(len(rows)))
        for product in order.product_ids:
            popularity[rows[product]] += 1
            mine[rows[product]] += 1
    return popularity, own


def _best_alone(world, visit):
    """Return the five products of the highest expected reward when each is shown alone."""
    ids = [each.product_id for each in world.products if each.product_id != visit.viewed_product_id]
    return sorted(ids, key=lambda each: -world.expected_reward(visit, [each]))[:5]


def test_with_a_strong_pull_the_best_banner_is_worth_a_quarter_more_than_the_best_products():
    strong = SyntheticWorld(300, past=10, pull=STRONG_PULL)
    together = alone = 0.0
    for visit in taken(strong, 1, 200):
        together += strong.expected_reward(visit, strong.oracle(visit))
        alone += strong.expected_reward(visit, _best_alone(strong, visit))

    assert together > 1.25 * alone


def test_a_pull_changes_neither_visits_nor_the_past():
    still, strong = SyntheticWorld(60, past=50), SyntheticWorld(60, past=50, pull=STRONG_PULL)

    assert list(still.past_orders()) == list(strong.past_orders())
    assert taken(still, 1, 100) == taken(strong, 1, 100)


@pytest.mark.parametrize("pull", [0.3, STRONG_PULL])
def test_with_a_pull_responses_average_to_the_expected_reward(pull):
    world = SyntheticWorld(200, seed=3, shoppers=40, past=10, pull=pull)
    rng = np.random.default_rng(2)
    for visit in taken(world, 8, 3):
        banner = world.oracle(visit)
        rewards = [world.respond(visit, banner, rng).reward() for _ in range(3000)]
        standard_error = np.std(rewards) / np.sqrt(len(rewards))

        assert abs(np.mean(rewards) - world.expected_reward(visit, banner)) < 4 * standard_error


def test_the_planted_pairs_are_those_that_pull():
    still = SyntheticWorld(120, past=10)
    strong = SyntheticWorld(120, past=10, pull=1.0)
    visit = next(visit for visit in still.visits(1) if visit.viewed_product_id is None)
    ids = [product.product_id for product in still.products]

    pulled = {
        frozenset((strong.category_of(first), strong.category_of(other)))
        for first in ids
        for other in ids
        if first != other
        and strong.expected_reward(visit, [first, other])
        > still.expected_reward(visit, [first, other]) + 1e-12
    }

    assert len(pulled) == 12
    assert pulled == {frozenset(pair) for pair in strong.complements()}


def test_a_pull_that_is_no_probability_is_refused():
    with pytest.raises(WorldNotPossible, match="pull"):
        SyntheticWorld(60, pull=1.5)
