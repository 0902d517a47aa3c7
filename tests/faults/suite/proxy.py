"""A TCP proxy that can do to a connection what networks do."""

import asyncio
import threading
from contextlib import suppress
from typing import Literal

Mood = Literal["pass", "delay", "stall", "swallow", "cut"]
"""delay: replies come late; stall: nothing passes; swallow: requests pass and replies do not; cut:
the connection ends where a reply would have come."""


class Proxy:
    """Forwards 127.0.0.1:`port` to a port of this machine; `mood` may change at any time."""

    def __init__(self, port: int, to: int, *, delay_seconds: float = 0.5) -> None:
        self.mood: Mood = "pass"
        self.cuts = 0
        self._port, self._to, self._delay_seconds = port, to, delay_seconds
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.close()
            return
        pumps = [self._pump(reader, back, reply=False), self._pump(there, writer, reply=True)]
        running = [asyncio.ensure_future(pump) for pump in pumps]
        await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for each in (writer, back):
            each.close()

    async def _pump(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, reply: bool
    ) -> None:
        with suppress(OSError):
            while chunk := await source.read(65_536):
                while self.mood == "stall":  # noqa: ASYNC110 - set by another thread
                    await asyncio.sleep(0.05)
                if reply and self.mood == "delay":
                    await asyncio.sleep(self._delay_seconds)
                if reply and self.mood == "cut":
                    self.cuts += 1
                    return
                if not (reply and self.mood == "swallow"):
                    target.write(chunk)
                    await target.drain()
