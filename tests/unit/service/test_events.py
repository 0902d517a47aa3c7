import tracemalloc

import pytest

from schemas import events
from schemas.codec import decode_event
from schemas.events import Line
from schemas.requests import EventIn
from service.limits import BrowserLimits, BrowserRules
from service.windows import Window

NOW_MS = 1_700_000_000_000


def test_every_kind_of_event_is_kept_with_its_fields(shop, event, key_of):
    answer = shop.recommend(user_id="u1")
    named = {"recommendation_id": answer["recommendation_id"]}
    items = [{"product_id": "p2", "quantity": 3, "price_cents": 499}, {"product_id": "new"}]

    outcomes = shop.outcomes(
        event("impression", event_id="1", **named),
        event("click", event_id="2", **named),
        event("add_to_cart", event_id="3", **named),
        event("purchase", event_id="4", product_id=None, items=items, order_id="o1", source="erp"),
        event("refund", event_id="5", order_id="o1"),
        event("rating", event_id="6", value=-2, product_id="p1", **named),
    )

    assert outcomes == ["accepted"] * 6
    _, impression, click, cart, purchase, refund, rating = shop.facts()
    assert isinstance(impression, events.Impression)
    assert isinstance(click, events.Click)
    assert isinstance(cart, events.AddToCart)
    assert isinstance(refund, events.Refund)
    assert click.product_id == cart.product_id == "p1"
    assert click.recommendation_id == answer["recommendation_id"]
    assert (purchase.order_id, purchase.source, purchase.user_key) == ("o1", "erp", key_of("u1"))
    assert purchase.lines == (
        Line(product_id="p2", row=2, quantity=3, price_cents=499),
        Line(product_id="new", row=None),
    )
    assert refund.lines == (Line(product_id="p1", row=1),)
    assert (rating.value, rating.source, rating.product_id) == (-2.0, "judge", "p1")


def test_events_go_where_their_banner_is(shop, event, key_of):
    own = shop.recommend(user_id="u1")
    anonymous = shop.recommend()

    shop.report(
        event(event_id="1", recommendation_id=own["recommendation_id"], user_id=None),
        event(event_id="2", recommendation_id=anonymous["recommendation_id"], user_id="u1"),
        event(event_id="3"),
    )

    keys = [record.key for record in shop.records("events")][2:]
    anonymous_key = bytes.fromhex(anonymous["recommendation_id"].split("-")[1])
    assert keys == [key_of("u1"), anonymous_key, key_of("u1")]


def test_an_order_for_an_anonymous_banner_goes_to_the_banner_and_to_its_shopper(
    shop, event, key_of
):
    anonymous = shop.recommend()["recommendation_id"]
    anonymous_key = bytes.fromhex(anonymous.split("-")[1])

    outcomes = shop.outcomes(
        event(event_id="1", type="purchase", recommendation_id=anonymous, user_id="u1"),
        event(event_id="2", type="purchase", recommendation_id=anonymous, user_id=None),
        event(event_id="3", type="purchase", user_id="u1"),
        event(event_id="4", type="refund", recommendation_id=anonymous, user_id="u1"),
    )

    assert outcomes == ["accepted"] * 4
    _, *records = shop.records("events")
    told = [(decode_event(record.value).event_id, record.key) for record in records]
    assert told == [
        ("1", anonymous_key),
        ("1", key_of("u1")),
        ("2", anonymous_key),
        ("3", key_of("u1")),
        ("4", anonymous_key),
    ]


@pytest.mark.parametrize(
    ("occurred_at", "kept_ms"),
    [
        ("2023-11-14T22:13:20Z", NOW_MS),
        ("2023-11-14T23:13:19.250+01:00", NOW_MS - 750),
        ("2099-01-01T00:00:00Z", NOW_MS),
        ("1970-01-01T00:00:00Z", 0),
    ],
)
def test_a_clients_time_is_clamped_to_now(shop, event, occurred_at, kept_ms):
    shop.report(event(occurred_at=occurred_at))

    (fact,) = shop.facts()
    assert (fact.occurred_at_ms, fact.received_at_ms) == (kept_ms, NOW_MS)


def test_duplicates_are_accepted(shop, event):
    assert shop.outcomes(event(), event()) == ["accepted", "accepted"]


def test_an_empty_list_is_answered(shop):
    assert shop.report() == []


def test_outcomes_are_counted_by_type(shop, event):
    shop.report(event(), event(occurred_at="never"), {"type": "click"})

    assert shop.metric("service_events_total", type="click", outcome="accepted") == 1
    assert shop.metric("service_events_total", type="click", outcome="invalid") == 1
    assert shop.metric("service_events_total", type="unreadable", outcome="invalid") == 1


KEYS = "browser-key-1:events:browser,both-keys-1:events:browser+events:server"
BROWSER = {"authorization": "Bearer browser-key-1"}
BOTH = {"authorization": "Bearer both-keys-1"}


def test_a_cap_holds_for_browsers_by_address_and_strangers_cannot_use_up_a_shoppers(
    make_shop, event
):
    shop = make_shop(api_keys=KEYS, browser_limits=BrowserLimits(per_user=2, per_address=5))
    burst = [event(event_id=str(n)) for n in range(3)]
    crowd = [event(event_id=str(n), user_id=f"u{n}") for n in range(10, 13)]

    assert shop.outcomes(*burst, headers=BROWSER) == ["accepted"] * 3
    assert shop.outcomes(*crowd, headers=BROWSER) == ["accepted", "accepted", "rate_limited"]
    assert shop.outcomes(*crowd, headers=BROWSER, address="198.51.100.1") == ["accepted"] * 3
    assert shop.outcomes(*burst * 9, headers=BOTH) == ["accepted"] * 27

    shop.clock.pass_seconds(60)
    assert shop.outcomes(*burst, headers=BROWSER) == ["accepted"] * 3


def click_on(product_id: str) -> EventIn:
    return EventIn(
        event_id="e1", type="click", occurred_at="2023-11-14T22:13:20Z", product_id=product_id
    )


def test_a_shoppers_own_events_with_their_token_have_a_cap():
    rules = BrowserRules(BrowserLimits(per_user=2, window_seconds=60))

    def excess(shopper: bytes, now_ms: int) -> str | None:
        found = rules.excess(click_on("p1"), shopper, address="203.0.113.7", now_ms=now_ms)
        return found and found.outcome

    assert [excess(b"shopper1", now_ms) for now_ms in (0, 1, 2, 60_000)] == [
        None, None, "rate_limited", None
    ]  # fmt: skip
    assert excess(b"shopper2", 60_001) is None


def test_one_address_can_push_one_product_only_so_far():
    rules = BrowserRules(BrowserLimits(product_per_address=2, product_window_seconds=3_600))

    def excess(product_id: str, address: str, number: int, now_ms: int = 0) -> str | None:
        shopper = number.to_bytes(8, "big")
        found = rules.excess(click_on(product_id), shopper, address=address, now_ms=now_ms)
        return found and found.reason

    pushed = [excess("p1", f"2001:db8::{number:x}", number) for number in range(1, 5)]
    refused = "too many clicks on this product from this address"
    assert pushed == [None, None, refused, refused]
    assert excess("p2", "2001:db8::9", 9) is None
    assert excess("p1", "2001:db8:0:1::9", 10) is None
    assert excess("p1", "2001:db8::1", 11, now_ms=3_600_000) is None


def test_many_strangers_neither_fill_the_memory_nor_cost_a_newcomer_her_events():
    window = Window(cap=120, seconds=60)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()

    for number in range(100_000):
        window.count(("stranger", number), 0)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert after - before < 3_000_000
    assert not any(window.is_over(("newcomer", number), 0) for number in range(100))


def test_strangers_who_share_a_cell_of_one_row_share_one_of_the_other_by_chance_alone():
    window, strangers = Window(cap=1, seconds=60), 5_000

    taken_for_another = sum(window.is_over(f"address {n}", 0) for n in range(strangers))

    # Some 95 pairs share a cell of the first row; by chance 2 find both of their cells taken.
    assert taken_for_another < 15


def test_a_browsers_click_sooner_than_anybody_reacts_is_refused(make_shop, event):
    shop = make_shop(api_keys=KEYS + ",recommend-1:recommend")
    answer = shop.send(
        "POST", "/recommend", {"user_id": "u1"}, headers={"authorization": "Bearer recommend-1"}
    ).json
    click = event(
        recommendation_id=answer["recommendation_id"],
        attribution_token=answer["attribution_token"],
        product_id=answer["products"][0]["product_id"],
    )

    shop.clock.pass_seconds(0.299)
    assert shop.outcomes(click, headers=BROWSER) == ["invalid"]
    assert shop.outcomes(click, headers=BOTH) == ["accepted"]
    shop.clock.pass_seconds(0.001)
    assert shop.outcomes(click, headers=BROWSER) == ["accepted"]


def test_bots_that_say_so_are_refused(make_shop, event):
    shop = make_shop(api_keys=KEYS)
    agent = {"user-agent": "Mozilla/5.0 (compatible; Googlebot/2.1)"}

    assert shop.outcomes(event(), headers=BROWSER | agent) == ["invalid"]
    assert shop.outcomes(event(), headers=BROWSER) == ["accepted"]
