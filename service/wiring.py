"""One process of the service, put together from its parts; tests and `cli` call the same."""

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, generate_latest

from policy.registry import Registry
from projections.catalogue import CatalogueProjection
from projections.history.port import HistoryReader
from projections.kept_products import KeptProducts
from schemas.keys import Keyring
from service.admission import Admission, AdmissionSettings
from service.api_keys import ApiKeys
from service.app import Dependencies, create_app
from service.appender import Appender, AppenderSettings
from service.arms import ArmRule
from service.behaviour import Behaviour, ServingState
from service.inbox import Inbox
from service.intake import Intake
from service.limits import BrowserLimits, BrowserRules
from service.metrics import Metrics
from service.recommendation import Recommender
from service.tokens import Tokens
from service.watcher import Watcher, WatcherSettings
from streams.port import Log
from streams.spooled import Spool, SpooledLog

SPOOL_BYTES: Final = 1024**3


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """What a process of the service is told.

    Attributes:
        secret: keys pseudonyms, arms and tokens.
        former_secrets: secrets whose tokens are still accepted.
        api_keys: the setting (`schemas.keys`); empty: every caller has every scope.
        cors_origins: origins whose pages may call.
        control_share: share of units in the control arm.
        arm_period_seconds: how long a shopper keeps an arm.
        attribution_window_seconds: how long an event may still reward a banner.
        takes_inbox: True: this process also takes in the topic `inbox`.
        spool_folder: where messages wait while the log is away; None: they are refused.
        spool_bytes: most that they take, of this process.
        catalogue_file: keeps the products for a start without the log; None: they are not kept.
        appender, watcher, browser_limits, admission: of the parts.
    """

    secret: bytes
    former_secrets: Sequence[bytes] = ()
    api_keys: str = ""
    cors_origins: Sequence[str] = ()
    control_share: float = 0.1
    arm_period_seconds: int = 86_400
    attribution_window_seconds: int = 86_400
    takes_inbox: bool = True
    spool_folder: Path | None = None
    spool_bytes: int = SPOOL_BYTES
    catalogue_file: Path | None = None
    appender: AppenderSettings = field(default_factory=AppenderSettings)
    watcher: WatcherSettings = field(default_factory=WatcherSettings)
    browser_limits: BrowserLimits = field(default_factory=BrowserLimits)
    admission: AdmissionSettings = field(default_factory=AdmissionSettings)


@dataclass(frozen=True, slots=True)
class Service:
    """A process of the service; its app's lifespan starts and stops the rest."""

    app: FastAPI
    behaviour: Behaviour
    appender: Appender
    watcher: Watcher
    metrics: Metrics
    recommender: Recommender
    spooled: SpooledLog | None
    admission: Admission


def build(
    settings: ServiceSettings,
    log: Log,
    registry: Registry,
    histories: HistoryReader,
    *,
    clock: Callable[[], int],
    rng: np.random.Generator,
    metrics_registry: CollectorRegistry,
    entropy: Callable[[int], bytes] = os.urandom,
    after_swap: Callable[[], None] = lambda: None,
    exposition: Callable[[], bytes] | None = None,
) -> Service:
    """Return a service over a log, a registry and a history; nothing runs until its app starts.

    Args:
        settings: what it is told.
        log: the event log; the caller closes it after the app has ended.
        registry: the snapshots.
        histories: read on every request; closed when the app ends.
        clock: milliseconds since 1970.
        rng: draws the banners; seeded differently in every process.
        metrics_registry: takes the metrics.
        entropy: gives so many random bytes.
        after_swap: called in the watcher's thread after every swap.
        exposition: gives what `/metrics` shows; None: the metrics of this process.

    Raises:
        KeysNotReadable: the API keys of the settings.
    """
    metrics = Metrics(metrics_registry)
    spooled = _spooled(log, settings, metrics)
    log = spooled or log
    behaviour = Behaviour(
        ServingState(CatalogueProjection().current, None, None, np.empty(0, np.int32))
    )
    appender = Appender(log, metrics=metrics, settings=settings.appender)
    watcher = Watcher(
        behaviour,
        registry,
        log,
        clock=clock,
        metrics=metrics,
        settings=settings.watcher,
        kept=KeptProducts(settings.catalogue_file) if settings.catalogue_file else None,
        after_swap=after_swap,
    )
    secret = settings.secret
    tokens = Tokens(
        [secret, *settings.former_secrets], window_seconds=settings.attribution_window_seconds
    )
    intake = Intake(secret, tokens)
    recommender = Recommender(
        behaviour,
        histories,
        appender,
        arms=ArmRule(secret, settings.control_share, settings.arm_period_seconds),
        tokens=tokens,
        secret=secret,
        clock=clock,
        rng=rng,
        metrics=metrics,
        entropy=entropy,
    )
    inbox = Inbox(
        log,
        intake,
        rows=lambda: behaviour.state.catalogue.row_of,
        clock=clock,
        metrics=metrics,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        stop = threading.Event()

        def take_inbox() -> None:
            while not stop.is_set():
                if watcher.wait_confirmed(timeout_seconds=0.5):
                    inbox.run(stop)

        taking = threading.Thread(target=take_inbox, name="inbox", daemon=True)
        if spooled is not None:
            spooled.start()
        appender.start()
        watcher.start()
        try:
            # Callers wait in the socket's queue: a restarted server has no empty banner for them.
            await asyncio.to_thread(watcher.wait_first_look)
            if settings.takes_inbox:
                taking.start()
            yield
        finally:
            stop.set()
            await asyncio.to_thread(_stopped, watcher, appender, spooled, taking)
            await histories.close()

    app = create_app(
        Dependencies(
            recommender=recommender,
            intake=intake,
            appender=appender,
            behaviour=behaviour,
            browser_rules=BrowserRules(settings.browser_limits),
            api_keys=ApiKeys(Keyring.parse(settings.api_keys), settings.cors_origins),
            metrics=metrics,
            secret=secret,
            clock=clock,
            entropy=entropy,
            cors_origins=settings.cors_origins,
            exposition=exposition or (lambda: generate_latest(metrics_registry)),
            lifespan=lifespan,
        )
    )
    admission = Admission(
        settings.admission,
        refused=metrics.turned_away, monotonic=time.monotonic, left=metrics.left,
    )  # fmt: skip
    return Service(app, behaviour, appender, watcher, metrics, recommender, spooled, admission)


def _spooled(log: Log, settings: ServiceSettings, metrics: Metrics) -> SpooledLog | None:
    """Return the log with a spool before it; None: it needs none."""
    if settings.spool_folder is None:
        return None
    spool = Spool(settings.spool_folder, limit_bytes=settings.spool_bytes)
    spooled = SpooledLog(log, spool, meter=metrics)
    metrics.spooling.set_function(lambda: float(spooled.spooling))
    metrics.spool_records.set_function(lambda: spool.records)
    metrics.spool_bytes.set_function(lambda: spool.size_bytes)
    return spooled


def _stopped(
    watcher: Watcher, appender: Appender, spooled: SpooledLog | None, taking: threading.Thread
) -> None:
    """End the threads; requests have ended before, so the appender has everything."""
    watcher.stop()
    appender.stop()
    if spooled is not None:
        spooled.stop()
    if taking.is_alive():
        taking.join(5.0)
