import itertools
import json
import threading
from collections import Counter

import pytest

from simulator.errors import WorldNotPossible
from simulator.reports import Reporter
from simulator.traffic import TrafficSettings
from simulator.world import Response, visit_rng


def test_every_visit_asks_once_and_everything_she_did_is_reported(shop, counting_service, run):
    service = counting_service(shop.products)

    report = run(service, shop)

    visits = list(itertools.islice(shop.visits(4), 60))
    asked = Counter((each.user_id, each.viewed_product_id) for each in service.requests)
    assert asked == Counter((visit.user_id, visit.viewed_product_id) for visit in visits)
    assert (report.visits, report.recommendations, report.failed) == (60, 60, 0)
    assert report.outcomes == {"accepted": report.events}
    assert (report.events, report.pending) == (len(service.events), 0)
    assert len({event.event_id for event in service.events}) == report.events


def test_clicks_name_their_banner_with_its_token_and_orders_carry_the_user_alone(
    grocer, counting_service, run
):
    service = counting_service(grocer.products)

    run(service, grocer, banners=100)

    clicks = [event for event in service.events if event.type == "click"]
    orders = [event for event in service.events if event.type == "purchase"]
    assert clicks
    for click in clicks:
        number = click.recommendation_id.removeprefix("r")
        assert click.attribution_token == f"t{number}"
        assert click.user_id == service.requests[int(number) - 1].user_id
    assert len(orders) == 100
    for order, visit in zip(
        sorted(orders, key=lambda event: int(event.order_id.split("-")[1])),
        grocer.visits(4),
        strict=False,
    ):
        assert (order.recommendation_id, order.attribution_token) == (None, None)
        assert order.user_id == visit.user_id
        assert {item.product_id for item in order.items} == set(visit.basket)


def test_an_anonymous_order_names_its_banner_and_a_share_of_the_others_does_too(
    shop, counting_service, run
):
    def named_share(share):
        service = counting_service(shop.products)
        run(service, shop, banners=300, named_orders=share)
        orders = [event for event in service.events if event.type == "purchase"]
        assert all(order.recommendation_id for order in orders if order.user_id is None)
        known = [order for order in orders if order.user_id is not None]
        return sum(order.recommendation_id is not None for order in known) / len(known)

    assert named_share(0.0) == 0.0
    assert 0.3 < named_share(0.5) < 0.7
    assert named_share(1.0) == 1.0


def test_the_client_counts_rewards_by_arm_as_its_world_gives_them(grocer, counting_service, run):
    service = counting_service(grocer.products)

    report = run(service, grocer, banners=80, concurrency=1)

    expected = realised = 0.0
    for visit in itertools.islice(grocer.visits(4), 80):
        ids = [each.product_id for each in grocer.products]
        banner = [each for each in ids[:6] if each != visit.viewed_product_id][:5]
        expected += grocer.expected_reward(visit, banner)
        realised += grocer.respond(visit, banner, visit_rng(visit)).reward()
    assert {arm: traffic.banners for arm, traffic in report.arms.items()} == {
        "control": 8,
        "policy": 72,
    }
    assert sum(arm.expected_reward for arm in report.arms.values()) == pytest.approx(expected)
    assert sum(arm.reward for arm in report.arms.values()) == pytest.approx(realised)


def test_a_household_never_asks_again_before_its_former_order_is_reported(
    grocer, counting_service, run
):
    service = counting_service(grocer.products, answer_seconds=0.002)

    run(service, grocer, banners=600, time_scale=0.001)

    open_order: set[str] = set()
    repeated = 0
    seen: set[str] = set()
    for kind, user in service.journal:
        if kind == "recommend":
            assert user not in open_order
            repeated += user in seen
            seen.add(user)
            open_order.add(user)
        elif kind == "purchase":
            open_order.discard(user)
    assert repeated > 50


def test_what_a_dying_service_does_not_answer_is_sent_again_unchanged(shop, counting_service, run):
    def is_down(path, nth):
        return ("cut", "503")[nth % 2] if nth % 3 < 2 else None

    service = counting_service(shop.products, is_down=is_down)

    report = run(service, shop, banners=30, concurrency=4)

    by_id: dict[str, set[object]] = {}
    for event in service.events:
        by_id.setdefault(event.event_id, set()).add(event)
    assert (report.visits, report.failed, report.recommendations) == (30, 0, 30)
    assert report.retries > 30
    assert report.outcomes == {"accepted": report.events} == {"accepted": len(by_id)}
    assert all(len(versions) == 1 for versions in by_id.values())


def test_a_service_that_stays_away_costs_counted_events_and_never_a_hang(
    grocer, counting_service, run
):
    def is_down(path, nth):
        return "503" if path == "/events" or nth >= 5 else None

    service = counting_service(grocer.products, is_down=is_down)

    report = run(service, grocer, banners=12, concurrency=1, patience_seconds=0.2)

    assert (report.visits, report.recommendations, report.failed) == (12, 5, 7)
    assert report.outcomes == {"unsent": report.events}
    assert report.events >= 12
    assert report.pending == 0


def test_refused_requests_are_counted_and_not_tried_again(shop, counting_service, run):
    service = counting_service(shop.products, recommend_status=422)

    report = run(service, shop, banners=10)

    assert (report.failed, report.recommendations, report.retries) == (10, 0, 0)
    assert service.tries["/recommend"] == 10


def test_outcomes_are_counted_as_the_service_words_them(shop, counting_service, run):
    service = counting_service(
        shop.products,
        outcome=lambda event: "rate_limited" if event.type == "click" else "accepted",
    )

    report = run(service, shop, banners=200)

    kinds = Counter(event.type for event in service.events)
    assert kinds["click"] > 10
    assert report.outcomes == {"rate_limited": kinds["click"], "accepted": kinds["purchase"]}


def test_a_share_of_the_events_is_sent_twice_with_the_same_id_and_payload(
    shop, counting_service, run
):
    service = counting_service(shop.products)

    report = run(service, shop, banners=200, duplicates=0.3)

    times = Counter(service.events)
    assert report.duplicates == sum(count == 2 for count in times.values())
    assert set(times.values()) == {1, 2}
    assert len(times) == len({event.event_id for event in times}) == report.events
    assert 0.15 < report.duplicates / report.events < 0.45


def test_the_ledger_notes_every_event_before_it_leaves_and_its_outcome(
    shop, tmp_path, counting_service, run
):
    ledger = tmp_path / "ledger.jsonl"
    service = counting_service(
        shop.products, is_down=lambda path, nth: "cut" if path == "/events" and nth == 0 else None
    )

    report = run(service, shop, ledger=ledger, duplicates=0.1)

    banners, sending, outcomes = set(), Counter(), Counter()
    for line in map(json.loads, ledger.read_text().splitlines()):
        if line["kind"] == "banner":
            banners.add(line["recommendation_id"])
        elif line["kind"] == "sending":
            event = line["event"]
            assert event["recommendation_id"] is None or event["recommendation_id"] in banners
            sending[event["event_id"]] += 1
        else:
            outcomes[line["event_id"]] += 1
            assert sending[line["event_id"]] >= outcomes[line["event_id"]]
    assert len(banners) == 60
    assert sending == outcomes
    assert set(sending) == {event.event_id for event in service.events}
    assert sum(sending.values()) == report.events + report.duplicates


def test_a_stop_ends_the_coming_and_reports_at_once_what_was_done(grocer, counting_service, run):
    stop = threading.Event()

    def stop_at_thirty(path, nth):
        if path == "/recommend" and nth == 30:
            stop.set()

    service = counting_service(grocer.products, is_down=stop_at_thirty)

    report = run(service, grocer, banners=None, stop=stop, time_scale=1000.0, rate=500.0)

    orders = [event for event in service.events if event.type == "purchase"]
    assert 30 <= report.visits == report.recommendations == len(orders) < 1000
    assert report.pending == 0


def test_the_key_goes_with_every_request_and_stays_out_of_the_settings_text(
    shop, counting_service, run
):
    service = counting_service(shop.products)

    run(service, shop, banners=10, api_key="k1")

    assert service.keys == {"Bearer k1"}
    assert "k1" not in repr(TrafficSettings(api_key="k1"))


def test_progress_is_told_and_the_last_word_is_the_report(shop, counting_service, run):
    told = []

    report = run(counting_service(shop.products), shop, banners=20, on_progress=told.append)

    assert told[-1] == report
    assert set(report.latency_seconds) == {"p50", "p95", "p99", "max"}


def test_an_order_of_more_lines_than_one_event_takes_is_split(shop):
    visit = next(visit for visit in shop.visits(4) if visit.user_id is not None)
    products = {product.product_id: product for product in shop.products}
    reporter = Reporter("run", {f"x{n}": products["p1"] for n in range(450)}, 1.0)
    events = list(
        reporter.events(
            visit,
            None,
            Response(also_bought=tuple(f"x{n}" for n in range(450))),
            answered_at_ms=0,
            names_the_banner=False,
        )
    )

    assert [len(timed.event.items) for timed in events] == [200, 200, 50]
    assert len({timed.event.order_id for timed in events}) == 1
    assert len({timed.event.event_id for timed in events}) == 3


@pytest.mark.parametrize(
    "varied", [{"rate": 0}, {"concurrency": 0}, {"time_scale": -1.0}, {"duplicates": 1.1}]
)
def test_settings_that_cannot_be_are_refused(varied):
    with pytest.raises(WorldNotPossible):
        TrafficSettings(**varied)
