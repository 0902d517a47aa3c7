"""The body of every error over HTTP (RFC 9457), the same from every process."""

from http import HTTPStatus
from typing import Final

import msgspec

MEDIA_TYPE: Final = "application/problem+json"
_LONGEST_DETAIL: Final = 400


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every error."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str | None = None
    request_id: str | None = None
    """Names this answer in the log of the process that gave it; null: it was turned away unnamed,
    before there was anything to log."""


def problem_body(status: int, detail: str | None, *, request_id: str | None) -> bytes:
    """Return an error's body; a long detail is cut.

    Example:
        >>> problem_body(404, None, request_id="7f")
        b'{"type":"about:blank","title":"Not Found","status":404,"detail":null,"request_id":"7f"}'
    """
    try:
        title = HTTPStatus(status).phrase
    except ValueError:
        title = "Error"
    return msgspec.json.encode(
        Problem(
            title=title,
            status=status,
            detail=None if detail is None else detail[:_LONGEST_DETAIL],
            request_id=request_id,
        )
    )
