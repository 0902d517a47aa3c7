from collections import Counter
from itertools import islice, permutations

import numpy as np
import pytest

from simulator.aisles import AislesWorld
from simulator.circumstances import SyntheticShare


def taken(world, seed, count):
    return list(islice(world.visits(seed), count))


def shown(world, visit, rows):
    ids = [world.products[row].product_id for row in rows]
    return [product for product in ids if product != visit.viewed_product_id][:5]


def sold(world):
    return Counter(product for order in world.past_orders() for product in order.product_ids)


def shelf_of(world):
    return {product.product_id: product.category for product in world.products}


def test_the_tree_has_departments_aisles_and_shelves_of_about_twenty():
    shelves = Counter(shelf_of(AislesWorld(past=10)).values())

    assert len(shelves) >= 24
    assert set(shelves.values()) == {20}
    assert len({shelf.split("/")[0] for shelf in shelves}) == 8
    assert len({shelf.rsplit("/", 1)[0] for shelf in shelves}) == len(shelves) / 2


def test_a_few_products_of_each_shelf_carry_most_of_what_was_sold():
    world = AislesWorld()
    by_shelf: dict[str, list[int]] = {}
    counts = sold(world)
    for product, shelf in shelf_of(world).items():
        by_shelf.setdefault(shelf, []).append(counts[product])

    heads = [sum(sorted(lines)[-5:]) / sum(lines) for lines in by_shelf.values()]

    assert np.mean(heads) > 0.5


def test_the_product_viewed_stands_on_a_shelf_that_the_visit_needs():
    world = AislesWorld(400, past=10)
    for visit in taken(world, 1, 300):
        if visit.viewed_product_id is not None:
            row = int(visit.viewed_product_id.removeprefix("p"))
            assert world._shelves.shelf[row] in visit.need


def test_shoppers_come_back_to_the_shelves_they_live_on():
    world = AislesWorld(shoppers=30)
    shelf = shelf_of(world)
    own: dict[str, Counter[str]] = {}
    for order in world.past_orders():
        own.setdefault(order.user_id, Counter()).update(shelf[p] for p in order.product_ids)

    known = [visit for visit in taken(world, 1, 2000) if visit.user_id and visit.viewed_product_id]
    hits = 0
    for visit in known:
        favourites = [name for name, _ in own[visit.user_id].most_common(5)]
        hits += shelf[visit.viewed_product_id] in favourites

    assert hits / len(known) > 0.35  # by chance five of fifty shelves: 0.1


def test_loyal_shoppers_buy_their_brands_more_than_others_do():
    world = AislesWorld(shoppers=40, past=8000)
    brand = world._shelves.brand
    lines = [
        (int(order.user_id[1:]), brand[int(product[1:])])
        for order in world.past_orders()
        for product in order.product_ids
    ]
    own, others = [], []
    for shopper in np.flatnonzero(world._habits.liking.any(axis=1)):
        is_liked = world._habits.liking[shopper] > 0
        own.append(np.mean([is_liked[maker] for buyer, maker in lines if buyer == shopper]))
        others.append(np.mean([is_liked[maker] for buyer, maker in lines if buyer != shopper]))

    assert np.mean(own) > 1.4 * np.mean(others)


def test_the_past_does_not_tell_what_converts():
    world = AislesWorld()
    counts = sold(world)
    lines = np.array([counts[product.product_id] for product in world.products])

    assert abs(np.corrcoef(np.log1p(lines), world._shelves.appeal)[0, 1]) < 0.2


def test_the_oracle_comes_within_one_percent_of_brute_force_on_small_shops():
    ratios = []
    for seed in range(8):
        world = AislesWorld(8, seed=seed, shoppers=5, past=10, share=SyntheticShare(viewed=0.0))
        visit = next(iter(world.visits(seed)))
        ids = [product.product_id for product in world.products]

        best = max(world.expected_reward(visit, banner) for banner in permutations(ids, 5))

        ratios.append(world.expected_reward(visit, world.oracle(visit)) / best)

    assert min(ratios) >= 0.99
    assert np.median(ratios) == pytest.approx(1.0, abs=1e-12)


def test_no_random_change_of_an_oracle_banner_is_better_in_a_large_shop():
    world = AislesWorld(seed=4)
    rng = np.random.default_rng(0)
    for visit in taken(world, 1, 40):
        best = world.oracle(visit)
        value = world.expected_reward(visit, best)
        for product in rng.choice(1000, 60, replace=False):
            changed = list(best)
            changed[rng.integers(5)] = f"p{product}"
            if len(set(changed)) == 5 and visit.viewed_product_id not in changed:
                assert world.expected_reward(visit, changed) <= value + 1e-9


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_oracle_leaves_room_to_learn_above_popularity(seed):
    world = AislesWorld(seed=seed)
    popular = [int(product[1:]) for product, _ in sold(world).most_common(6)]
    rng = np.random.default_rng(0)
    earned = {"random": 0.0, "popular": 0.0, "oracle": 0.0}

    for visit in taken(world, 1, 400):
        for name, rows in (("random", rng.choice(1000, 6, replace=False)), ("popular", popular)):
            earned[name] += world.expected_reward(visit, shown(world, visit, rows))
        earned["oracle"] += world.expected_reward(visit, world.oracle(visit))

    assert 0.8 < earned["oracle"] / 400 < 2.0
    assert earned["random"] < 0.03 * earned["oracle"]
    assert earned["random"] < earned["popular"] < 0.15 * earned["oracle"]


@pytest.mark.parametrize("products", [10_000, 100_000])
def test_a_large_shop_serves_visits_and_knows_its_best_banner(products):
    world = AislesWorld(products, past=100)
    visit = next(visit for visit in world.visits(1) if visit.viewed_product_id is not None)

    best = world.oracle(visit)

    assert len(set(best)) == 5
    assert world.expected_reward(visit, best) > 0.2
