"""Nothing is open but what is named here: a new route is closed until somebody says otherwise."""

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from tests.served import BROWSER, EVERYTHING, OPERATOR, SERVER, Served, served

OPEN_SERVICE = {
    ("GET", "/livez"), ("GET", "/readyz"), ("GET", "/metrics"), ("GET", "/openapi.json"),
    ("HEAD", "/openapi.json"), ("GET", "/docs"),
}  # fmt: skip
"""Health, metrics and documents: no shopper's word is in them."""
OPEN_CONSOLE = {
    ("GET", "/livez"), ("GET", "/readyz"), ("GET", "/metrics"), ("GET", "/openapi.json"),
    ("HEAD", "/openapi.json"), ("GET", "/"), ("GET", "/storefront"), ("GET", "/assets/{name}"),
    ("GET", "/page-settings"), ("GET", "/experiment"), ("GET", "/experiment/curve"),
    ("GET", "/catalogue"), ("GET", "/policies"), ("GET", "/pairs"),
}  # fmt: skip
"""Pages and sums over everybody, for whoever reaches the console's port."""
ALLOWED = {
    ("POST", "/recommend"): {BROWSER},
    ("POST", "/events"): {BROWSER, SERVER},
    ("PUT", "/products"): {OPERATOR},
    ("DELETE", "/products/{product_id:path}"): {OPERATOR},
    ("DELETE", "/users/{user_id:path}"): {OPERATOR},
    ("POST", "/policies/rollback"): {OPERATOR},
    ("POST", "/policies/resume"): {OPERATOR},
    ("POST", "/policies/{version}/promote"): {OPERATOR},
    ("GET", "/explain/{recommendation_id}"): {OPERATOR},
}
WRONG = (None, "nobody-knows-this-key", OPERATOR[:-1], OPERATOR + "x", OPERATOR.upper())


@pytest.fixture(scope="module")
def on(tmp_path_factory: pytest.TempPathFactory):
    with served(tmp_path_factory.mktemp("routes"), log_level="error") as running:
        yield running


def routes_of(app: FastAPI) -> set[tuple[str, str]]:
    """Return (method, path) of every route, those outside the document too."""
    return {
        (method, getattr(route, "path", str(route)))
        for route in app.routes
        for method in getattr(route, "methods", None) or {"ANY"}
    }


def closed(on: Served) -> list[tuple[str, str, str]]:
    """Return (method, url, template) of every route that is not open."""
    both = ((on.service, on.service_url, OPEN_SERVICE), (on.console, on.console_url, OPEN_CONSOLE))
    return [
        (method, url + path.replace("{", "").replace("}", "").replace(":path", ""), path)
        for app, url, open_ in both
        for method, path in sorted(routes_of(app) - open_)
    ]


def ask(method: str, url: str, key: str | None) -> httpx.Response:
    headers = {"content-type": "application/json", "accept": "application/json"}
    if key is not None:
        headers["authorization"] = f"Bearer {key}"
    return httpx.request(method, url, headers=headers, content=b"{}", timeout=30)


def refused(answer: httpx.Response) -> bool:
    return (
        answer.status_code in {401, 403}
        and answer.headers["content-type"] == "application/problem+json"
        and answer.json()["status"] == answer.status_code
    )


def test_every_route_without_the_right_key_is_refused_with_a_problem(on):
    for method, url, path in closed(on):
        others = {OPERATOR, SERVER, BROWSER} - ALLOWED.get((method, path), set())
        for key in (*WRONG, *sorted(others)):
            answer = ask(method, url, key)
            assert refused(answer), (method, path, key, answer.status_code, answer.text[:200])


def test_every_closed_route_opens_to_the_keys_it_is_for(on):
    assert {(method, path) for method, _, path in closed(on)} == ALLOWED.keys()
    for method, url, path in closed(on):
        for key in (*sorted(ALLOWED[method, path]), EVERYTHING):
            assert ask(method, url, key).status_code not in {401, 403}, (method, path)


def test_every_open_route_exists(on):
    assert routes_of(on.service) >= OPEN_SERVICE
    assert routes_of(on.console) >= OPEN_CONSOLE


def test_a_new_route_is_closed_until_it_is_named(on):
    added = APIRoute("/secret", endpoint=lambda: "told", methods=["GET"])
    on.console.router.routes.append(added)
    try:
        new = [(method, url) for method, url, path in closed(on) if path == "/secret"]
        assert [refused(ask(method, url, None)) for method, url in new] == [False]
    finally:
        on.console.router.routes.remove(added)
