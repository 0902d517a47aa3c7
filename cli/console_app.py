"""The console's process, put together: the log followed in threads beside the pages."""

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import structlog
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from cli import wiring
from cli.clock import now_ms
from cli.demo_marker import read_marker
from cli.process_metrics import ProcessMetrics
from cli.settings import Settings
from console.app import ConsoleParts, create_app
from console.audit import AuditSettings
from console.experiment import Experiment
from console.explain import Explainer
from console.follower import Follower
from console.pairs import Pairs
from console.policies import Operations
from console.settings import ConsoleSettings
from projections.catalogue import Catalogue, CatalogueProjection
from streams.errors import LogError
from streams.port import Log
from streams.topics import PRODUCTS

log = structlog.get_logger(__name__)
POLL_SECONDS = 0.5
RETRY_SECONDS = 1.0
PRODUCTS_PER_POLL = 10_000
UNSETTLED_GRACE_SECONDS = 30


class CatalogueFollower:
    """Keeps the newest catalogue ready to be read; `run` is its loop."""

    def __init__(self, events: Log) -> None:
        self._log = events
        self._projection = CatalogueProjection()

    def current(self) -> Catalogue:
        """Return the newest catalogue."""
        return self._projection.current

    def run(self, stop: threading.Event) -> None:
        """Follow topic `products` until `stop`; a log that is away is tried again."""
        while not stop.is_set():
            try:
                self._follow(stop)
            except LogError as problem:
                log.warning("catalogue_not_followed", problem=str(problem))
                stop.wait(RETRY_SECONDS)

    def _follow(self, stop: threading.Event) -> None:
        self._projection = CatalogueProjection()
        consumer = self._log.consumer([PRODUCTS.name], group=None)
        try:
            while not stop.is_set():
                records = consumer.poll(max_records=PRODUCTS_PER_POLL, timeout_seconds=POLL_SECONDS)
                if records:
                    self._projection.apply(records)
        finally:
            consumer.close()


def console_app(settings: Settings, events: Log) -> FastAPI:
    """Return the console over a log; its threads live as long as the app."""
    metrics = CollectorRegistry()
    ProcessMetrics("console", settings.data_dir, metrics)
    registry = wiring.open_registry(settings)
    catalogue = CatalogueFollower(events)
    horizon = settings.attribution_window_seconds + settings.lateness_seconds
    audit = AuditSettings(
        settlement_seconds=settings.settlement_seconds,
        grace_seconds=UNSETTLED_GRACE_SECONDS,
        horizon_seconds=horizon,
    )
    follower = Follower(events, lambda: Experiment(audit), clock=now_ms)
    app = create_app(
        ConsoleParts(
            follower=follower,
            operations=Operations(registry, events, clock=now_ms),
            explainer=Explainer(events, registry, catalogue.current, horizon_seconds=horizon),
            catalogue=catalogue.current,
            pairs=Pairs(registry, catalogue.current),
        ),
        ConsoleSettings(
            service_url=settings.service_url or wiring.url(settings.host, settings.port),
            keys=wiring.keyring(settings),
            shoppers=read_marker(settings.data_dir).shoppers,
            audit=audit,
        ),
        metrics_registry=metrics,
    )
    app.router.lifespan_context = _beside(follower, catalogue)
    return app


def _beside(
    follower: Follower, catalogue: CatalogueFollower
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """Return a lifespan that keeps both loops running."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        stop = threading.Event()
        threads = [
            threading.Thread(target=_or_end, args=(name, loop.run, stop), name=name, daemon=True)
            for name, loop in (("experiment", follower), ("catalogue", catalogue))
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                await asyncio.to_thread(thread.join, 5.0)

    return lifespan


def _or_end(name: str, loop: Callable[[threading.Event], None], stop: threading.Event) -> None:
    """Run a loop; when it fails the process ends, to be restarted with everything read anew."""
    try:
        loop(stop)
    except Exception:
        log.exception("loop_failed", loop=name)
        os.kill(os.getpid(), signal.SIGTERM)
        raise
