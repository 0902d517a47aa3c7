"""What banners must have earned: plain sets over the facts, nothing of the ring's code."""

from schemas.events import Click, Impression, Purchase, Recommended, Refund


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


def bought_products(facts, seen, key, window_ms):
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
            if product in banner.product_ids and about(event, banner, key) and ms <= at + window_ms
        }
        latest = max(((at, rec) for rec, at in able.items() if at <= ms), default=(0, None))[1]
        owner = named if named in able else latest
        if owner is not None and (order, product) not in refunded:
            bought[owner].add(product)
    return bought


def expected_rewards(deliveries, key, *, window_ms):
    """Return {recommendation: points} of every impression, from the rules' words alone.

    Args:
        deliveries: (event, append time) of one routing key, none of it late or erased.
        key: the routing key.
        window_ms: for so long after its impression a banner earns.
    """
    first = {}
    for event, ms in sorted(deliveries, key=lambda each: each[1]):
        first.setdefault(event.event_id, (event, ms))
    facts = list(first.values())
    seen = impression_times(facts, key)
    bought = bought_products(facts, seen, key, window_ms)
    points = {}
    for rec, (banner, at) in seen.items():
        got = bought[rec]
        clicks = [event for event, ms in facts if isinstance(event, Click) and ms <= at + window_ms]
        clicked = {event.product_id for event in clicks if implies(event, banner, key)}
        share = (1 + 1.5 * (len(got) - 1)) / len(got) if got else 0
        points[rec] = tuple(0.1 * (p in clicked) + share * (p in got) for p in banner.product_ids)
    return points
