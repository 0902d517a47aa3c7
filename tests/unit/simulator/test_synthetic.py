from itertools import islice

import numpy as np
import pytest

from simulator.synthetic import SyntheticWorld


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
