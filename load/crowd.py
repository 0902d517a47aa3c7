"""`python -m load.crowd SPEC RESULT`: clients that only keep a server waiting.

Some open a connection and say nothing, some send their request a byte a second, some ask for what
is large and never read it.
"""

import asyncio
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, cast

import msgspec

_AT_ONCE: Final = 200
_SPARE_FILES: Final = 200
_HEAD: Final = (
    b"POST /recommend HTTP/1.1\r\nhost: shop\r\ncontent-type: application/json\r\n"
    b"content-length: 900\r\n\r\n"
)
_ASKING: Final = b"GET /openapi.json HTTP/1.1\r\nhost: shop\r\n\r\n" * 100


class CrowdSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Who comes.

    Attributes:
        host, port: of the service.
        seconds: they stay so long, unless they are sent away.
        idle: clients that say nothing.
        slow_writers: clients that send a byte a second.
        slow_readers: clients that ask for `/openapi.json` again and again and never read.
    """

    host: str
    port: int
    seconds: float
    idle: int
    slow_writers: int
    slow_readers: int


class Kept(msgspec.Struct, frozen=True):
    """What became of them.

    Attributes:
        connected: so many came in.
        timed_out: slow writers that were told so (408).
        closed: connections that the server closed by the end.
    """

    connected: int
    timed_out: int
    closed: int


class _Slow(asyncio.Protocol):
    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.said = b""
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.said = self.said or data

    def connection_lost(self, _: Exception | None) -> None:
        self.closed = True


def allow_files(count: int) -> int:
    """Let this process, and those it starts, open so many files, or as many as it may."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = count if most == resource.RLIM_INFINITY else min(count, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, most))
    return allowed


async def keep_waiting(spec: CrowdSpec) -> Kept:
    """Come, stay, leave."""
    idle = await _connected(spec, spec.idle)
    writers = await _connected(spec, spec.slow_writers)
    readers = await _connected(spec, spec.slow_readers)
    _send(writers, _HEAD)
    for reader in readers:
        reader.transport.pause_reading()
    _send(readers, _ASKING)
    for _ in range(round(spec.seconds)):
        await asyncio.sleep(1.0)
        _send(writers, b" ")
    for reader in readers:  # that one was cut off is seen by reading only
        reader.transport.resume_reading()
    await asyncio.sleep(1.0)
    every = [*idle, *writers, *readers]
    kept = Kept(
        connected=len(every),
        timed_out=sum(one.said.startswith(b"HTTP/1.1 408") for one in writers),
        closed=sum(one.closed for one in every),
    )
    for one in every:
        one.transport.abort()
    return kept


def _send(clients: Sequence[_Slow], data: bytes) -> None:
    for client in clients:
        if not client.closed:
            client.transport.write(data)


async def _connected(spec: CrowdSpec, count: int) -> Sequence[_Slow]:
    loop = asyncio.get_running_loop()
    found: list[_Slow] = []
    while len(found) < count:
        some = range(min(_AT_ONCE, count - len(found)))
        made = await asyncio.gather(
            *(loop.create_connection(_Slow, spec.host, spec.port) for _ in some)
        )
        found += [line for _, line in made]
    return found


def main(spec_file: Path, result: Path) -> None:
    """Read the spec, play, write what became of them."""
    import uvloop

    spec = msgspec.json.decode(spec_file.read_bytes(), type=CrowdSpec)
    allow_files(spec.idle + spec.slow_writers + spec.slow_readers + _SPARE_FILES)
    result.write_bytes(msgspec.json.encode(uvloop.run(keep_waiting(spec))))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
