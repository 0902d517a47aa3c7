"""The id by which a caller and our log name the same request."""

import re
from collections.abc import Iterable
from typing import Final

_OWN: Final = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_TRACEPARENT: Final = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


def request_id(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return the id that came with a request: its `X-Request-ID`, or the trace of `traceparent`.

    Args:
        headers: names in lower case and values.

    Returns:
        The id; None: there is none, or it holds what no id holds.

    Example:
        >>> request_id([(b"x-request-id", b"page-17")])
        'page-17'
        >>> request_id([(b"traceparent", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01")])
        'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'
        >>> request_id([(b"x-request-id", b"<script>"), (b"host", b"shop.example")])
    """
    trace = None
    for name, value in headers:
        if name == b"x-request-id" and _OWN.fullmatch(value):
            return value.decode()
        if name == b"traceparent" and (found := _TRACEPARENT.fullmatch(value)):
            trace = found[1].decode()
    return trace
