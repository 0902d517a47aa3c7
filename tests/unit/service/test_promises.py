"""The service's side of the promises; each test bears its promise's number."""

import asyncio
import json

import pytest
from prometheus_client import generate_latest

from schemas import events
from service.errors import TryLater


def test_promise_4_one_request_sees_one_snapshot_whatever_is_swapped(shop, product):
    seen: list[dict] = []
    read = shop.histories.read

    async def swap_while_reading(user_key: bytes) -> bytes | None:
        shop.sell(*(product(n, title=f"Renamed {n}") for n in range(30)))
        shop.serve(version=8)
        return await read(user_key)

    shop.histories.read = swap_while_reading
    answer = shop.recommend(user_id="u1")
    seen.append(answer)

    (fact,) = shop.facts()
    titles = {entry["title"].split()[0] for entry in answer["products"]}
    assert answer["policy_version"] == fact.policy_version == 8
    assert titles == {"Renamed"}
    assert fact.catalogue_version == 50


def test_promise_6_recommend_answers_while_log_history_and_registry_are_away(make_shop):
    shop = make_shop(serving=False)
    shop.log.reachable = False
    shop.histories.reachable = False

    first = shop.recommend(user_id="u1")
    assert not shop.service.appender.wait_idle(timeout_seconds=0.2)
    second = shop.recommend(user_id="u1")

    assert len(first["products"]) == len(second["products"]) == 5
    assert second["source"] == "static"
    assert second["reason"] == "history_unavailable, no_policy, no_popularity, log_unavailable"

    shop.log.reachable = True
    assert [fact.event_id for fact in shop.facts()] == [
        first["recommendation_id"],
        second["recommendation_id"],
    ]


def test_promise_6_a_log_that_stays_away_costs_bounded_memory(make_shop):
    from service.appender import AppenderSettings

    shop = make_shop(appender=AppenderSettings(queue_records=3, group_seconds=0.0))
    shop.log.reachable = False

    answers = [shop.recommend() for _ in range(8)]

    assert all(len(answer["products"]) == 5 for answer in answers)
    assert answers[-1]["reason"] == "log_unavailable"
    assert shop.metric("service_recommendations_dropped_total") >= 4
    assert shop.metric("service_log_queue_records") <= 4


def test_promise_7_events_are_answered_202_only_when_they_are_durable(shop, event):
    order: list[str] = []
    append = shop.log.append

    def slow_append(topic, messages):
        append(topic, messages)
        order.append("durable")

    shop.log.append = slow_append
    assert shop.outcomes(event()) == ["accepted"]
    order.append("answered")

    assert order == ["durable", "answered"]
    assert [fact.event_id for fact in shop.facts()] == ["e1"]


def test_promise_7_a_log_that_is_away_makes_503_with_retry_after_and_takes_nothing(shop, event):
    shop.log.reachable = False

    answer = shop.send("POST", "/events", [event()])
    assert answer.status == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["content-type"] == "application/problem+json"
    assert shop.metric("service_events_total", type="click", outcome="accepted") == 0

    shop.log.reachable = True
    assert shop.facts() == []
    assert shop.outcomes(event()) == ["accepted"]
    assert shop.metric("service_events_total", type="click", outcome="accepted") == 1


def test_promise_7_a_log_that_does_not_answer_makes_503(make_shop, event):
    shop = make_shop()
    shop.service.appender.stop()

    assert shop.send("POST", "/events", [event()]).status == 503
    with pytest.raises(TryLater):
        shop.service.appender.append("events", []).result()


def test_promise_8_bad_input_beside_good_requests_changes_nothing_for_them(shop, event, call):
    async def together():
        bodies = [b"[NaN]", json.dumps([event()]).encode(), b"[" * 100_000, b'{"a":1}']
        return await asyncio.gather(
            *(call(shop.service.app, "POST", "/events", (body,)) for body in bodies)
        )

    statuses = [answer.status for answer in asyncio.run(together())]

    assert statuses == [400, 202, 400, 422]
    assert [fact.event_id for fact in shop.facts()] == ["e1"]


BROWSER_KEY = {"authorization": "Bearer browser-key-1"}
SERVER_KEY = {"authorization": "Bearer server-key-1"}


@pytest.fixture
def guarded(make_shop):
    shop = make_shop(api_keys="browser-key-1:recommend+events:browser,server-key-1:events:server")
    answer = shop.send("POST", "/recommend", {"user_id": "u1"}, headers=BROWSER_KEY).json
    shop.clock.pass_seconds(2)
    return shop, answer


def click_on(event, answer, **changes):
    named = {
        "recommendation_id": answer["recommendation_id"],
        "attribution_token": answer["attribution_token"],
        "product_id": answer["products"][0]["product_id"],
        "user_id": "u1",
    }
    return event("click", **(named | changes))


def test_promise_9_a_genuine_token_is_accepted(guarded, event):
    shop, answer = guarded

    assert shop.outcomes(click_on(event, answer), headers=BROWSER_KEY) == ["accepted"]
    assert isinstance(shop.facts()[-1], events.Click)


@pytest.mark.parametrize("token", [None, "x", "", "AAAA" * 20])
def test_promise_9_a_browser_without_the_banners_token_is_forged(guarded, event, token):
    shop, answer = guarded
    changes = {"attribution_token": token}

    assert shop.outcomes(click_on(event, answer, **changes), headers=BROWSER_KEY) == ["forged"]
    assert len(shop.facts()) == 1


def test_promise_9_a_token_replayed_for_another_banner_product_or_shopper_is_forged(guarded, event):
    shop, answer = guarded
    other = shop.send("POST", "/recommend", {"user_id": "u2"}, headers=BROWSER_KEY).json
    shown = {entry["product_id"] for entry in answer["products"]}
    hidden = next(f"p{n}" for n in range(20) if f"p{n}" not in shown)
    shop.clock.pass_seconds(2)

    outcomes = shop.outcomes(
        click_on(event, answer, recommendation_id=other["recommendation_id"], user_id=None),
        click_on(event, answer, product_id=hidden),
        click_on(event, answer, user_id="u2"),
        headers=BROWSER_KEY,
    )

    assert outcomes == ["forged", "forged", "forged"]
    assert len(shop.facts()) == 2


def test_promise_9_another_shoppers_event_is_forged_whoever_reports_it(guarded, event):
    shop, answer = guarded
    order = event(
        "purchase", user_id="u2", recommendation_id=answer["recommendation_id"], order_id="o1"
    )

    assert shop.outcomes(order, headers=SERVER_KEY) == ["forged"]
    assert shop.outcomes(order | {"user_id": "u1"}, headers=SERVER_KEY) == ["accepted"]


def test_promise_9_a_token_sent_by_a_server_is_checked_too(guarded, event):
    shop, answer = guarded
    order = event("purchase", recommendation_id=answer["recommendation_id"])

    assert shop.outcomes(order | {"attribution_token": "x"}, headers=SERVER_KEY) == ["forged"]
    assert shop.outcomes(order, headers=SERVER_KEY) == ["accepted"]


@pytest.mark.parametrize("kind", ["purchase", "refund", "rating"])
def test_promise_9_a_browser_reports_no_purchases_refunds_or_ratings(guarded, event, kind):
    shop, answer = guarded
    named = {
        "recommendation_id": answer["recommendation_id"],
        "attribution_token": answer["attribution_token"],
    }

    assert shop.outcomes(event(kind, **named), headers=BROWSER_KEY) == ["forged"]


def test_promise_9_a_token_ends_with_its_attribution_window(guarded, event):
    shop, answer = guarded
    shop.clock.pass_seconds(86_400 + 299 - 2)
    assert shop.outcomes(click_on(event, answer), headers=BROWSER_KEY) == ["accepted"]

    shop.clock.pass_seconds(60)
    assert shop.outcomes(click_on(event, answer), headers=BROWSER_KEY) == ["invalid"]


def test_an_order_service_may_report_an_order_after_its_token_has_ended(guarded, event):
    shop, answer = guarded
    shop.clock.pass_seconds(30 * 86_400)

    order = click_on(event, answer) | {"type": "purchase", "user_id": "u1"}

    assert shop.outcomes(order, headers=SERVER_KEY) == ["accepted"]


def test_no_raw_user_id_reaches_log_or_metrics(shop, event):
    shop.recommend(user_id="somebody@example.org")
    shop.report(event(user_id="somebody@example.org"))
    shop.send("DELETE", "/users/somebody@example.org")

    values = b"".join(record.value for record in shop.records("events"))
    assert b"somebody" not in values
    assert b"somebody" not in generate_latest(shop.service.metrics.registry)
