import asyncio

import pytest

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ({"x-request-id": "page-17"}, "page-17"),
        ({"traceparent": TRACEPARENT}, TRACE),
        ({"traceparent": TRACEPARENT, "x-request-id": "page-17"}, "page-17"),
        ({"x-request-id": "a b", "traceparent": TRACEPARENT}, TRACE),
    ],
)
def test_an_answer_has_the_id_its_request_came_with(shop, headers, named):
    answer = shop.send("POST", "/recommend", {}, headers=headers)

    assert answer.status == 200
    assert answer.headers["x-request-id"] == named


def test_an_answer_to_a_request_without_an_id_has_none(shop):
    assert "x-request-id" not in shop.send("POST", "/recommend", {}).headers


def test_an_error_names_the_request_as_the_caller_did(shop):
    answer = shop.send("POST", "/recommend", b"{", headers={"x-request-id": "page-17"})

    assert answer.status == 400
    assert answer.headers["x-request-id"] == answer.json["request_id"] == "page-17"


@pytest.mark.parametrize("given", [None, "no\tid", "x" * 129, "<script>"])
def test_an_error_without_an_id_of_the_callers_gets_one(shop, given):
    answer = shop.send("POST", "/recommend", b"{", headers={"x-request-id": given})

    assert answer.headers["x-request-id"] == answer.json["request_id"]
    assert len(answer.json["request_id"]) == 16


def test_a_fault_of_ours_names_the_request_too(shop, monkeypatch):
    async def broken(*_: object) -> bytes:
        raise RuntimeError("a fault")

    async def receive() -> dict:
        return {"type": "http.request", "body": b"{}"}

    async def send(message: dict) -> None:
        answered.append(message)

    answered: list[dict] = []
    headers = [(b"content-type", b"application/json"), (b"x-request-id", b"page-17")]
    scope = {"type": "http", "method": "POST", "path": "/recommend", "headers": headers}
    monkeypatch.setattr(shop.service.recommender, "recommend", broken)

    with pytest.raises(RuntimeError, match="a fault"):  # the server's to log, after the answer
        asyncio.run(shop.service.app(scope | {"query_string": b""}, receive, send))

    assert answered[0]["status"] == 500
    assert (b"x-request-id", b"page-17") in answered[0]["headers"]
    assert b'"request_id":"page-17"' in answered[1]["body"]
