from itertools import islice

import numpy as np
import pytest

from simulator.errors import WorldNotPossible
from simulator.grocer import CLICK_UNWANTED, CLICK_WANTED, EXAMINATION, GrocerWorld
from simulator.world import visit_rng


def household(user_id):
    return int(user_id.removeprefix("h"))


def test_no_household_with_an_even_id_appears(grocer):
    past = {household(order.user_id) for order in grocer.past_orders()}
    later = {household(trip.user_id) for trip in grocer.trips()}
    visiting = {household(visit.user_id) for visit in islice(grocer.visits(1), 5000)}

    assert len(past) > 1000
    assert all(number % 2 == 1 for number in past | later | visiting)


def test_the_even_households_come_only_when_asked_for(grocery_cache):
    world = GrocerWorld(parity="even", cache=grocery_cache)

    assert all(household(order.user_id) % 2 == 0 for order in world.past_orders())


def test_the_past_is_weeks_1_to_26_and_every_trip_comes_later_in_true_order(grocer):
    past = [order.occurred_at for order in grocer.past_orders()]
    trips = [trip.occurred_at for trip in grocer.trips()]

    assert past == sorted(past)
    assert trips == sorted(trips)
    assert past[-1] < trips[0]
    assert (past[0].month, past[-1].month, trips[-1].year) == (1, 6, 2018)


def test_the_catalogue_is_the_5000_most_sold_with_readable_features(grocer):
    counts = {product.product_id: 0 for product in grocer.products}
    for order in grocer.past_orders():
        for product in order.product_ids:
            counts[product] += 1

    assert len(grocer.products) == 5000
    assert sum(counts.values()) > 230_000
    assert list(counts.values()) == sorted(counts.values(), reverse=True)
    for product in grocer.products:
        assert product.category.count("/") == 2
        assert product.title.split()
        assert not product.title.isupper()
    assert sum(product.price_cents > 0 for product in grocer.products) > 4990


def test_each_trip_is_one_visit_of_its_household_and_its_order_the_whole_basket(grocer):
    for trip, visit in islice(zip(grocer.trips(), grocer.visits(1), strict=True), 500):
        banner = grocer.oracle(visit)
        response = grocer.respond(visit, banner, visit_rng(visit))

        assert visit.user_id == trip.user_id
        assert sorted(response.order(banner)) == sorted(trip.product_ids)


def test_a_product_on_the_banner_is_bought_exactly_when_it_is_in_the_basket(grocer):
    visit = next(visit for visit in grocer.visits(1) if len(visit.basket) > 3)
    unwanted = [each.product_id for each in grocer.products if each.product_id not in visit.basket]
    wanted = [product for product in visit.basket if product != visit.viewed_product_id]
    banner = [unwanted[0], wanted[0], unwanted[1], wanted[1], unwanted[2]]

    response = grocer.respond(visit, banner, visit_rng(visit))

    assert response.bought == (1, 3)
    assert not set(response.also_bought) & set(banner)


def test_responses_average_to_the_expected_reward_with_the_stated_examination_and_noise(grocer):
    visit = next(visit for visit in grocer.visits(1) if len(visit.basket) > 3)
    unwanted = [each.product_id for each in grocer.products if each.product_id not in visit.basket]
    wanted = [product for product in visit.basket if product != visit.viewed_product_id]
    banner = [unwanted[0], wanted[0], unwanted[1], wanted[1], unwanted[2]]
    rng = np.random.default_rng(4)

    responses = [grocer.respond(visit, banner, rng) for _ in range(4000)]

    clicks = np.zeros(5)
    for response in responses:
        clicks[list(response.clicked)] += 1
    wish = np.array([CLICK_UNWANTED, CLICK_WANTED] * 2 + [CLICK_UNWANTED])
    probability = wish * EXAMINATION
    assert (abs(clicks / 4000 - probability) < 4 * np.sqrt(probability / 4000)).all()
    rewards = [response.reward() for response in responses]
    expected = grocer.expected_reward(visit, banner)
    assert abs(np.mean(rewards) - expected) < 4 * np.std(rewards) / np.sqrt(4000)
    assert expected == pytest.approx(2.5 + 0.1 * probability.sum())


def test_the_expected_points_of_every_product_are_those_of_banners_of_one(grocer):
    for visit in islice(grocer.visits(1), 20):
        points = grocer.expected_points(visit)

        for row, product in enumerate(grocer.products):
            viewed = product.product_id == visit.viewed_product_id
            alone = 0.0 if viewed else grocer.expected_reward(visit, [product.product_id])
            assert points[row] == pytest.approx(alone)


def test_the_oracle_is_not_below_any_banner_tried(grocer):
    rng = np.random.default_rng(7)
    ids = [each.product_id for each in grocer.products]

    for visit in islice(grocer.visits(1), 100):
        best = grocer.expected_reward(visit, grocer.oracle(visit))
        pool = [*visit.basket, *(ids[row] for row in rng.integers(5000, size=10))]
        pool = list(
            dict.fromkeys(product for product in pool if product != visit.viewed_product_id)
        )
        for _ in range(10):
            banner = [pool[place] for place in rng.permutation(len(pool))[:5]]
            assert grocer.expected_reward(visit, banner) <= best + 1e-12


def test_the_product_viewed_is_of_the_basket_and_mostly_there_is_none(grocer):
    visits = list(islice(grocer.visits(1), 4000))
    viewing = [visit for visit in visits if visit.viewed_product_id is not None]

    assert 0.08 < len(viewing) / len(visits) < 0.2
    for visit in viewing:
        assert visit.viewed_product_id in visit.basket
        assert visit.viewed_product_id not in grocer.oracle(visit)


def test_a_household_is_remembered_by_what_it_bought_last(grocer):
    bought = {}
    for order in grocer.past_orders():
        bought[order.user_id] = (*bought.get(order.user_id, ()), *order.product_ids)[-10:]

    for visit in islice(grocer.visits(1), 2000):
        assert visit.purchased_product_ids == bought.get(visit.user_id, ())
        banner = grocer.oracle(visit)
        order = grocer.respond(visit, banner, visit_rng(visit)).order(banner)
        bought[visit.user_id] = (*bought.get(visit.user_id, ()), *order)[-10:]


def test_several_banners_per_trip_share_its_basket_without_overlap(grocery_cache):
    world = GrocerWorld(cache=grocery_cache, banners_per_trip=3)
    trip = next(trip for trip in world.trips() if len(trip.product_ids) > 10)

    dealt = [
        visit for visit in islice(world.visits(1), 300) if visit.occurred_at == trip.occurred_at
    ]

    parts = [product for visit in dealt for product in visit.basket]
    assert len(dealt) == 3
    assert sorted(parts) == sorted(trip.product_ids)


def test_what_is_kept_in_the_cache_is_the_same_world(grocer, grocery_cache):
    again = GrocerWorld(cache=grocery_cache)

    assert again.products == grocer.products
    assert list(islice(again.visits(3), 200)) == list(islice(grocer.visits(3), 200))
    assert list(grocery_cache.glob("*.npz"))


def test_a_grocer_that_cannot_be_is_refused():
    with pytest.raises(WorldNotPossible):
        GrocerWorld(products=5)
    with pytest.raises(WorldNotPossible):
        GrocerWorld(viewed_share=1.5)
