"""uvicorn as `quintet serve` runs it: uvloop, httptools, no access log, a drained queue."""

import gc
import logging
import socket
from typing import Final

import uvicorn
from fastapi import FastAPI

from service.protocol import Protocol

_BACKLOG: Final = 2_048
_GRACE_SECONDS: Final = 10
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


def listening(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """Return a listening socket; callers wait in its queue until `serve` takes them.

    Args:
        host: an address or a name.
        port: 0 is any free one.
        shared: True: several processes may bind the same port, and the kernel shares connections.

    Raises:
        OSError: the address cannot be bound.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    listener.set_inheritable(True)
    return listener


def configuration(app: FastAPI, trusted_proxies: str = "127.0.0.1") -> uvicorn.Config:
    """Return how uvicorn serves an app here; nothing of it costs a request anything it need not.

    Args:
        app: with its lifespan.
        trusted_proxies: addresses whose X-Forwarded-For is believed, comma-separated.
    """
    return uvicorn.Config(
        app,
        loop="uvloop",
        http=Protocol,
        ws="none",
        lifespan="on",
        access_log=False,
        proxy_headers=True,
        forwarded_allow_ips=trusted_proxies,
        log_config=None,
        server_header=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )


def serve(app: FastAPI, listener: socket.socket, *, trusted_proxies: str = "127.0.0.1") -> None:
    """Serve until SIGTERM or SIGINT; requests under way are answered, the log's queue is drained.

    Args:
        app: with its lifespan.
        listener: a listening socket; closed at the end.
        trusted_proxies: see `configuration`.
    """
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    try:
        uvicorn.Server(configuration(app, trusted_proxies)).run(sockets=[listener])
    finally:
        listener.close()
