"""What every seeded world promises, whatever its principles."""

from itertools import islice

import numpy as np
import pytest

from simulator.aisles import AislesWorld
from simulator.circumstances import SyntheticShare
from simulator.errors import BannerNotShowable, VisitFromAnotherWorld, WorldNotPossible
from simulator.synthetic import SyntheticWorld
from simulator.world import Visit, visit_rng


@pytest.fixture(scope="module", params=[SyntheticWorld, AislesWorld])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def shop(kind):
    return kind(200, seed=3, shoppers=40, past=800)


def taken(world, seed, count):
    return list(islice(world.visits(seed), count))


def shown(world, visit, rows):
    ids = [world.products[row].product_id for row in rows]
    return [product for product in ids if product != visit.viewed_product_id][:5]


def test_the_same_seed_makes_the_same_shop_past_and_visits(kind, shop):
    twin = kind(200, seed=3, shoppers=40, past=800)

    assert twin.products == shop.products
    assert list(twin.past_orders()) == list(shop.past_orders())
    assert taken(twin, 8, 50) == taken(shop, 8, 50)
    assert taken(shop, 9, 50) != taken(shop, 8, 50)


def test_two_policies_on_one_seed_meet_the_same_wishes_and_the_same_noise(shop):
    one, other = shop.visits(8), shop.visits(8)
    probe = [each.product_id for each in shop.products]

    for number, (mine, theirs) in enumerate(islice(zip(one, other, strict=True), 200)):
        shop.respond(
            mine, shown(shop, mine, range(number % 100, number % 100 + 6)), visit_rng(mine)
        )
        shop.respond(theirs, shown(shop, theirs, range(190, 196)), visit_rng(theirs))
        assert (mine.user_id, mine.viewed_product_id) == (theirs.user_id, theirs.viewed_product_id)
        banner = [product for product in probe[100:106] if product != mine.viewed_product_id][:5]
        assert shop.expected_reward(mine, banner) == shop.expected_reward(theirs, banner)


def test_streams_of_one_world_do_not_touch_each_other(shop):
    undisturbed = [visit.purchased_product_ids for visit in taken(shop, 8, 300)]

    for visit in islice(shop.visits(8), 300):
        shop.respond(visit, shop.oracle(visit), visit_rng(visit))

    assert [visit.purchased_product_ids for visit in taken(shop, 8, 300)] == undisturbed


def test_what_a_shopper_buys_stands_last_in_her_next_visit(shop):
    last_order = {}
    checked = 0
    for visit in islice(shop.visits(8), 600):
        order = last_order.get(visit.user_id)
        if order:
            assert visit.purchased_product_ids[-len(order) :] == order
            checked += 1
        banner = shop.oracle(visit)
        bought = shop.respond(visit, banner, visit_rng(visit)).order(banner)
        if visit.user_id is not None and bought:
            last_order[visit.user_id] = bought

    assert checked > 100


def test_responses_average_to_the_expected_reward(shop):
    rng = np.random.default_rng(2)
    for visit in taken(shop, 8, 5):
        banner = shop.oracle(visit)
        rewards = [shop.respond(visit, banner, rng).reward() for _ in range(3000)]
        standard_error = np.std(rewards) / np.sqrt(len(rewards))

        assert abs(np.mean(rewards) - shop.expected_reward(visit, banner)) < 4 * standard_error


def test_a_visit_begins_with_the_past_purchases_of_its_shopper(shop):
    bought = {}
    for order in shop.past_orders():
        bought[order.user_id] = (*bought.get(order.user_id, ()), *order.product_ids)[-10:]

    for visit in taken(shop, 8, 100):
        assert visit.purchased_product_ids == bought.get(visit.user_id, ())


def test_the_shares_of_anonymous_and_viewing_visits_are_as_asked(kind):
    shares = SyntheticShare(anonymous=0.5, viewed=0.25)
    world = kind(50, shoppers=10, past=10, share=shares)

    visits = taken(world, 1, 2000)

    anonymous = sum(visit.user_id is None for visit in visits)
    viewing = sum(visit.viewed_product_id is not None for visit in visits)
    assert abs(anonymous - 1000) < 4 * np.sqrt(2000 * 0.25)
    assert abs(viewing - 500) < 4 * np.sqrt(2000 * 0.1875)


def test_delay_zero_reports_at_once_and_the_order_never_comes_before_the_clicks(kind, shop):
    prompt = kind(50, shoppers=10, past=10, delay=0.0)
    visit = next(iter(prompt.visits(1)))

    response = prompt.respond(visit, prompt.oracle(visit), visit_rng(visit))

    assert response.click_delay_seconds == response.order_delay_seconds == 0.0
    for visit in taken(shop, 8, 50):
        response = shop.respond(visit, shop.oracle(visit), visit_rng(visit))
        last_click = response.click_delay_seconds * len(response.clicked)
        assert response.order_delay_seconds >= last_click


@pytest.mark.parametrize(
    ("banner", "reason"),
    [
        (["p1", "p1"], "two positions"),
        (["nothing"], "unknown"),
        (["p1", "p2", "p3", "p4", "p5", "p6"], "6 positions"),
    ],
)
def test_a_banner_that_cannot_be_shown_is_refused(shop, banner, reason):
    visit = next(visit for visit in shop.visits(8) if visit.viewed_product_id is None)

    with pytest.raises(BannerNotShowable, match=reason):
        shop.respond(visit, banner, visit_rng(visit))


def test_the_product_viewed_cannot_be_shown(shop):
    visit = next(visit for visit in shop.visits(8) if visit.viewed_product_id is not None)

    with pytest.raises(BannerNotShowable, match="viewed"):
        shop.expected_reward(visit, [visit.viewed_product_id])


def test_a_visit_of_another_kind_is_refused(shop):
    own = next(iter(shop.visits(8)))
    foreign = Visit(
        seed=0, number=0, user_id=None, viewed_product_id=None, purchased_product_ids=(),
        occurred_at=own.occurred_at, memory={},
    )  # fmt: skip

    with pytest.raises(VisitFromAnotherWorld):
        shop.oracle(foreign)


@pytest.mark.parametrize("sizes", [{"products": 5}, {"shoppers": 0}, {"past": -1}, {"delay": -0.1}])
def test_a_shop_that_cannot_be_is_refused(kind, sizes):
    with pytest.raises(WorldNotPossible):
        kind(**sizes)


def test_a_response_uses_the_same_noise_whatever_the_banner(shop):
    visit = next(iter(shop.visits(8)))
    ends = []
    for banner in ([], shop.oracle(visit), shown(shop, visit, range(6))):
        rng = visit_rng(visit)
        shop.respond(visit, banner, rng)
        ends.append(rng.random())

    assert len(set(ends)) == 1


def test_the_expected_points_of_every_product_are_those_of_banners_of_one(shop):
    for visit in islice(shop.visits(3), 20):
        points = shop.expected_points(visit)

        viewed = [each.product_id == visit.viewed_product_id for each in shop.products]
        assert (points[viewed] == 0.0).all()
        for row in np.flatnonzero(~np.array(viewed))[::7].tolist():
            alone = shop.expected_reward(visit, [shop.products[row].product_id])
            assert points[row] == pytest.approx(alone)
