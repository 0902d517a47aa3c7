"""The console over HTTP."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from console.app import ConsoleParts, create_app
from console.audit import AuditSettings
from console.experiment import Experiment
from console.explain import Explainer
from console.follower import Follower
from console.pairs import Pairs
from console.policies import Operations, Registry
from console.settings import ConsoleSettings
from schemas.codec import decode_announcement
from schemas.keys import Keyring
from schemas.products import Product
from streams.local import LocalLog

JSON = {"content-type": "application/json"}
KEYS = "operator:operate,browser-1:recommend+events:browser"
Ask = Callable[..., Any]
Make = Callable[..., FastAPI]


@pytest.fixture
def make(log: LocalLog, clock: Any, registry: Any, catalogue: Any) -> Make:
    def make(keys: str = "") -> FastAPI:
        follower = Follower(log, lambda: Experiment(AuditSettings()), clock=clock)
        follower.step()
        follower.close()
        parts = ConsoleParts(
            follower=follower,
            operations=Operations(registry, log, clock=clock),
            explainer=Explainer(log, registry, lambda: catalogue, horizon_seconds=3600),
            catalogue=lambda: catalogue,
            pairs=Pairs(registry, lambda: catalogue),
        )
        settings = ConsoleSettings(service_url="http://127.0.0.1:8080", keys=Keyring.parse(keys))
        return create_app(parts, settings, metrics_registry=CollectorRegistry())

    return make


def test_the_report_has_the_names_that_people_script_against(make: Make, ask: Ask) -> None:
    report = ask(make(), "GET", "/experiment").json

    assert report["arms"]["control"] == {"banners": 0, "reward": 0.0, "reward_per_banner": None}
    assert report["freshness_seconds"] == {"p50": None, "p99": None}
    assert report["rewards"] == {"expected": 0, "lost": 0, "waiting": 0, "doubled": 0}
    assert report["lift"] == {"estimate": None, "low": None, "high": None}
    assert {"policy_version", "versions_served"} <= report.keys()


@pytest.mark.parametrize("path", ["/", "/storefront", "/policies", "/explain/x"])
def test_people_get_pages(make: Make, ask: Ask, path: str) -> None:
    answer = ask(make(), "GET", path, headers={"accept": "text/html,application/json;q=0.9"})

    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert "connect-src 'self' http://127.0.0.1:8080;" in answer.headers["content-security-policy"]


def test_policies_come_newest_first_page_by_page(make: Make, ask: Ask) -> None:
    app = make()

    first = ask(app, "GET", "/policies?page_size=1").json
    second = ask(app, "GET", f"/policies?page_size=1&page_token={first['next_page_token']}").json

    assert [entry["version"] for entry in first["policies"]] == [2]
    assert first["policies"][0]["health"][0]["verdict"] == "fine"
    assert [entry["version"] for entry in second["policies"]] == [1]
    assert second["next_page_token"] == ""


def test_pairs_are_those_of_the_version_that_is_live_now(
    make: Make, ask: Ask, catalogue: Any
) -> None:
    catalogue.products.append(Product(product_id="p5", title="Tea", category="drink"))
    app = make()

    live = ask(app, "GET", "/pairs").json
    ask(app, "POST", "/policies/rollback", headers=JSON)
    before = ask(app, "GET", "/pairs").json

    assert live == {
        "version": 2,
        "pairs": [{"first": "drink", "second": "food", "lift_nats": 1.0}],
    }
    assert before == {"version": 1, "pairs": []}


def test_a_rollback_moves_the_pointer_holds_and_is_announced(
    make: Make, ask: Ask, log: LocalLog, registry: Registry
) -> None:
    app = make()

    answer = ask(app, "POST", "/policies/rollback", headers=JSON)
    held = ask(app, "POST", "/policies/2/promote", headers=JSON)
    resumed = ask(app, "POST", "/policies/resume", headers=JSON, body=b"{}")
    promoted = ask(app, "POST", "/policies/2/promote", headers=JSON)

    assert (answer.status, answer.json["version"], answer.json["hold"]) == (200, 1, True)
    assert held.status == 409
    assert (resumed.status, promoted.status) == (200, 200)
    assert _announced(log) == [("rolled_back", 1), ("resumed", 1), ("promoted", 2)]


def _announced(log: LocalLog) -> list[tuple[str, int]]:
    consumer = log.consumer(("policies",), group=None)
    records = consumer.poll(max_records=10, timeout_seconds=0)
    consumer.close()
    said = [decode_announcement(record.value) for record in records]
    return [(one.kind, one.version) for one in said]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"authorization": "Bearer wrong"}, 403),
        ({"authorization": "Bearer browser-1"}, 403),
        ({"authorization": "operator"}, 403),
        ({"authorization": "Bearer operator"}, 200),
    ],
)
def test_with_keys_only_the_scope_operate_may_operate_or_explain(
    make: Make, ask: Ask, append: Any, build: Any, headers: dict[str, str], status: int
) -> None:
    append("events", build.recommended(build.id()))
    app = make(KEYS)

    operated = ask(app, "POST", "/policies/resume", headers=JSON | headers, client="10.0.0.9")
    explained = ask(app, "GET", f"/explain/{build.id()}", headers=headers, client="10.0.0.9")

    assert (operated.status, explained.status) == (status, status)


@pytest.mark.parametrize(
    "request_",
    [
        {"client": "10.0.0.9"},
        {"headers": JSON | {"host": "rebound.example:8081"}},
        {"headers": JSON | {"host": "[::"}},
        {"headers": JSON | {"origin": "http://evil.example"}},
        {"headers": JSON | {"origin": "http://[bad"}},
        {"headers": JSON | {"origin": "null"}},
        {"headers": JSON | {"sec-fetch-site": "cross-site"}},
        {"headers": JSON | {"sec-fetch-site": "same-site"}},
    ],
)
def test_without_keys_strangers_and_foreign_pages_may_not_operate(
    make: Make, ask: Ask, registry: Registry, request_: dict[str, Any]
) -> None:
    answer = ask(make(), "POST", "/policies/rollback", **({"headers": JSON} | request_))

    assert answer.status == 403
    assert answer.headers["content-type"] == "application/problem+json"
    live = registry.live()
    assert live is not None
    assert live.version == 2


def test_the_consoles_own_page_may_operate(make: Make, ask: Ask) -> None:
    own = {"origin": "http://127.0.0.1:8081", "sec-fetch-site": "same-origin"}

    assert ask(make(), "POST", "/policies/rollback", headers=JSON | own).status == 200


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"content-type": "text/plain"}, b"{}"),
        ({}, b""),
        (JSON, b"{"),
        (JSON, b"[]"),
        (JSON, b'{"version": NaN}'),
        (JSON, b'{"force": true}'),
        (JSON, b"\xff"),
        (JSON, b"[" * 1024),
        (JSON, b" " * 100_000),
    ],
)
def test_an_operation_takes_an_empty_json_object_and_nothing_else(
    make: Make, ask: Ask, registry: Registry, headers: dict[str, str], body: bytes
) -> None:
    answer = ask(make(), "POST", "/policies/rollback", headers=headers, body=body)

    assert answer.status == 422
    live = registry.live()
    assert live is not None
    assert not live.hold


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("DELETE", "/policies", 405),
        ("GET", "/policies/1/promote", 405),
        ("POST", "/policies/x/promote", 404),
        ("POST", "/policies/-1/promote", 404),
        ("POST", "/policies/99/promote", 404),
        ("POST", f"/policies/{'9' * 6000}/promote", 404),
        ("POST", "/policies/\u0663/promote", 404),
        ("GET", "/explain/x", 422),
        ("GET", "/explain/\x00", 422),
        ("GET", "/explain/\udcff", 422),
        ("GET", "/explain/01ARZ3NDEKTSV4RRFFQ69G5FAV-0001020304050607", 404),
        ("GET", "/policies?page_size=-1", 422),
        ("GET", "/policies?page_size=0", 422),
        ("GET", "/policies?page_size=NaN", 422),
        ("GET", "/policies?page_token=%ff", 422),
        ("GET", "/policies?page_token=99999999999999999999", 422),
        ("GET", "/catalogue?query=" + "x" * 500, 422),
        ("GET", "/assets/nothing.js", 404),
        ("GET", "/assets/learning.html", 404),
        ("GET", "/assets/..%2fapp.py", 404),
    ],
)
def test_bad_input_gets_a_problem_and_never_a_server_error(
    make: Make, ask: Ask, method: str, path: str, status: int
) -> None:
    answer = ask(make(), method, path, headers=JSON)

    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["status"] == status


def test_the_catalogue_is_searched_by_every_word_and_shows_what_is_available(
    make: Make, ask: Ask
) -> None:
    app = make()

    apples = ask(app, "GET", "/catalogue?query=APPLE+green").json
    everything = ask(app, "GET", "/catalogue?page_size=3").json
    rest = ask(app, "GET", f"/catalogue?page_token={everything['next_page_token']}").json

    assert [product["product_id"] for product in apples["products"]] == ["p1"]
    assert everything["total"] == 4
    assert [product["product_id"] for product in rest["products"]] == ["p3"]


def test_the_catalogue_that_changed_is_searched_anew(make: Make, ask: Ask, catalogue: Any) -> None:
    app = make()
    ask(app, "GET", "/catalogue")

    catalogue.products, catalogue.version = catalogue.products[:1], 2

    assert ask(app, "GET", "/catalogue").json["total"] == 1


def test_plotlys_own_script_is_served(make: Make, ask: Ask) -> None:
    answer = ask(make(), "GET", "/assets/plotly.min.js")

    assert answer.status == 200
    assert b"plotly.js" in answer.body[:200]


def test_it_is_ready_once_the_log_has_been_read(make: Make, ask: Ask, log: LocalLog) -> None:
    assert ask(make(), "GET", "/livez").status == 200
    assert ask(make(), "GET", "/readyz").status == 200


def test_metrics_name_routes_and_never_ids(make: Make, ask: Ask, build: Any) -> None:
    app = make()
    ask(app, "GET", f"/explain/{build.id()}")
    ask(app, "GET", "/no/such/path")

    text = ask(app, "GET", "/metrics").body.decode()

    assert 'route="/explain/{recommendation_id}"' in text
    assert build.id() not in text
    assert "no/such" not in text
    assert 'console_arm_banners{arm="control"} 0.0' in text


def test_every_change_is_an_operation_that_strangers_are_refused(make: Make, ask: Ask) -> None:
    app = make(KEYS)
    changing = [
        (method, route.path)
        for route in app.routes
        for method in getattr(route, "methods", None) or ()
        if method not in {"GET", "HEAD"}
    ]

    assert len(changing) == 3
    for method, path in changing:
        assert ask(app, method, path.format(version=1), headers=JSON).status == 403
