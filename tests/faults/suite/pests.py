"""Clients in the way: idle connections, slow ones, requests given up. Arguments: URL SECONDS.

Whoever is sent away comes again. Says `there` when all have come, and what became of them (`Pests`)
after so many seconds more.
"""

import asyncio
import sys
from contextlib import suppress
from urllib.parse import urlsplit

import msgspec

IDLE, SLOW, ABORTING = 5_000, 200, 8
_HEAD = b"POST /recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
_AT_ONCE = 200
_AGAIN_SECONDS = 0.2
_LOOK_SECONDS = 0.1
_PATIENCE_SECONDS = 120.0


class Pests(msgspec.Struct):
    """What became of them.

    Attributes:
        idle, slow: connections that were open, on average.
        idle_again, slow_again: how often one was opened anew, since the service had closed it.
        aborted: requests that were given up before their answer.
    """

    idle: float = 0.0
    slow: float = 0.0
    idle_again: int = 0
    slow_again: int = 0
    aborted: int = 0


class _Crowd:
    def __init__(self, host: str, port: int) -> None:
        self.counted = Pests()
        self._host, self._port = host, port
        self._opening = asyncio.Semaphore(_AT_ONCE)

    async def play(self, seconds: float) -> Pests:
        pests = [self._idle() for _ in range(IDLE)]
        pests += [self._slow() for _ in range(SLOW)]
        pests += [self._abort() for _ in range(ABORTING)]
        tasks = [asyncio.ensure_future(pest) for pest in pests]
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while self.counted.idle < IDLE or self.counted.slow < SLOW:  # noqa: ASYNC110 - two crowds
                await asyncio.sleep(_LOOK_SECONDS)
        print("there", flush=True)
        looks = []
        for _ in range(round(seconds / _LOOK_SECONDS)):
            await asyncio.sleep(_LOOK_SECONDS)
            looks.append((self.counted.idle, self.counted.slow))
        idle, slow = (sum(column) / len(looks) for column in zip(*looks, strict=True))
        found = msgspec.structs.replace(self.counted, idle=idle, slow=slow)
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended
        return found

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while True:
            with suppress(OSError):
                async with self._opening:
                    return await asyncio.open_connection(self._host, self._port)
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _idle(self) -> None:
        """Say nothing."""
        while True:
            reader, writer = await self._open()
            self.counted.idle += 1
            with suppress(OSError):
                await reader.read()
            writer.close()
            self.counted.idle -= 1
            self.counted.idle_again += 1

    async def _slow(self) -> None:
        """Send a request a few bytes a second, and never its end."""
        while True:
            reader, writer = await self._open()
            self.counted.slow += 1
            head = _HEAD + b"Content-Length: 1000\r\n\r\n{"
            with suppress(OSError):
                while not reader.at_eof():
                    writer.write(head[:4])
                    head = head[4:] or b" "
                    await writer.drain()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(0.5):
                            await reader.read()
            writer.close()
            self.counted.slow -= 1
            self.counted.slow_again += 1

    async def _abort(self) -> None:
        """Ask and leave before the answer."""
        while True:
            with suppress(OSError):
                _, writer = await self._open()
                writer.write(_HEAD + b"Content-Length: 2\r\n\r\n{}")
                await writer.drain()
                writer.transport.abort()
                self.counted.aborted += 1
            await asyncio.sleep(0.01)


async def main(host: str, port: int, seconds: float) -> None:
    """Come, stay, say what became of it, leave."""
    counted = await _Crowd(host, port).play(seconds)
    print(msgspec.json.encode(counted).decode(), flush=True)


if __name__ == "__main__":
    address = urlsplit(sys.argv[1])
    asyncio.run(main(address.hostname or "", address.port or 0, float(sys.argv[2])))
