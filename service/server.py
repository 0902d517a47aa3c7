"""uvicorn as `quintet serve` runs it: uvloop, httptools, no access log, a drained queue."""

import asyncio
import gc
import logging
import socket
from typing import Final

import uvicorn
from fastapi import FastAPI

_BACKLOG: Final = 2_048
_GRACE_SECONDS: Final = 10
_ARRIVING_SECONDS: Final = 0.25
"""A connection that was taken just before the end has so long to send its request."""
_THRESHOLDS: Final = (50_000, 50, 100)


def settle_heap() -> None:
    """Make garbage collections rare and short: what is alive now is never looked at again.

    The largest effect on the slowest answers that was found: without it a full collection walks
    over everything that serving has loaded. Meant to follow every swap; only the first has work to
    do, for numba and the frameworks are what is large.
    """
    if gc.get_freeze_count():
        return
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


def listening(host: str, port: int) -> socket.socket:
    """Return a listening socket; callers wait in its queue until `serve` takes them.

    Child processes may inherit it and serve from one queue: then none of them takes callers along
    when it ends, as it would with a queue of its own.

    Args:
        host: an address or a name.
        port: 0 is any free one.

    Raises:
        OSError: the address cannot be bound.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    listener.set_inheritable(True)
    return listener


def configuration(app: FastAPI) -> uvicorn.Config:
    """Return how uvicorn serves an app here; nothing of it costs a request anything it need not."""
    return uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )


class _Server(uvicorn.Server):
    """Answers whom it has taken: uvicorn closes connections whose request has not arrived yet."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take nobody more, wait a moment for requests under way, then end as uvicorn does."""
        for server in self.servers:
            server.close()
        await asyncio.sleep(_ARRIVING_SECONDS)
        await super().shutdown(sockets)


def serve(app: FastAPI, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are answered, the log's queue is drained.

    Args:
        app: with its lifespan.
        listener: a listening socket; closed at the end.
    """
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    try:
        _Server(configuration(app)).run(sockets=[listener])
    finally:
        listener.close()
