"""The service and the console of one installation, on the wire, in threads of this process.

The apps are those of `quintet serve` and `quintet console`, over a filled data directory; requests
reach them through the same HTTP parser as anybody's.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import uvicorn
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from cli import wiring
from cli.clock import now_ms
from cli.console_app import console_app
from cli.settings import Settings
from load.installation import SECRET, install
from service import server
from service import wiring as service_wiring

PRODUCTS = 40
_START_SECONDS = 60.0
OPERATOR, SERVER, BROWSER = "operator-" + "o" * 32, "order-service-" + "s" * 32, "page-" + "b" * 32
EVERYTHING = "everything-" + "e" * 32
KEYS = (
    f"{OPERATOR}:operate,{SERVER}:events:server,{BROWSER}:recommend+events:browser,"
    f"{EVERYTHING}:recommend+events:browser+events:server+operate"
)
"""One key for each kind of caller, and one that may do everything."""


@dataclass(frozen=True)
class Served:
    """What runs, and where it answers."""

    service: FastAPI
    service_url: str
    console: FastAPI
    console_url: str
    data_dir: Path


@contextmanager
def served(folder: Path, *, api_keys: str = KEYS, **settings: object) -> Iterator[Served]:
    """Fill a folder, and serve it on free ports until the block ends."""
    data_dir = folder / "data"
    install(data_dir, products=PRODUCTS, seed=1)
    told = Settings(
        _env_file=None, data_dir=data_dir, secret=SECRET.decode(), api_keys=api_keys, **settings
    )
    with ExitStack() as stack:
        log = stack.enter_context(wiring.opened_log(told, member="tests"))
        metrics = CollectorRegistry()
        service = service_wiring.build(
            wiring.service_settings(told),
            log,
            wiring.open_registry(told),
            wiring.history_reader(told, metrics),
            clock=now_ms,
            rng=np.random.default_rng(1),
            metrics_registry=metrics,
        ).app
        console = console_app(told, log)
        service_url, console_url = (
            stack.enter_context(_answering(app)) for app in (service, console)
        )
        yield Served(service, service_url, console, console_url, data_dir)


@contextmanager
def _answering(app: FastAPI) -> Iterator[str]:
    listener = server.listening("127.0.0.1", 0)
    running = uvicorn.Server(server.configuration(app))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + _START_SECONDS
    while not running.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise RuntimeError("the app did not start")
        time.sleep(0.01)
    try:
        yield "http://{}:{}".format(*listener.getsockname()[:2])
    finally:
        running.should_exit = True
        thread.join(30.0)
        listener.close()
