"""What befalls a seeded shop befalls both alike."""

from collections import Counter
from datetime import timedelta
from itertools import islice

import numpy as np
import pytest

from simulator.aisles import AislesWorld
from simulator.circumstances import Circumstances, Rhythm, Spell, SyntheticShare
from simulator.errors import WorldNotPossible
from simulator.shoppers import OPENING
from simulator.synthetic import STRONG_PULL, SyntheticWorld
from simulator.world import DEFAULT_POINTS, visit_rng


@pytest.fixture(scope="module", params=[SyntheticWorld, AislesWorld])
def kind(request):
    return request.param


def opened(kind, *, products=200, **circumstances):
    return kind(
        products, seed=3, shoppers=40, past=800, circumstances=Circumstances(**circumstances)
    )


def taken(world, seed, count):
    return list(islice(world.visits(seed), count))


def averages_to_the_expected_reward(world, visit, banner, draws=4000):
    rng = np.random.default_rng(2)
    rewards = [world.respond(visit, banner, rng).reward() for _ in range(draws)]
    standard_error = np.std(rewards) / np.sqrt(draws)
    return abs(np.mean(rewards) - world.expected_reward(visit, banner)) <= 4 * standard_error


def test_before_the_tastes_move_nothing_is_different_and_then_half_of_the_shoppers_are(kind):
    still, moving = opened(kind), opened(kind, taste_drift=300)

    pairs = list(zip(taken(still, 1, 900), taken(moving, 1, 900), strict=True))

    same = Counter()
    for old, new in pairs:
        banner = still.oracle(old)
        is_same = new.viewed_product_id not in banner and still.expected_reward(
            old, banner
        ) == moving.expected_reward(new, banner)
        same[old.number >= 300, is_same] += 1
        assert old.user_id == new.user_id
    assert list(still.past_orders()) == list(moving.past_orders())
    assert same[False, False] == 0
    assert 0.35 < same[True, True] / (same[True, True] + same[True, False]) < 0.65


def test_after_the_tastes_moved_the_moved_buy_elsewhere(kind):
    moving = opened(kind, taste_drift=0)
    still = opened(kind)
    earned = Counter()
    for old, new in zip(taken(still, 1, 300), taken(moving, 1, 300), strict=True):
        old_best = still.oracle(old)
        if new.viewed_product_id not in old_best:
            earned["old"] += moving.expected_reward(new, old_best)
            earned["new"] += moving.expected_reward(new, moving.oracle(new))

    assert earned["old"] < 0.8 * earned["new"]


def test_without_turnover_everything_is_on_sale(kind):
    world = opened(kind)

    assert world.available(next(world.visits(1))) is None


def test_products_go_and_as_many_come_at_the_rate_asked_for(kind):
    world = opened(kind, products=1000, turnover=0.5)
    visits = taken(world, 1, 4001)
    before, after = (world.available(visits[number]) for number in (0, 4000))

    gone = (before & ~after).sum()
    come = (after & ~before).sum()

    assert before.dtype == bool
    assert 160 < (~before).sum() < 240
    assert 150 < gone < 250  # half of a thousand per 10,000 visits, in 4,000 visits
    assert 140 < come < 260


def test_products_away_at_the_opening_have_no_past_and_nobody_views_what_is_away(kind):
    world = opened(kind, turnover=1.0)
    rows = {product.product_id: row for row, product in enumerate(world.products)}
    visits = taken(world, 1, 2000)
    at_the_opening = world.available(visits[0])

    sold = {product for order in world.past_orders() for product in order.product_ids}

    assert sold
    assert all(at_the_opening[rows[product]] for product in sold)
    assert all(order.product_ids for order in world.past_orders())
    viewed = [visit for visit in visits if visit.viewed_product_id is not None]
    assert len(viewed) > 1000
    assert all(world.available(visit)[rows[visit.viewed_product_id]] for visit in viewed)


def test_what_is_not_on_sale_earns_nothing_and_the_oracle_leaves_it_out(kind):
    world = opened(kind, turnover=1.0)
    for visit in taken(world, 1, 100):
        available = world.available(visit)
        rows = np.flatnonzero(~available)[:5]
        banner = [world.products[row].product_id for row in rows]
        response = world.respond(visit, banner, visit_rng(visit))
        best = [int(product[1:]) for product in world.oracle(visit)]

        assert world.expected_reward(visit, banner) == 0.0
        assert (response.clicked, response.bought) == ((), ())
        assert all(available[int(product[1:])] for product in response.also_bought)
        assert available[best].all()
        assert len(best) == 5


def test_with_a_strong_pull_too_what_is_not_on_sale_is_not_bought():
    world = SyntheticWorld(
        200, past=10, pull=STRONG_PULL, circumstances=Circumstances(turnover=1.0)
    )
    visit = next(visit for visit in world.visits(1) if visit.viewed_product_id is None)
    away = np.flatnonzero(~world.available(visit))
    best = world.oracle(visit)

    worth = [world.expected_reward(visit, [*best[:4], f"p{row}"]) for row in away]

    assert len(worth) > 20
    assert worth == pytest.approx([world.expected_reward(visit, best[:4])] * len(worth))


def test_with_turnover_and_noise_responses_still_average_to_the_expected_reward(kind):
    world = opened(kind, turnover=1.0, noise=0.4)
    for visit in taken(world, 8, 3):
        away = np.flatnonzero(~world.available(visit))[0]
        banner = [*world.oracle(visit)[:4], f"p{away}"]

        assert averages_to_the_expected_reward(world, visit, banner)


def test_noise_is_clicks_that_do_not_depend_on_what_is_shown(kind):
    world = opened(kind, noise=1.0)
    visit = next(world.visits(8))
    rng = np.random.default_rng(1)
    banner = world.oracle(visit)

    responses = [world.respond(visit, banner, rng) for _ in range(2000)]

    by_position = Counter(place for response in responses for place in response.clicked)
    assert all(abs(count / 2000 - 0.2) < 0.04 for count in by_position.values())
    assert not any(response.bought for response in responses)
    assert world.expected_reward(visit, banner) == pytest.approx(0.1 * 0.2 * 5)


def test_without_noise_a_response_is_what_it_is_with_little_of_it_nearly_always(kind):
    quiet, noisy = opened(kind), opened(kind, noise=0.1)
    same = 0
    for one, other in zip(taken(quiet, 8, 500), taken(noisy, 8, 500), strict=True):
        banner = quiet.oracle(one)
        same += quiet.respond(one, banner, visit_rng(one)) == noisy.respond(
            other, banner, visit_rng(other)
        )

    assert 440 <= same < 500


def test_bots_are_the_share_asked_for_click_everything_and_buy_nothing(kind):
    world = opened(kind, bots=0.3)
    visits = taken(world, 8, 2000)
    bots = [visit for visit in visits if visit.is_bot]

    assert abs(len(bots) - 600) < 4 * np.sqrt(2000 * 0.21)
    for visit in bots[:50]:
        banner = world.oracle(visit)
        response = world.respond(visit, banner, visit_rng(visit))
        assert response.clicked == (0, 1, 2, 3, 4)
        assert response.order(banner) == ()
        assert visit.user_id is None
        assert world.expected_reward(visit, banner) == pytest.approx(5 * DEFAULT_POINTS.click)


def test_the_people_among_bots_are_those_who_come_without_them(kind):
    alone, among = opened(kind), opened(kind, bots=0.3)

    for one, other in zip(taken(alone, 8, 300), taken(among, 8, 300), strict=True):
        if not other.is_bot:
            assert one == other


def test_the_more_the_storefront_led_the_past_the_more_was_bought_of_what_it_pushed(kind):
    def sold(biased_past):
        world = kind(
            400, shoppers=300, past=3000, circumstances=Circumstances(biased_past=biased_past)
        )
        return Counter(p for order in world.past_orders() for p in order.product_ids)

    pushed = [product for product, _ in sold(1.0).most_common(40)]
    share = {
        biased: sum(sold(biased)[product] for product in pushed) / sold(biased).total()
        for biased in (0.0, 0.6, 1.0)
    }

    assert share[0.0] + 0.05 < share[0.6] < share[1.0] - 0.05


def test_the_rhythm_shows_in_the_time_of_visits_alone(kind):
    rhythm = Rhythm(daily=0.9, spells=(Spell(1.0, 2.0, 0.01), Spell(0.5, 0.6, 20.0)))
    steady, varied = taken(opened(kind), 1, 500), taken(opened(kind, rhythm=rhythm), 1, 500)

    for one, other in zip(steady, varied, strict=True):
        assert (one.user_id, one.viewed_product_id) == (other.user_id, other.viewed_product_id)
    assert [visit.occurred_at for visit in steady] != [visit.occurred_at for visit in varied]


def arrivals(rhythm, days):
    """Return seconds after the opening of every visit within so many days."""
    rng = np.random.default_rng(1)
    at, found = 0.0, []
    while at < days * 86_400.0:
        at += rhythm.gap(at, float(rng.exponential(rhythm.seconds_between)))
        found.append(at)
    return np.array(found)


def test_a_day_has_its_busiest_hours_in_the_evening_and_a_tenth_of_them_in_the_morning():
    hours = arrivals(Rhythm(seconds_between=30.0, daily=0.8), 8) / 3600.0 % 24.0

    evening = ((hours > 17) & (hours < 19)).sum()
    morning = ((hours > 5) & (hours < 7)).sum()

    assert evening / morning == pytest.approx(1.8 / 0.2, rel=0.2)
    assert len(hours) == pytest.approx(8 * 2880, rel=0.03)


def test_a_quiet_week_is_quiet_to_its_end_and_a_burst_is_one():
    rhythm = Rhythm(seconds_between=60.0, spells=(Spell(1.0, 8.0, 1e-3), Spell(9.0, 9.1, 30.0)))

    days = arrivals(rhythm, 10) / 86_400.0

    quiet, burst = ((days > 1) & (days < 8)).sum(), ((days > 9) & (days < 9.1)).sum()
    assert 1 <= quiet <= 30  # ten expected
    assert burst == pytest.approx(30 * 144, rel=0.1)
    assert (days < 1).sum() == pytest.approx(1440, rel=0.1)
    assert ((days > 8) & (days < 9)).sum() == pytest.approx(1440, rel=0.1)


def test_the_first_visit_comes_after_the_opening(kind):
    visit = next(opened(kind, rhythm=Rhythm(seconds_between=3600.0)).visits(1))

    assert timedelta(0) < visit.occurred_at - OPENING < timedelta(days=2)


@pytest.mark.parametrize(
    ("part", "wrong"),
    [
        (Circumstances, {"noise": 1.1}),
        (Circumstances, {"bots": -0.1}),
        (Circumstances, {"biased_past": 2.0}),
        (Circumstances, {"turnover": -1.0}),
        (Rhythm, {"seconds_between": 0.0}),
        (Rhythm, {"daily": 1.0}),
        (Spell, {"begin": 2.0, "end": 1.0, "factor": 1.0}),
        (Spell, {"begin": 1.0, "end": 2.0, "factor": 0.0}),
        (SyntheticShare, {"anonymous": 1.5}),
    ],
)
def test_circumstances_that_cannot_be_are_refused(part, wrong):
    with pytest.raises(WorldNotPossible):
        part(**wrong)
