"""HTTP/1.1 as uvicorn reads it, with two things mended: heads are bounded, refusals are problems.

The parser keeps whatever a caller sends before the empty line that ends a request's head, and again
what follows the last chunk of a body, so one connection could fill the memory. And what is not HTTP
never reaches the app, which would have answered with a problem document.
"""

import secrets
from http import HTTPStatus
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from schemas.problems import MEDIA_TYPE, problem_body

HEAD_BYTES: Final = 64 * 1024
"""Of a request at most, beside its body and one read of the socket."""
_HEADER: Final = HttpToolsProtocol.on_header
_BODY: Final = HttpToolsProtocol.on_body


class Protocol(HttpToolsProtocol):
    """One connection."""

    _is_reading = False
    """Whether a request has begun and is not whole."""
    _in_head = False
    _held_bytes = 0
    """Of what is read, since it began or its body last grew: the parser may hold them."""
    _opening_bytes = 0
    """Of the piece that is read, while it may have begun with a request."""

    def on_message_begin(self) -> None:
        """A request's first byte came."""
        super().on_message_begin()
        self._is_reading = self._in_head = True
        self._held_bytes, self._opening_bytes = self._opening_bytes, 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; what comes after the body is let go."""
        if self._in_head:
            _HEADER(self, name, value)

    def on_headers_complete(self) -> None:
        """A request's head is complete."""
        self._in_head, self._held_bytes = False, 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Some of a request's body came; how much is held of it is the app's to bound."""
        self._held_bytes = 0
        _BODY(self, body)

    def on_message_complete(self) -> None:
        """A request is whole."""
        self._is_reading = False
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Take in what came; refuse a head, or what follows a body, that does not end."""
        self._held_bytes += len(data)
        self._opening_bytes = 0 if self._is_reading else len(data)
        super().data_received(data)
        if self._held_bytes > HEAD_BYTES and self._is_reading:
            detail = "the head, or what follows the body, is too long"
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, detail)

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, and close."""
        self._refuse(HTTPStatus.BAD_REQUEST, msg)

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        if self.transport.is_closing():
            return
        body = problem_body(status, detail, request_id=secrets.token_hex(8))
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: {MEDIA_TYPE}\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
