"""What a connection answers by itself, as bytes; an id is the one that came with the request."""

from typing import Final

from schemas.problems import MEDIA_TYPE, problem_body

CLOSE: Final = "connection: close"


def busy(named: str | None, *headers: str) -> bytes:
    """Return the 503 of a request that is too much."""
    detail = "too many requests are under way; come again after a second"
    return _answer(503, "Service Unavailable", detail, named, "retry-after: 1", *headers)


def too_slow(named: str | None) -> bytes:
    """Return the 408 of a request that did not come whole."""
    detail = "the request did not come whole in time"
    return _answer(408, "Request Timeout", detail, named, CLOSE)


def _answer(status: int, title: str, detail: str, named: str | None, *headers: str) -> bytes:
    body = problem_body(status, detail, request_id=named)
    head = (
        f"HTTP/1.1 {status} {title}", f"content-type: {MEDIA_TYPE}",
        f"content-length: {len(body)}", *headers, *([f"x-request-id: {named}"] if named else ()),
    )  # fmt: skip
    return "\r\n".join((*head, "", "")).encode() + body


BUSY: Final = busy(None)
"""Of most: made once."""
