"""The measured process: the real service on one port, a stock FastAPI app on another, one loop.

    python -m load.server FOLDER

The stock app is what the measure of the goals means by an empty endpoint: a `FastAPI()` without a
single argument, one `async def` endpoint that returns an empty object, the default response class.
It has an app and a port of its own, so that it pays for nothing of the service (whose middleware
counts every request, and which switches FastAPI's telemetry off), and it is served by the same
settings of uvicorn in the same event loop, so that it pays for everything else the process does.
"""

import asyncio
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import uvicorn
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from load.clock import now_ms
from load.installation import SECRET, Installation
from load.readiness import announce
from service.accepting import Server
from service.admission import Admission
from service.server import configuration, listening, settle_heap
from service.wiring import Service, ServiceSettings, build
from streams.port import Log

_LOOK_SECONDS: Final = 0.05
_GLANCE_SECONDS: Final = 0.005


class Stalls:
    """How long the event loop stood still at its longest.

    Attributes:
        longest: seconds, since it was last set to 0.
    """

    def __init__(self) -> None:
        self.longest = 0.0

    async def watch(self) -> None:
        """Look again and again whether the loop comes round in time."""
        while True:
            due = time.monotonic() + _GLANCE_SECONDS
            await asyncio.sleep(_GLANCE_SECONDS)
            self.longest = max(self.longest, time.monotonic() - due)


def stock_app(stalls: Stalls | None = None) -> FastAPI:
    """Return the app with the empty endpoint, and one that tells of stalls and forgets them."""
    app = FastAPI()
    watched = stalls or Stalls()

    @app.get("/stall")
    async def stall() -> dict[str, float]:
        seconds, watched.longest = watched.longest, 0.0
        return {"seconds": seconds}

    @app.get("/empty")
    async def empty() -> dict[str, str]:
        return {}

    return app


def build_service(installed: Installation, log: Log) -> Service:
    """Return the service as `quintet serve` builds it."""
    return build(
        ServiceSettings(secret=SECRET),
        log,
        installed.registry(),
        installed.histories(),
        clock=now_ms,
        rng=np.random.default_rng(0),
        metrics_registry=CollectorRegistry(),
        after_swap=settle_heap,
    )


async def _serve(apps: Sequence[tuple[FastAPI, socket.socket, Admission | None]]) -> None:
    servers = [
        (uvicorn.Server if admission is None else Server)(configuration(app, admission))
        for app, _, admission in apps
    ]
    running = [
        asyncio.create_task(server.serve(sockets=[listener]))
        for server, (_, listener, _) in zip(servers, apps, strict=True)
    ]
    await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    for server in servers:  # only one of them sees the signal
        server.should_exit = True
    await asyncio.gather(*running)


async def _announce_when_ready(service: Service, folder: Path, ports: dict[str, int]) -> None:
    while not service.behaviour.ready:  # noqa: ASYNC110 - another thread makes it ready
        await asyncio.sleep(_LOOK_SECONDS)
    announce(folder, "server", ports)


async def _run(service: Service, folder: Path) -> None:
    listeners = {name: listening("127.0.0.1", 0) for name in ("service", "stock")}
    ports = {name: int(listener.getsockname()[1]) for name, listener in listeners.items()}
    stalls = Stalls()
    watching = asyncio.create_task(stalls.watch())
    waiting = asyncio.create_task(_announce_when_ready(service, folder, ports))
    await _serve([
        (service.app, listeners["service"], service.admission),
        (stock_app(stalls), listeners["stock"], None),
    ])  # fmt: skip
    waiting.cancel()
    watching.cancel()


def main(folder: Path) -> None:
    """Serve until SIGTERM."""
    import uvloop

    installed = Installation(folder)
    log = installed.log()
    try:
        uvloop.run(_run(build_service(installed, log), folder))
    finally:
        log.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
