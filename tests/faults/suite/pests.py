"""Clients in the way: idle connections, slow ones, requests given up. Arguments: URL SECONDS."""

import asyncio
import sys
from contextlib import suppress
from urllib.parse import urlsplit

IDLE, SLOW = 5_000, 200
_HEAD = b"POST /recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


async def main(host: str, port: int, seconds: float) -> None:
    writers = []
    for _ in range(IDLE):
        with suppress(OSError):
            writers.append((await asyncio.open_connection(host, port))[1])
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    pests = [_slow(host, port, until) for _ in range(SLOW)]
    pests += [_aborts(host, port, until) for _ in range(8)]
    await asyncio.gather(*pests)
    for writer in writers:
        writer.close()


async def _slow(host: str, port: int, until: float) -> None:
    """Send a request a few bytes a second, and never its end."""
    with suppress(OSError):
        _, writer = await asyncio.open_connection(host, port)
        head = _HEAD + b"Content-Length: 1000\r\n\r\n{"
        while asyncio.get_running_loop().time() < until:
            writer.write(head[:4])
            head = head[4:] or b" "
            await writer.drain()
            await asyncio.sleep(0.5)
        writer.close()


async def _aborts(host: str, port: int, until: float) -> None:
    """Ask and leave before the answer."""
    while asyncio.get_running_loop().time() < until:
        with suppress(OSError):
            _, writer = await asyncio.open_connection(host, port)
            writer.write(_HEAD + b"Content-Length: 2\r\n\r\n{}")
            await writer.drain()
            writer.transport.abort()
        await asyncio.sleep(0.01)


if __name__ == "__main__":
    address = urlsplit(sys.argv[1])
    asyncio.run(main(address.hostname or "", address.port or 0, float(sys.argv[2])))
