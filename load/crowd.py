"""`python -m load.crowd SPEC RESULT`: clients that only keep a server waiting.

Some open a connection and say nothing, some send their request a byte a second, some ask for what
is large and do not read it. A server loses patience with all of them; whoever is sent away comes
again.
"""

import asyncio
import resource
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, cast

import msgspec

PATIENCE_SECONDS: Final = 15.0
"""By then a server has sent a slow client away."""
_UNREAD_SECONDS: Final = 12.0
"""By then one that reads nothing has been cut off; it sees that only when it reads."""
_TICK_SECONDS: Final = 1.0
"""Between two bytes; and who was sent away is back after so long."""
_AT_ONCE: Final = 200
_SPARE_FILES: Final = 200
_HEAD: Final = (
    b"POST /recommend HTTP/1.1\r\nhost: shop\r\ncontent-type: application/json\r\n"
    b"%bcontent-length: 900\r\n\r\n"
)
_ASKING: Final = b"GET /openapi.json HTTP/1.1\r\nhost: shop\r\n\r\n" * 100
_SEGMENT_BYTES: Final = 1_400
"""As on the way from a client: on loopback's own the system would keep all that is left unread."""


class CrowdSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Who comes.

    Attributes:
        host, port: of the service.
        seconds: they keep it up for so long.
        idle: clients that say nothing.
        slow_writers: clients that send a byte a second.
        slow_readers: clients that ask for `/openapi.json` some hundred times and do not read.
        key: that slow writers have; empty: none. Without the right one they were refused at once.
    """

    host: str
    port: int
    seconds: float
    idle: int
    slow_writers: int
    slow_readers: int
    key: str = ""


class Kept(msgspec.Struct, frozen=True):
    """What became of them.

    Attributes:
        connected: so often one came in.
        overdue: of these, slow writers that were sent away, or had stayed for PATIENCE_SECONDS.
        timed_out: of these, those that were told so (408).
        closed: connections that the server closed.
        stood: connections at once, the average of a look a second.
    """

    connected: int
    overdue: int
    timed_out: int
    closed: int
    stood: float


class _Slow(asyncio.Protocol):
    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.said = b""
        self.closed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.said = self.said or data

    def connection_lost(self, _: Exception | None) -> None:
        self.closed.set()

    async def stay(self, seconds: float) -> bool:
        """Return after so long, or when the server has closed the connection: whether it did."""
        try:
            await asyncio.wait_for(self.closed.wait(), seconds)
        except TimeoutError:
            return False
        return True


class _Crowd:
    def __init__(self, spec: CrowdSpec) -> None:
        self._spec = spec
        key = f"authorization: Bearer {spec.key}\r\n" if spec.key else ""
        self._head = _HEAD % key.encode()
        self._loop = asyncio.get_running_loop()
        self._door = asyncio.Semaphore(_AT_ONCE)
        self._standing: set[_Slow] = set()
        self._connected = self._overdue = self._timed_out = self._closed = 0

    async def keep_waiting(self) -> Kept:
        """Come, stay, come again, leave."""
        spec = self._spec
        kinds = (
            (spec.idle, self._say_nothing),
            (spec.slow_writers, self._write_slowly),
            (spec.slow_readers, self._leave_unread),
        )
        clients = [
            self._loop.create_task(self._keep_coming(kind))
            for count, kind in kinds
            for _ in range(count)
        ]
        end = self._loop.time() + spec.seconds
        stood = []
        while self._loop.time() < end:
            await asyncio.sleep(_TICK_SECONDS)
            stood.append(sum(not one.closed.is_set() for one in self._standing))
        for client in clients:
            client.cancel()
        await asyncio.wait(clients)
        return Kept(
            connected=self._connected,
            overdue=self._overdue,
            timed_out=self._timed_out,
            closed=self._closed,
            stood=sum(stood) / len(stood),
        )

    async def _keep_coming(self, kind: Callable[[_Slow], Awaitable[None]]) -> None:
        while True:
            try:
                async with self._door:
                    one = await self._come_in()
            except OSError:  # one fewer stands
                await asyncio.sleep(_TICK_SECONDS)
                continue
            self._connected += 1
            self._standing.add(one)
            try:
                await kind(one)
            finally:
                self._closed += one.closed.is_set()
                self._standing.remove(one)
                one.transport.abort()
            await asyncio.sleep(_TICK_SECONDS)

    async def _come_in(self) -> _Slow:
        connection = socket.socket()
        try:
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SEGMENT_BYTES)
            await self._loop.sock_connect(connection, (self._spec.host, self._spec.port))
            _, one = await self._loop.create_connection(_Slow, sock=connection)
        except BaseException:  # cancelled too
            connection.close()
            raise
        return one

    async def _say_nothing(self, one: _Slow) -> None:
        await one.closed.wait()

    async def _write_slowly(self, one: _Slow) -> None:
        came = self._loop.time()
        one.transport.write(self._head)
        try:
            while not await one.stay(_TICK_SECONDS):
                one.transport.write(b" ")
        finally:
            if one.closed.is_set() or self._loop.time() - came > PATIENCE_SECONDS:
                self._overdue += 1
                self._timed_out += one.said.startswith(b"HTTP/1.1 408")

    async def _leave_unread(self, one: _Slow) -> None:
        one.transport.pause_reading()
        one.transport.write(_ASKING)
        await asyncio.sleep(_UNREAD_SECONDS)
        one.transport.resume_reading()
        await one.stay(_TICK_SECONDS)


def allow_files(count: int) -> int:
    """Let this process, and those it starts, open so many files, or as many as it may."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = count if most == resource.RLIM_INFINITY else min(count, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, most))
    return allowed


async def keep_waiting(spec: CrowdSpec) -> Kept:
    """Let them come; return what became of them."""
    return await _Crowd(spec).keep_waiting()


def main(spec_file: Path, result: Path) -> None:
    """Read the spec, play, write what became of them."""
    import uvloop

    spec = msgspec.json.decode(spec_file.read_bytes(), type=CrowdSpec)
    allow_files(spec.idle + spec.slow_writers + spec.slow_readers + _SPARE_FILES)
    result.write_bytes(msgspec.json.encode(uvloop.run(keep_waiting(spec))))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
