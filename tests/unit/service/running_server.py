"""A running server, and clients that speak to it byte by byte."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from service.accepting import Server
from service.admission import Admission, AdmissionSettings
from service.server import configuration, listening

SOON = 20.0
RECOMMEND = b"POST /recommend HTTP/1.1\r\nhost: shop\r\ncontent-length: 2\r\n\r\n{}"


class App:
    """Answers 200 with the body's length, once it is allowed to."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.seen = 0
        self.answer = b"x"
        self.scope: dict[str, Any] = {}

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        self.seen += 1
        self.scope = scope
        message = await receive()
        while message.get("more_body"):
            message = await receive()
        await self.open.wait()
        length = [(b"content-length", b"%d" % len(self.answer))]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        await send({"type": "http.response.body", "body": self.answer})


class Served:
    """A running server, and what it refused; `left` has an entry for each that left unheard."""

    def __init__(
        self,
        server: Server,
        app: App,
        port: int,
        admission: Admission,
        refused: list[str],
        left: list[None],
    ) -> None:
        self.server, self.left = server, left
        self.app, self.port, self.admission, self.refused = app, port, admission, refused
        self.clients: list[Client] = []

    def lane(self, path: bytes = b"/recommend", length: bytes = b"2"):
        return self.admission.lane(path, [(b"content-length", length)])

    async def client(self) -> "Client":
        self.clients.append(Client(*await asyncio.open_connection("127.0.0.1", self.port)))
        return self.clients[-1]


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        async with asyncio.timeout(SOON):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            body = await self.reader.readexactly(int(headers["content-length"]))
        return int(head[0].split()[1]), headers, body

    async def ended(self) -> bytes:
        """Return what came until the server closed the connection."""
        async with asyncio.timeout(SOON):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""


@asynccontextmanager
async def running(*, trusted_proxies: str = "", **settings) -> AsyncIterator[Served]:
    app, refused, left = App(), [], []
    given = {"refusal_seconds": 0.01, "watch_seconds": 0.02} | settings
    admission = Admission(
        AdmissionSettings(**given), refused=refused.append, monotonic=time.monotonic,
        left=lambda: left.append(None),
    )  # fmt: skip
    listener = listening("127.0.0.1", 0)
    port = listener.getsockname()[1]
    server = Server(configuration(app, admission, trusted_proxies=trusted_proxies))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    served = Served(server, app, port, admission, refused, left)
    try:
        yield served
    finally:
        app.open.set()
        for client in served.clients:
            client.writer.close()
        server.should_exit = True
        await task


def play(story: Callable[[Served], Awaitable[None]], **settings) -> None:
    async def told() -> None:
        async with running(**settings) as served:
            await story(served)

    import uvloop

    uvloop.run(told())


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON):
        while not holds():  # noqa: ASYNC110 - the server runs in the same loop
            await asyncio.sleep(0.005)
