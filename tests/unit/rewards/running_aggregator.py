"""An aggregator that is stepped by hand, and what its log is told."""

from rewards.aggregator import Aggregator, Pace
from rewards.specification import RewardSpecification
from schemas.events import Tick
from streams.port import Message

PACE = Pace(poll_seconds=0)


def aggregator(events, clock, **changes):
    facts = {"clock": clock, "pace": PACE, **changes}
    return Aggregator(events, RewardSpecification(), **facts)


def run_dry(running):
    """Step until nothing is read, ticked or left to commit."""
    quiet = 0
    while quiet < 3:
        quiet = 0 if running.step() else quiet + 1


def tell(events, clock, shop, *told, then_ms=1_000):
    for event in told:
        events.append("events", [shop.message(event)])
        clock.now += then_ms


def a_busy_minute(events, clock, shop):
    """Two shoppers' banners, clicks, orders, duplicates and poison."""
    for number in range(8):
        key = (shop.KEY, shop.STRANGER)[number % 2]
        banner = shop.recommended(number, at=clock.now, key=key)
        rec = banner.recommendation_id
        told = [banner, banner]
        if number % 3 == 0:
            told.append(shop.click("b", rec=rec, event_id=f"c{number}", at=clock.now))
        if number % 4 == 1:
            told.append(shop.purchase("a", "c", event_id=f"p{number}", user_key=key))
            told.append(
                shop.refund("a", order_id=f"p{number}", event_id=f"r{number}", user_key=key)
            )
        for event in told:
            events.append("events", [shop.message(event, key)])
            clock.now += 700
        events.append("events", [Message(key, b"{not json"), Message(key, None)])
    clock.now += 6_000
    events.append("events", [shop.message(Tick(event_id="t", occurred_at_ms=clock.now))])


def replayed(events, clock, memory_log, **changes):
    """Return another log with the same events, aggregated from the start."""
    other = memory_log(clock)
    for partition, there in events.records.items():
        if partition.topic == "events":
            other.records[partition] = list(there)
    run_dry(aggregator(other, clock, **changes))
    return other
