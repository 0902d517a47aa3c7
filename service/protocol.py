"""HTTP/1.1 as uvicorn reads it, with two things mended: heads are bounded, refusals are problems.

The parser keeps whatever a caller sends before the empty line that ends a request's head, so one
connection could fill the memory. And what is not HTTP never reaches the app, which would have
answered with a problem document.
"""

import secrets
from http import HTTPStatus
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from schemas.problems import MEDIA_TYPE, problem_body

HEAD_BYTES: Final = 64 * 1024
"""Beside what came in one piece with the head's first bytes, at most a socket's read buffer."""


class Protocol(HttpToolsProtocol):
    """One connection."""

    _head_bytes: int | None = None
    """Bytes of a head that is not complete; None: no head is being read."""

    def on_message_begin(self) -> None:
        """A request's first byte came."""
        super().on_message_begin()
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        """A request's head is complete."""
        self._head_bytes = None
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Take in what came; refuse a head that does not end."""
        if self._head_bytes is not None:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the head is too long")
                return
        super().data_received(data)

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
