"""What reaches the socket before any app: heads that do not end, and what is not HTTP."""

import json
import socket
import threading
import time
from contextlib import suppress

import pytest
import uvicorn
from fastapi import FastAPI, Request

from service.server import configuration, listening

GOOD = b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def port():
    app = FastAPI()

    @app.get("/livez")
    async def livez() -> str:
        return "live"

    @app.post("/echo")
    async def echo(request: Request) -> str:
        late = request.headers.get("x-late", "")
        return (await request.body()).decode() + ("late" if late else "")

    listener = listening("127.0.0.1", 0)
    running = uvicorn.Server(configuration(app))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    running.should_exit = True
    thread.join(20)
    listener.close()


def send_raw(port: int, *pieces: bytes) -> bytes:
    """Return what a server answers to bytes, up to the end of its connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=30.0) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(0.05)
            answered = b""
            while piece := connection.recv(65_536):
                answered += piece
        except (ConnectionResetError, BrokenPipeError):
            pass  # it had closed before everything was sent
    return answered


NOT_HTTP = {
    "binary": bytes(range(128, 256)) + b"\r\n\r\n",
    "NUL in a header": b"GET /livez HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n",
    "path beyond ASCII": b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n",
    "two lengths": b"POST /events HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "length and chunks": b"POST /events HTTP/1.1\r\nContent-Length: 4\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "length that is none": b"POST /events HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    "chunk that is none": b"POST /events HTTP/1.1\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
}


def test_what_is_not_http_gets_a_problem_and_the_connection_ends(port):
    for name, sent in NOT_HTTP.items():
        head, _, body = send_raw(port, sent).partition(b"\r\n\r\n")

        assert head.startswith(b"HTTP/1.1 400 "), (name, head)
        assert b"content-type: application/problem+json" in head, name
        assert json.loads(body)["status"] == 400, name

    assert send_raw(port, GOOD).startswith(b"HTTP/1.1 200")


def test_a_head_that_does_not_end_is_refused_before_it_fills_the_memory(port):
    start, more = b"GET /livez HTTP/1.1\r\nHost: a\r\nX: ", b"x" * 30_000

    head, _, body = send_raw(port, start + more, more, more).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 431 ")
    assert json.loads(body)["detail"] == "the head, or what follows the body, is too long"
    assert send_raw(port, start, more, b"\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 200")


CHUNKED = (
    b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"
)


@pytest.mark.parametrize("more", [b"X: " + b"x" * 3_000 + b"\r\n", b"x" * 3_000])
def test_what_follows_a_body_and_does_not_end_is_refused_before_it_fills_the_memory(port, more):
    with socket.create_connection(("127.0.0.1", port), timeout=20.0) as connection:
        connection.sendall(CHUNKED + b"0\r\nX: ")
        sent = 0
        with suppress(ConnectionResetError, BrokenPipeError):
            while sent < 20_000_000:
                connection.sendall(more * 10)
                sent += 10 * len(more)
            connection.shutdown(socket.SHUT_WR)

    assert sent < 20_000_000
    assert send_raw(port, GOOD).startswith(b"HTTP/1.1 200")


def test_headers_that_follow_a_body_are_let_go(port):
    answered = send_raw(port, CHUNKED, b"0\r\nX-Late: 1\r\n\r\n" + GOOD)

    assert answered.count(b"HTTP/1.1 200") == 2
    assert b"late" not in answered


def test_a_body_in_the_smallest_of_chunks_is_no_long_head(port):
    answered = send_raw(port, CHUNKED, b"1\r\nx\r\n" * 30_000, b"0\r\n\r\n" + GOOD)

    assert answered.count(b"HTTP/1.1 200") == 2


def test_a_large_body_that_brings_the_next_head_is_no_long_head(port):
    body = b" " * 200_000
    first = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    first += b"Content-Length: %d\r\n\r\n" % len(body)

    answered = send_raw(port, first, body[:100], body[100:] + GOOD[:9], GOOD[9:])

    assert answered.count(b"HTTP/1.1 200") == 2


def test_a_caller_who_asks_for_another_protocol_is_answered_in_this_one(port):
    sent = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    sent += b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\n{}"

    with socket.create_connection(("127.0.0.1", port), timeout=20.0) as connection:
        connection.sendall(sent)
        answered = connection.recv(65_536)

    assert answered.startswith(b"HTTP/1.1 200")
