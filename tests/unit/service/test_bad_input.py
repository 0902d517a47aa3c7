"""Nasty bodies over every route: never a 5xx, always a problem document, nothing taken."""

import asyncio
import json

import pytest

PROBLEM = "application/problem+json"
NESTED = 100_000
DEEP = b"[" * NESTED + b"]" * NESTED
NOT_JSON = {
    "empty": b"",
    "cut short": b'{"user_id": "u1"',
    "trailing": b"{} {}",
    "NaN": b'{"user_id": NaN}',
    "NaN in a list": b"[NaN]",
    "Infinity": b'[{"event_id":"a","value":-Infinity}]',
    "UTF-16": '{"user_id": "u1"}'.encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf{}",
    "not UTF-8": b'{"user_id": "\xff\xfe"}',
    "lone surrogate": b'{"user_id": "\\ud800"}',
    "lone surrogate in a name": b'[{"\\udfff": 1}]',
    "half a pair": b'["\\ud83d\\u0041"]',
    "deep lists": DEEP,
    "deep objects": b'{"a":' * NESTED,
    "deep inside": b'{"filter":' + DEEP + b"}",
    "deep in an event": b'[{"event_id":' + DEEP + b"}]",
    "binary": bytes(range(256)),
    "one quote": b'"',
}
NOT_VALID = {
    "a number": b"1",
    "a string": b'"u1"',
    "null": b"null",
    "true": b"true",
    "an object where a list is due, and back": b'{"a":[]}',
}
RECOMMEND = {
    "unknown field": {"user": "u1"},
    "number for an id": {"user_id": 1},
    "bool for an id": {"user_id": True},
    "number for a bool": {"learn": 1},
    "text for a bool": {"deferred": "true"},
    "NUL": {"user_id": "a\x00b"},
    "control": {"placement": "a\x1fb"},
    "newline at the end": {"user_id": "u1\n"},
    "empty id": {"viewed_product_id": ""},
    "long id": {"user_id": "u" * 129},
    "id in a list": {"user_id": ["u1"]},
    "null in a list": {"purchased_product_ids": [None]},
    "many ids": {"exclude_product_ids": ["p"] * 1001},
    "text for a list": {"exclude_product_ids": "p1"},
    "unknown filter": {"filter": {"colour": ["red"]}},
    "negative price": {"filter": {"max_price_cents": -1}},
    "huge price": {"filter": {"max_price_cents": 10**30}},
    "fraction of a cent": {"filter": {"max_price_cents": 1.5}},
    "position 5": {"pinned": [{"product_id": "p1", "position": 5}]},
    "position -1": {"pinned": [{"product_id": "p1", "position": -1}]},
    "position true": {"pinned": [{"product_id": "p1", "position": True}]},
    "position 1.0": {"pinned": [{"product_id": "p1", "position": 1.5}]},
    "pin without position": {"pinned": [{"product_id": "p1"}]},
    "six pins": {"pinned": [{"product_id": f"p{n}", "position": n % 5} for n in range(6)]},
    "a list": [],
}
PRODUCTS = {
    "one product": {"product_id": "p1", "title": "One"},
    "no title": [{"product_id": "p1"}],
    "unknown field": [{"product_id": "p1", "title": "One", "colour": "red"}],
    "negative price": [{"product_id": "p1", "title": "One", "price_cents": -1}],
    "number for a title": [{"product_id": "p1", "title": 1}],
    "NUL in a title": [{"product_id": "p1", "title": "a\x00"}],
    "second one bad": [{"product_id": "p1", "title": "One"}, {"product_id": "", "title": "x"}],
}
BODY_ROUTES = (("POST", "/recommend"), ("POST", "/events"), ("PUT", "/products"))


def refused(answer, *statuses: int) -> None:
    assert answer.status in statuses, (answer.status, answer.body[:200])
    assert answer.headers["content-type"] == PROBLEM
    document = json.loads(answer.body)
    assert document["status"] == answer.status
    assert document["title"]
    assert document["request_id"]
    assert len(answer.body) < 2_000
    assert b"Traceback" not in answer.body


@pytest.mark.parametrize("route", BODY_ROUTES, ids=lambda route: route[1])
@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON.keys())
def test_what_is_not_json_is_refused_on_every_route(shop, route, body):
    before = len(shop.records("products"))

    refused(shop.send(*route, body), 400, 413, 422)

    assert shop.facts() == []
    assert len(shop.records("products")) == before


@pytest.mark.parametrize("route", BODY_ROUTES, ids=lambda route: route[1])
@pytest.mark.parametrize("body", NOT_VALID.values(), ids=NOT_VALID.keys())
def test_json_of_another_kind_is_refused_on_every_route(shop, route, body):
    refused(shop.send(*route, body), 422)


@pytest.mark.parametrize("context", RECOMMEND.values(), ids=RECOMMEND.keys())
def test_a_context_that_breaks_the_contract_is_refused(shop, context):
    refused(shop.send("POST", "/recommend", context), 422)

    assert shop.facts() == []


@pytest.mark.parametrize("products", PRODUCTS.values(), ids=PRODUCTS.keys())
def test_products_are_taken_all_or_none(shop, products):
    before = len(shop.records("products"))

    refused(shop.send("PUT", "/products", products), 422)

    assert len(shop.records("products")) == before


def test_of_a_name_given_twice_the_last_counts(shop):
    answer = shop.send("POST", "/recommend", b'{"learn": true, "learn": false}')

    assert answer.status == 200
    assert not shop.facts()[0].trainable


@pytest.mark.parametrize(
    ("route", "limit"),
    [(("POST", "/recommend"), 65_536), (("POST", "/events"), 2**21), (("PUT", "/products"), 2**21)],
    ids=["recommend", "events", "products"],
)
@pytest.mark.parametrize("declared", [True, False], ids=["declared", "streamed"])
def test_an_oversize_body_is_refused_before_it_is_parsed(shop, route, limit, declared):
    body = b" " * (10 * 2**20)

    refused(shop.send(*route, body, declared_bytes=len(body) if declared else None), 413)
    refused(shop.send(*route, b" " * (limit + 1)), 413)
    refused(shop.send(*route, b" " * limit), 400)


def test_a_declared_size_that_is_a_lie_does_not_help(shop):
    refused(shop.send("POST", "/recommend", b" " * 70_000, declared_bytes=10), 413)
    refused(shop.send("POST", "/recommend", b"{}", headers={"content-length": "-1"}), 413)
    refused(shop.send("POST", "/recommend", b"{}", headers={"content-length": "9" * 5000}), 413)


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/json; charset=utf-16"},
        {"content-type": "multipart/form-data; boundary=x"},
        {"content-type": ""},
        {"content-encoding": "gzip"},
    ],
)
@pytest.mark.parametrize("route", BODY_ROUTES, ids=lambda route: route[1])
def test_other_media_types_are_refused(shop, route, headers):
    refused(shop.send(*route, b"{}", headers=headers), 415)


def test_only_events_come_as_plain_text(shop, event):
    plain = {"content-type": "text/plain;charset=UTF-8"}

    assert shop.outcomes(event(), headers=plain) == ["accepted"]
    refused(shop.send("POST", "/recommend", {}, headers=plain), 415)


def test_unknown_paths_and_methods_are_problems_too(shop):
    refused(shop.send("GET", "/nothing"), 404)
    refused(shop.send("GET", "/products/"), 404, 405)
    refused(shop.send("DELETE", "/recommend"), 405)
    refused(shop.send("BREW", "/recommend"), 405)
    assert shop.send("GET", "/recommend").headers["allow"] == "POST"


@pytest.mark.parametrize(
    "path",
    [
        "/users/", "/users/" + "u" * 129, "/users/a\x00b", "/users/a\nb", "/products/a\n",
        "/users/%FF", "/users/a%ED%A0%80", "/products/%C3",
    ],
)  # fmt: skip
def test_an_id_that_is_none_is_refused(shop, path):
    refused(shop.send("DELETE", path), 422)


@pytest.mark.parametrize("path", ["/metrics\n", "/recommend\n", "/livez\n", "/docs\n"])
def test_a_path_with_a_line_break_behind_it_is_another_path(shop, path):
    assert shop.send("GET", path.strip()).status != 404
    refused(shop.send("GET", path), 404)


def test_a_caller_who_hangs_up_takes_nothing_and_breaks_nothing(shop, call):
    answer = asyncio.run(call(shop.service.app, "POST", "/events", (b"[", b""), hangs_up=True))

    refused(answer, 400)
    assert shop.facts() == []


def test_what_is_echoed_is_short(shop):
    refused(shop.send("POST", "/recommend", {"x" * 60_000: 1}), 422)


def test_a_body_full_of_what_is_no_event_is_refused_before_any_is_looked_at(shop, monkeypatch):
    looked_at: list[bytes] = []
    monkeypatch.setattr("service.bodies.read_event", looked_at.append)

    answer = shop.send("POST", "/events", b"[" + b"0," * 1_000 + b"0]")

    assert (answer.status, looked_at) == (422, [])


def test_too_many_events_are_refused_as_a_whole(shop, event):
    many = [event(event_id=f"e{number}") for number in range(1001)]

    refused(shop.send("POST", "/events", many), 422)
    assert len(shop.report(*many[:1000])) == 1000


def test_promise_8_a_bad_event_never_costs_the_others_of_its_list(shop, event):
    bad = [
        1,
        None,
        [],
        "x",
        {},
        event(event_id="bad-1", type="view"),
        event(event_id="bad-2") | {"colour": "red"},
        event(event_id="bad-3", occurred_at="yesterday"),
        event(event_id="bad-4", occurred_at="2023-11-14T22:13:20"),
        event(event_id="bad-5", occurred_at="1969-12-31T23:59:59Z"),
        event("purchase", event_id="bad-6", product_id=None),
        event("purchase", event_id="bad-7", items=[{"product_id": "p1", "quantity": 0}]),
        event("purchase", event_id="bad-8", items=[{"product_id": "p1"}] * 201),
        event("rating", event_id="bad-9", recommendation_id=None),
        event("impression", event_id="bad-10"),
        event(event_id="bad-11", product_id=None),
        event(event_id="bad-12", user_id=None),
        event(event_id="bad-13", recommendation_id="nonsense"),
        event(event_id="bad-14") | {"attribution_token": "x"},
        event(event_id="bad\x00-15"),
        event(event_id=7),
    ]
    body = [event(event_id="good-1"), *bad, event(event_id="good-2")]

    results = shop.report(*body)

    assert [result["outcome"] for result in results] == [
        "accepted", *("invalid" for _ in bad), "accepted"
    ]  # fmt: skip
    assert all(result["reason"] for result in results[1:-1])
    assert results[6]["event_id"] == "bad-1"
    assert [fact.event_id for fact in shop.facts()] == ["good-1", "good-2"]


def test_numbers_out_of_range_make_one_event_invalid(shop, event):
    body = json.dumps([event("rating", recommendation_id="r"), event(event_id="good")])

    answer = shop.send("POST", "/events", body.replace("0.5", "1e999").encode())

    assert answer.status == 202
    assert [r["outcome"] for r in answer.json["results"]] == ["invalid", "accepted"]
