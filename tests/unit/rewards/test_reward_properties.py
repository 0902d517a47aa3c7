"""The fold against an independent reducer, under any order and any number of deliveries."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.settlement import PartitionRewards
from rewards.specification import RewardSpecification
from tests.unit.rewards.reducer import expected_rewards

# A window of 100 s inside which much happens, and lateness enough that nothing is forgotten.
SPECIFICATION = RewardSpecification(attribution_window_seconds=100, lateness_seconds=2_000)
WINDOW_MS = 100_000
PRODUCTS = "abcdef"


@st.composite
def lives(draw, shop):
    """Return [(event, append time)] of one shopper, each at most once."""
    times = st.integers(0, 11).map(lambda step: shop.T0 + 20_000 * step)
    recs = [shop.rec(number) for number in range(4)]
    products = st.lists(st.sampled_from(PRODUCTS), min_size=1, max_size=3, unique=True)
    named = st.sampled_from(recs)
    anyone = st.sampled_from([shop.KEY, shop.KEY, None, shop.STRANGER])
    orders = st.sampled_from([None, "o1", "o2", "o3"])
    facts = []
    for number in range(draw(st.integers(1, 4))):
        at = draw(times)
        skew = draw(st.sampled_from([0, 0, 1_000, 30_000, -30_000]))
        key = draw(st.sampled_from([shop.KEY, shop.KEY, None]))
        banner = shop.recommended(
            number,
            at=at - skew,
            products=draw(products),
            deferred=draw(st.booleans()),
            user_key=key,
        )
        facts.append((banner, at))
    for number in range(draw(st.integers(0, 10))):
        at, event_id = draw(times), f"e{number}"
        kind = draw(st.sampled_from(["click", "click", "impression", "purchase", "refund"]))
        if kind == "click":
            product = draw(st.sampled_from(PRODUCTS))
            event = shop.click(product, rec=draw(named), event_id=event_id, user_key=draw(anyone))
        elif kind == "impression":
            event = shop.impression(rec=draw(named), event_id=event_id, user_key=draw(anyone))
        elif kind == "purchase":
            event = shop.purchase(
                *draw(products),
                rec=draw(st.none() | named),
                event_id=event_id,
                order_id=draw(orders),
                user_key=draw(anyone),
            )
        else:
            event = shop.refund(*draw(products), event_id=event_id, order_id=draw(orders))
        facts.append((event, at))
    return facts


@st.composite
def deliveries(draw, shop):
    """Return the same facts in any order, some of them again (a little later)."""
    facts = draw(lives(shop))
    again = draw(
        st.lists(st.tuples(st.sampled_from(facts), st.sampled_from([0, 1, 60_000])), max_size=8)
    )
    told = facts + [(event, ms + later) for (event, ms), later in again]
    return draw(st.permutations(told))


def rewarded(told, shop):
    """Return ({recommendation: points}, every reward) of the fold."""
    fold = PartitionRewards(SPECIFICATION)
    rewards = []
    for event, ms in told:
        rewards += fold.advance(ms)
        rewards += fold.apply(shop.KEY, event, ms)[1]
    rewards += fold.advance(max(ms for _, ms in told) + SPECIFICATION.settlement_ms)
    assert fold.unsettled == 0
    emitted = [keyed.reward for keyed in rewards]
    return {reward.recommendation_id: reward.points for reward in emitted}, emitted


def close(points, others):
    return points.keys() == others.keys() and all(
        math.isclose(one, other, abs_tol=1e-12)
        for rec, banner in points.items()
        for one, other in zip(banner, others[rec], strict=True)
    )


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_duplicates_and_any_order_leave_the_final_points_unchanged(data, shop):
    told = data.draw(deliveries(shop))

    points, emitted = rewarded(told, shop)

    assert close(points, expected_rewards(told, shop.KEY, window_ms=WINDOW_MS))
    by_banner = {}
    for reward in emitted:
        revisions = by_banner.setdefault(reward.recommendation_id, [])
        assert reward.revision == len(revisions)
        revisions.append(reward)
    for revisions in by_banner.values():
        total = [sum(deltas) for deltas in zip(*(each.delta for each in revisions), strict=True)]
        assert close({"": tuple(total)}, {"": revisions[-1].points})


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_state_that_is_kept_and_loaded_between_any_two_records_changes_nothing(data, shop):
    told = sorted(data.draw(deliveries(shop)), key=lambda each: each[1])
    stops = data.draw(st.sets(st.integers(0, len(told))))

    def fold_all(stops):
        fold, kept, rewards = PartitionRewards(SPECIFICATION), {}, []
        for place, (event, ms) in enumerate(told):
            if place in stops:
                kept.update(fold.changes())
                fold = PartitionRewards(SPECIFICATION)
                fold.load([(key, value) for key, value in kept.items() if value is not None])
            rewards += fold.advance(ms)
            rewards += fold.apply(shop.KEY, event, ms)[1]
        return rewards + fold.advance(told[-1][1] + 5_000)

    assert fold_all(stops) == fold_all(set())
