"""`python -m load.flood SPEC RESULT`: requests for banners at set times, many more than answerable.

Locust's shoppers cost as much processor as the service does, so they cannot offer it ten times what
it answers; these requests are bytes made beforehand, and of the answers only the first line and the
length are read. Open loop: a request that finds no connection waits, and its latency counts from
when it was due. It is the service that holds the connections, so that wait is the service's; late
is only what this process itself did not get round to.
"""

import asyncio
import sys
import time
from collections import deque
from pathlib import Path
from typing import Final, cast

import msgspec
import numpy as np

from load.shop import product_id, user_id
from load.traffic import Outcome, Played, Tally

PATIENCE_SECONDS: Final = 1.0
_BODIES: Final = 5_000
_TICK_SECONDS: Final = 0.001
_LAST_SECONDS: Final = 2.0
_SHED: Final = b"HTTP/1.1 503"


class FloodSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent.

    Attributes:
        host, port: of the service.
        rate: requests due a second; None: `connections` are kept busy instead (closed loop), which
            measures the capacity.
        seconds: for so long.
        connections: opened at most, all at the start.
        shoppers, products: named in the requests.
    """

    host: str
    port: int
    rate: float | None
    seconds: int
    connections: int
    shoppers: int
    products: int


class _Line(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self, flood: "_Flood") -> None:
        self._flood = flood
        self.transport: asyncio.Transport
        self._due = self._reached = 0.0
        self._left = -1
        self._head = b""
        self._is_busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._flood.free(self)

    def ask(self, due: float, reached: float, request: bytes) -> None:
        self._due, self._reached, self._is_busy = due, reached, True
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self._left < 0:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            lower = self._head[:end].lower()
            at = lower.index(b"content-length:") + 15
            length = int(lower[at : (lower.find(b"\r\n", at) % (len(lower) + 1))])
            self._left = length - (len(self._head) - end - 4)
        else:
            self._left -= len(data)
        if self._left == 0:
            self._answered()

    def _answered(self) -> None:
        done = self._flood.now()
        status = self._head[:12]
        outcome: Outcome = "wrong"
        in_time = done - self._due <= PATIENCE_SECONDS
        if status == b"HTTP/1.1 200" and in_time:
            outcome = "good"
        elif status == _SHED and in_time and b"retry-after:" in self._head.lower():
            outcome = "shed"
        else:
            self._flood.tally.faults[status[9:].decode() or "?"] += 1
        self._flood.tally.add(due=self._due, sent=self._reached, done=done, outcome=outcome)
        self._head, self._left, self._is_busy = b"", -1, False
        self._flood.free(self)

    def connection_lost(self, _: Exception | None) -> None:
        if self._is_busy:
            self._flood.tally.faults["cut"] += 1
            now = self._flood.now()
            self._flood.tally.add(due=self._due, sent=self._reached, done=now, outcome="wrong")
        self._flood.lost(self)


class _Flood:
    def __init__(self, spec: FloodSpec) -> None:
        self.spec, self.tally = spec, Tally()
        self._requests = _requests(spec)
        self._sent = 0
        self._free: deque[_Line] = deque()
        self._waiting: deque[tuple[float, float]] = deque()
        """When requests were due, and when this process came to them."""
        self._ends = False
        self._started = time.monotonic()

    def now(self) -> float:
        return time.monotonic() - self._started

    def free(self, line: _Line) -> None:
        """Take back a connection; ask with it what still waits."""
        self._give_up()
        if self._waiting:
            self._ask(line, *self._waiting.popleft())
        elif self.spec.rate is None and self._sent and not self._ends:
            now = self.now()
            self._ask(line, now, now)
        else:
            self._free.append(line)

    def _give_up(self) -> None:
        """Forget what has waited for a connection for longer than anybody would."""
        now = self.now()
        while self._waiting and now - self._waiting[0][0] > PATIENCE_SECONDS:
            due, reached = self._waiting.popleft()
            self.tally.faults["found no connection"] += 1
            self.tally.add(due=due, sent=reached, done=now, outcome="wrong")

    def lost(self, line: _Line) -> None:
        if line in self._free:
            self._free.remove(line)

    async def play(self) -> Played:
        loop = asyncio.get_running_loop()
        spec = self.spec
        lines = []
        for _ in range(spec.connections):
            _, line = await loop.create_connection(lambda: _Line(self), spec.host, spec.port)
            lines.append(line)
        await asyncio.sleep(_TICK_SECONDS)
        spent = time.process_time()
        self._started = time.monotonic()
        if spec.rate is None:
            for line in list(self._free):
                self._free.popleft()
                self._ask(line, 0.0, 0.0)
            await asyncio.sleep(spec.seconds)
        else:
            await self._come(spec.rate)
        self._ends = True
        share = (time.process_time() - spent) / self.now()
        await asyncio.sleep(_LAST_SECONDS)
        for line in lines:
            line.transport.abort()
        self._give_up()
        await asyncio.sleep(_TICK_SECONDS)
        return self.tally.played(seconds=spec.seconds, cpu_share=share)

    async def _come(self, rate: float) -> None:
        number, last = 0, round(rate * self.spec.seconds)
        while number < last:
            now = self.now()
            while number < last and number / rate <= now:
                if self._free:
                    self._ask(self._free.popleft(), number / rate, now)
                else:
                    self._waiting.append((number / rate, now))
                number += 1
            await asyncio.sleep(_TICK_SECONDS)

    def _ask(self, line: _Line, due: float, reached: float) -> None:
        self._sent += 1
        line.ask(due, reached, self._requests[self._sent % len(self._requests)])


def _requests(spec: FloodSpec) -> list[bytes]:
    rng = np.random.default_rng(5)
    users = rng.integers(0, spec.shoppers, _BODIES).tolist()
    viewed = rng.integers(0, spec.products, _BODIES).tolist()
    return [
        b"POST /recommend HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%b" % (len(body), body)
        for body in (
            msgspec.json.encode(
                {"user_id": user_id(user), "viewed_product_id": product_id(row)}
            )
            for user, row in zip(users, viewed, strict=True)
        )
    ]  # fmt: skip


def main(spec_file: Path, result: Path) -> None:
    """Read the spec, play, write what was measured."""
    import uvloop

    spec = msgspec.json.decode(spec_file.read_bytes(), type=FloodSpec)
    result.write_bytes(msgspec.json.encode(uvloop.run(_Flood(spec).play())))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
