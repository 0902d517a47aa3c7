"""Routes around the banner: products, users, health, keys, and what the documents say."""

import asyncio
import json

import jsonschema_rs
import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from schemas import requests
from schemas.codec import decode_product, json_schemas
from schemas.events import UserErased
from schemas.products import ProductRemoved, ProductUpserted
from service import bodies, problems, wiring
from service.errors import NotJson, RequestNotValid


def test_products_put_are_durable_and_then_servable(make_shop):
    shop = make_shop(products=0, serving=False)
    body = [{"product_id": f"p{n}", "title": f"Product {n}"} for n in range(6)]

    answer = shop.send("PUT", "/products", body)
    shop.service.watcher.step()

    assert (answer.status, answer.json) == (202, {"accepted": 6})
    facts = [decode_product(record.value) for record in shop.records("products")]
    assert all(isinstance(fact, ProductUpserted) for fact in facts)
    assert len(shop.recommend()["products"]) == 5
    assert shop.metric("service_catalogue_products") == 6


def test_a_product_deleted_is_not_shown_again(make_shop):
    shop = make_shop(products=5, serving=False)

    answer = shop.send("DELETE", "/products/p2")
    shop.service.watcher.step()

    assert answer.status == 202
    assert isinstance(decode_product(shop.records("products")[-1].value), ProductRemoved)
    shown = [entry["product_id"] for entry in shop.recommend()["products"]]
    assert shown == ["p0", "p1", "p3", "p4"]
    assert shop.send("DELETE", "/products/never-there").status == 404


def test_a_product_put_a_moment_ago_can_be_deleted_at_once(shop, product):
    assert shop.send("PUT", "/products", [product(8)]).status == 202

    assert shop.send("DELETE", "/products/p8").status == 202


def test_ids_with_slashes_can_be_deleted(shop, product):
    shop.sell(product(0, product_id="a/b"))

    assert shop.send("DELETE", "/products/a/b").status == 202


def test_an_erased_user_is_a_fact_under_the_users_key(shop, key_of):
    assert shop.send("DELETE", "/users/u1").status == 202

    (record,) = shop.records("events")
    (fact,) = shop.facts()
    assert isinstance(fact, UserErased)
    assert record.key == fact.user_key == key_of("u1")


def test_health_does_not_depend_on_log_or_history(make_shop):
    shop = make_shop(serving=False)
    shop.log.reachable = False
    shop.histories.reachable = False

    assert shop.send("GET", "/livez").status == 200
    cold = shop.send("GET", "/readyz")
    assert (cold.status, cold.headers["retry-after"]) == (503, "1")
    shop.serve()
    assert shop.send("GET", "/readyz").json == {"status": "ready", "policy_version": 7}


def test_metrics_count_requests_by_route_template(shop):
    shop.recommend()
    shop.send("DELETE", "/products/p1")
    shop.send("GET", "/no/such/path")

    text = shop.send("GET", "/metrics").body.decode()
    counted = {
        (route, method, code): shop.metric(
            "service_request_seconds_count", route=route, method=method, code=code
        )
        for route, method, code in [
            ("/recommend", "POST", "200"),
            ("/products/{product_id}", "DELETE", "202"),
            ("unmatched", "GET", "404"),
        ]
    }
    assert set(counted.values()) == {1}
    assert 'service_recommendations_total{arm="policy",source="policy"} 1.0' in text
    assert "p1" not in text


KEYS = (
    "recommend-1:recommend,browser-key:events:browser,server-key:events:server,"
    "operate-1:operate,all-of-it:recommend+events:browser+events:server+operate"
)
NEEDED = {
    ("POST", "/recommend"): {"recommend-1"},
    ("POST", "/events"): {"browser-key", "server-key"},
    ("PUT", "/products"): {"operate-1"},
    ("DELETE", "/products/p1"): {"operate-1"},
    ("DELETE", "/users/u1"): {"operate-1"},
}


@pytest.mark.parametrize("route", NEEDED, ids=lambda route: " ".join(route))
def test_each_route_opens_to_its_scopes_alone(make_shop, route):
    shop = make_shop(api_keys=KEYS)

    def status(key: str | None) -> int:
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        body = {} if route[1] == "/recommend" else []
        return shop.send(*route, body, headers=headers).status

    statuses = {
        key: status(key) for key in ("recommend-1", "browser-key", "server-key", "operate-1")
    }
    assert {key for key, code in statuses.items() if code in (200, 202)} == NEEDED[route]
    assert {code for key, code in statuses.items() if key not in NEEDED[route]} == {403}
    assert status("all-of-it") in (200, 202)
    assert status(None) == status("wrong-key") == status("") == 401


def test_a_key_with_a_rate_is_told_when_to_come_back(make_shop):
    shop = make_shop(api_keys="limited-1:recommend@2,other-key-1:recommend")
    limited, other = ({"authorization": f"Bearer {key}"} for key in ("limited-1", "other-key-1"))
    shop.clock.now_ms = 1_700_000_000_000 // 60_000 * 60_000 + 15_000

    answers = [shop.send("POST", "/recommend", {}, headers=limited) for _ in range(3)]

    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[2].headers["content-type"] == problems.MEDIA_TYPE
    assert answers[2].headers["retry-after"] == "45"
    assert answers[2].headers["ratelimit-policy"] == '"key";q=2;w=60'
    assert answers[2].headers["ratelimit"] == '"key";r=0;t=45'
    assert shop.send("POST", "/recommend", {}, headers=other).status == 200
    shop.clock.pass_seconds(45)
    assert shop.send("POST", "/recommend", {}, headers=limited).status == 200


def test_a_missing_key_is_a_problem_with_a_challenge(make_shop):
    answer = make_shop(api_keys=KEYS).send("POST", "/recommend", {})

    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == problems.MEDIA_TYPE


def test_a_beacon_may_bring_a_browsers_key_as_a_parameter_but_no_other(make_shop, event):
    shop = make_shop(api_keys=KEYS)

    assert shop.send("POST", "/events?key=browser-key", [event()]).status == 202
    assert shop.send("POST", "/events?key=server-key", [event()]).status == 401


def test_health_and_documents_need_no_key(make_shop):
    shop = make_shop(api_keys=KEYS)

    for path in ("/livez", "/readyz", "/metrics", "/openapi.json", "/docs"):
        assert shop.send("GET", path).status == 200


def test_pages_of_configured_origins_may_call_and_no_others(make_shop):
    shop = make_shop(cors_origins=("https://shop.example",))
    asks = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization",
    }

    ours = shop.send("OPTIONS", "/recommend", headers={"origin": "https://shop.example"} | asks)
    theirs = shop.send("OPTIONS", "/recommend", headers={"origin": "https://evil.example"} | asks)
    answer = shop.send("POST", "/recommend", {}, headers={"origin": "https://shop.example"})

    assert ours.headers["access-control-allow-origin"] == "https://shop.example"
    assert "access-control-allow-origin" not in theirs.headers
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"


def document_of(shop) -> dict:
    return shop.send("GET", "/openapi.json").json


def test_every_operation_is_named_and_documents_its_errors(shop):
    document = document_of(shop)

    named = {
        operation["operationId"]: (path, method.upper(), set(operation["responses"]))
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert set(named) == {
        "recommend",
        "report_events",
        "put_products",
        "delete_product",
        "erase_user",
        "livez",
        "readyz",
        "metrics",
    }
    assert named["recommend"] == (
        "/recommend",
        "POST",
        {"200", "400", "401", "403", "408", "413", "415", "422", "429", "503"},
    )
    assert "503" in named["report_events"][2]
    assert named["delete_product"][0] == "/products/{product_id}"


def test_every_reference_of_the_document_leads_somewhere(shop):
    document = document_of(shop)
    text = json.dumps(document)

    for reference in {part.split('"')[0] for part in text.split('"$ref": "')[1:]}:
        place = document
        for name in reference.removeprefix("#/").split("/"):
            place = place[name]


def test_every_example_follows_its_schema(shop):
    document = document_of(shop)
    checked = 0
    for methods in document["paths"].values():
        for operation in methods.values():
            contents = [operation.get("requestBody", {})]
            contents += operation["responses"].values()
            for content in contents:
                for described in content.get("content", {}).values():
                    if "example" in described:
                        schema = described["schema"] | {"components": document["components"]}
                        jsonschema_rs.validate(schema, described["example"])
                        checked += 1
    assert checked >= 7


CONTEXTS = [
    {},
    {"user_id": "u1", "filter": {"category": ["a"], "max_price_cents": 3}, "learn": None},
    {"pinned": [{"product_id": "p1", "position": 4}], "deferred": True},
    {"user_id": ""},
    {"user_id": 1},
    {"colour": "red"},
    {"pinned": [{"product_id": "p1", "position": 5}]},
    {"filter": {"max_price_cents": -1}},
    {"exclude_product_ids": ["p"] * 1001},
    [],
]


@pytest.mark.parametrize("context", CONTEXTS, ids=lambda context: str(context)[:60])
def test_what_is_documented_and_what_is_decoded_agree(shop, context):
    document = document_of(shop)
    schema = {"$ref": "#/components/schemas/RecommendRequest", "components": document["components"]}
    try:
        bodies.decode_recommend(json.dumps(context).encode())
        decodes = True
    except (NotJson, RequestNotValid):
        decodes = False

    assert jsonschema_rs.is_valid(schema, context) == decodes


def test_the_document_holds_every_field_that_is_decoded_and_answered(shop):
    documented = document_of(shop)["components"]["schemas"]

    for kind in (
        requests.RecommendRequest,
        requests.RecommendResponse,
        requests.EventIn,
        requests.EventResult,
        requests.ItemIn,
        requests.Filter,
        requests.Pin,
    ):
        assert set(documented[kind.__name__]["properties"]) == set(kind.__struct_fields__)
    written = json_schemas()["recommend.request.json"]["$defs"]["RecommendRequest"]
    assert documented["RecommendRequest"]["properties"].keys() == written["properties"].keys()


def test_the_documentation_page_loads_nothing(shop):
    answer = shop.send("GET", "/docs")
    page = answer.body.decode()

    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert "<script" not in page
    assert "http://" not in page
    assert "https://" not in page
    assert "POST /recommend" in page


def test_the_lifespan_starts_and_stops_everything(make_shop, event, call):
    fresh = make_shop(serving=False)
    service = wiring.build(
        wiring.ServiceSettings(secret=b"s"),
        fresh.log,
        fresh.registry,
        fresh.histories,
        clock=fresh.clock,
        rng=np.random.default_rng(0),
        metrics_registry=CollectorRegistry(),
    )

    async def live() -> list:
        async with service.app.router.lifespan_context(service.app):
            body = json.dumps([event()]).encode()
            return [
                await call(service.app, "POST", "/events", (body,)),
                await call(service.app, "POST", "/recommend", (b"{}",)),
            ]

    reported, recommended = asyncio.run(live())

    assert (reported.status, recommended.status) == (202, 200)
    # whoever calls first meets a catalogue, though it was read in a thread
    assert len(recommended.json["products"]) == 5
    reader = fresh.log.consumer(["events"], group=None)
    assert len(reader.poll(max_records=10, timeout_seconds=0.0)) == 2
    reader.close()


def test_the_documentation_is_rendered_once(shop, monkeypatch):
    first = shop.send("GET", "/docs")

    monkeypatch.setattr("service.docs_page.page", None)

    assert shop.send("GET", "/docs").body == first.body


BEACON = {"content-type": "text/plain", "host": "127.0.0.1:8080"}


@pytest.mark.parametrize(
    "foreign",
    [
        {"origin": "https://strange.example"},
        {"origin": "null"},
        {"origin": "https://shop.example.strange.example"},
        {"host": "rebound.example:8080"},
        {"host": "rebound.example:8080", "origin": "http://rebound.example:8080"},
        {"host": "[::", "origin": "http://[::"},
    ],
)
def test_without_keys_pages_of_other_sites_report_nothing(make_shop, event, foreign):
    shop = make_shop(cors_origins=["https://shop.example"])

    answer = shop.send("POST", "/events", [event("purchase")], headers=BEACON | foreign)

    assert answer.status == 403
    assert answer.headers["content-type"] == "application/problem+json"
    assert shop.facts() == []


@pytest.mark.parametrize(
    "own",
    [
        {},
        {"host": "localhost:8080"},
        {"host": "[::1]:8080", "origin": "http://[::1]:8081"},
        {"origin": "http://localhost:3000"},
        {"origin": "https://shop.example"},
    ],
)
def test_without_keys_this_machine_and_the_shops_pages_may_call(make_shop, event, own):
    shop = make_shop(cors_origins=["https://shop.example"])

    assert shop.outcomes(event("purchase"), headers=BEACON | own) == ["accepted"]


def test_with_keys_a_key_is_enough_wherever_the_page_is_from(make_shop, event):
    shop = make_shop(api_keys="server-key:events:server", cors_origins=[])
    page = {"authorization": "Bearer server-key", "origin": "https://a.example", "host": "b"}

    assert shop.outcomes(event("purchase"), headers=page) == ["accepted"]
