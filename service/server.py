"""uvicorn as `quintet serve` runs it: uvloop, httptools, no access log, a drained queue."""

import gc
import logging
import resource
import socket
import time
from typing import Any, Final

import uvicorn
from fastapi import FastAPI
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from service.accepting import Server
from service.admission import Admission, AdmissionSettings
from service.connections import Connection, Door
from service.protocol import Protocol

_BACKLOG: Final = 2_048
_CONNECTIONS: Final = 65_536
_GRACE_SECONDS: Final = 10
_THRESHOLDS: Final = (50_000, 50, 100)


def settle_heap() -> None:
    """Make garbage collections rare and short: what is alive now is never looked at again.

    The largest effect on the slowest answers that was found: without it a full collection walks
    over everything that serving has loaded. To follow every swap: the first freezes, for numba and
    the frameworks are what is large. Later ones free what swaps before them left in cycles: a
    Kafka client keeps the frames of whoever polled in exceptions of its own, and with them every
    policy they held.
    """
    if gc.get_freeze_count():
        gc.collect()
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


def open_admission() -> Admission:
    """Return the usual bounds, for a server that counts nothing of what it refuses."""
    return Admission(AdmissionSettings(), refused=lambda _: None, monotonic=time.monotonic)


def configuration(
    app: FastAPI, admission: Admission | None = None, *, trusted_proxies: str = "127.0.0.1"
) -> uvicorn.Config:
    """Return how uvicorn serves an app here; nothing of it costs a request anything it need not.

    Args:
        app: with its lifespan.
        admission: who is let in; None: everybody, for as long as they like.
        trusted_proxies: addresses whose X-Forwarded-For is believed, comma-separated.
    """
    if admission is None:
        return _configured(app, Protocol, AdmissionSettings().idle_seconds, trusted_proxies)
    proxies = ProxyHeadersMiddleware(app, trusted_proxies)  # type: ignore[arg-type]
    door = Door(admission, proxies)

    class Here(Connection):
        """A connection of this server."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as the base class
            super().__init__(*args, **kwargs, door=door)

    return _configured(app, Here, admission.settings.idle_seconds, trusted_proxies)


def _configured(
    app: FastAPI, protocol: type[Protocol], idle_seconds: float, trusted_proxies: str
) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="uvloop",
        http=protocol,
        ws="none",
        lifespan="on",
        access_log=False,
        proxy_headers=True,
        forwarded_allow_ips=trusted_proxies,
        log_config=None,
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=round(idle_seconds),
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )


def _allow_connections() -> None:
    """Let this process have as many connections as the system allows: often 1,024 by default."""
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _CONNECTIONS if most == resource.RLIM_INFINITY else min(_CONNECTIONS, most)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def serve(
    app: FastAPI,
    listener: socket.socket,
    admission: Admission | None = None,
    *,
    trusted_proxies: str = "127.0.0.1",
    is_shared: bool = False,
) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are answered, the log's queue is drained.

    Args:
        app: with its lifespan.
        listener: a listening socket; closed at the end.
        admission: who is let in; None: with the usual bounds.
        trusted_proxies: see `configuration`.
        is_shared: other processes take from the same socket.
    """
    # Its warnings are one line for whatever somebody sends that is not HTTP: that is counted.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    _allow_connections()
    try:
        config = configuration(app, admission or open_admission(), trusted_proxies=trusted_proxies)
        Server(config, is_shared=is_shared).run(sockets=[listener])
    finally:
        listener.close()
