"""The fold against an independent reducer, under any order and any number of deliveries."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.settlement import PartitionRewards
from rewards.specification import RewardSpecification
from schemas.events import Click, Impression, Purchase, Recommended, Refund

# A window of 100 s inside which much happens, and lateness enough that nothing is forgotten.
SPECIFICATION = RewardSpecification(attribution_window_seconds=100, lateness_seconds=2_000)
WINDOW_MS = 100_000
PRODUCTS = "abcdef"


def about(event, banner, key):
    return banner.user_key is None or event.user_key in (None, key)


def implies(event, banner, key):
    if getattr(event, "recommendation_id", None) != banner.recommendation_id:
        return False
    shown = {
        Impression: lambda: True,
        Click: lambda: event.product_id in banner.product_ids,
        Purchase: lambda: any(line.product_id in banner.product_ids for line in event.lines),
    }
    return about(event, banner, key) and shown.get(type(event), lambda: False)()


def impression_times(facts, key):
    seen = {}
    for banner, logged_ms in facts:
        if isinstance(banner, Recommended):
            times = [ms for event, ms in facts if implies(event, banner, key)]
            if not banner.deferred:
                times = [min(banner.occurred_at_ms, logged_ms)]
            if times:
                seen[banner.recommendation_id] = (banner, min(times))
    return seen


def lines_of(facts, kind):
    for event, ms in facts:
        if isinstance(event, kind):
            for line in event.lines:
                yield (event.order_id or event.event_id, line.product_id), event, ms


def bought_products(facts, seen, key):
    lines = {}
    for line, event, ms in lines_of(facts, Purchase):
        named = event.recommendation_id
        told = (event.user_key not in (None, key), ms, named is None, named or "", event)
        lines[line] = min(told, lines.get(line, told), key=lambda each: each[:4])
    refunded = {line for line, _, _ in lines_of(facts, Refund)}
    bought = {rec: set() for rec in seen}
    for (order, product), (_, ms, _, named, event) in lines.items():
        able = {
            rec: at
            for rec, (banner, at) in seen.items()
            if product in banner.product_ids and about(event, banner, key) and ms <= at + WINDOW_MS
        }
        latest = max(((at, rec) for rec, at in able.items() if at <= ms), default=(0, None))[1]
        owner = named if named in able else latest
        if owner is not None and (order, product) not in refunded:
            bought[owner].add(product)
    return bought


def expected_rewards(deliveries, key):
    """Return {recommendation: points} of every impression, from the design's words alone."""
    first = {}
    for event, ms in sorted(deliveries, key=lambda each: each[1]):
        first.setdefault(event.event_id, (event, ms))
    facts = list(first.values())
    seen = impression_times(facts, key)
    bought = bought_products(facts, seen, key)
    points = {}
    for rec, (banner, at) in seen.items():
        got = bought[rec]
        clicks = [event for event, ms in facts if isinstance(event, Click) and ms <= at + WINDOW_MS]
        clicked = {event.product_id for event in clicks if implies(event, banner, key)}
        share = (1 + 1.5 * (len(got) - 1)) / len(got) if got else 0
        points[rec] = tuple(0.1 * (p in clicked) + share * (p in got) for p in banner.product_ids)
    return points


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

    assert close(points, expected_rewards(told, shop.KEY))
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
