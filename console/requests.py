"""Reading what requests bring: page sizes, versions, what kind of answer is wanted."""

from typing import Final

import msgspec
from fastapi import Request

from console.errors import BadRequest, PolicyNotFound

LARGEST_PAGE: Final = 200
FIRST_PAGE: Final = 50
OPERATION_BYTES: Final = 1024
_VERSION_DIGITS: Final = 15


def page_size(text: str) -> int:
    """Return how many entries a page has: asked for, at most 200, 50 when not said.

    Raises:
        BadRequest: not a number above 0.
    """
    if not text:
        return FIRST_PAGE
    if not (text.isascii() and text.isdigit() and len(text) <= _VERSION_DIGITS and int(text)):
        raise BadRequest("page_size: a whole number from 1; more than 200 gives 200")
    return min(int(text), LARGEST_PAGE)


def page_start(page_token: str) -> int:
    """Return where a page starts; raises BadRequest for a token that no page gave."""
    if not page_token:
        return 0
    if not (page_token.isascii() and page_token.isdigit() and len(page_token) <= _VERSION_DIGITS):
        raise BadRequest("page_token: pass on the next_page_token of the page before")
    return int(page_token)


def version_number(text: str) -> int:
    """Return a version out of a path.

    Raises:
        PolicyNotFound: nothing that could be a version.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= _VERSION_DIGITS):
        raise PolicyNotFound("a version is a whole number")
    return int(text)


def wants_page(request: Request) -> bool:
    """Return whether a person's browser asks: `text/html` stands in Accept before JSON."""
    accept = request.headers.get("accept", "")
    page, data = accept.find("text/html"), accept.find("application/json")
    return page >= 0 and (data < 0 or page < data)


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of an operation: an empty object."""


async def read_nothing(request: Request) -> None:
    """Read the body of an operation.

    Raises:
        BadRequest: it is neither empty nor an empty object.
    """
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > OPERATION_BYTES:
            raise BadRequest("an operation takes an empty object")
    try:
        msgspec.json.decode(body or b"{}", type=Nothing)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise BadRequest("an operation takes an empty object") from problem
