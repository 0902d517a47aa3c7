"""Adapters built from settings: which log, which history, which registry."""

import os
import socket
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import structlog

from cli.clock import now_ms
from cli.errors import BadUsage
from cli.secrets import installation_secret
from cli.settings import Settings
from policy.registry import Registry
from projections.history.port import HistoryReader, HistoryStore
from rewards.specification import RewardSpecification
from streams.port import Log
from streams.topics import TOPICS

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from projections.history.redis import RedisSettings
    from service.wiring import ServiceSettings
    from trainer.learner_settings import LearnerSettings
    from trainer.settings import TrainerSettings

log = structlog.get_logger(__name__)


def open_log(settings: Settings, *, member: str, may_be_away: bool = False) -> Log:
    """Return the event log of this installation.

    Args:
        settings: says which adapter, and where.
        member: which process of the ring this is.
        may_be_away: True: a cluster that cannot be reached is no error now, but each time the log
            is used; so a process of the ring starts before its cluster does.

    Raises:
        LogUnavailable: the log cannot be reached.
    """
    if settings.streams == "kafka":
        from streams.kafka import KafkaLog, KafkaSettings

        password = settings.kafka_sasl_password
        kafka = KafkaLog(
            KafkaSettings(
                bootstrap_servers=settings.kafka_bootstrap_servers,
                security_protocol=settings.kafka_security_protocol,
                sasl_mechanism=settings.kafka_sasl_mechanism,
                sasl_username=settings.kafka_sasl_username,
                sasl_password=password.get_secret_value() if password else None,
                ca_file=settings.kafka_ca_file,
                topic_prefix=settings.kafka_topic_prefix,
                replication=settings.kafka_replication,
                retention_days=settings.retention_days,
                member=f"{settings.member}-{member}" if settings.member else "",
            )
        )
        if may_be_away:
            kafka.ensure_topics_soon()
        else:
            kafka.ensure_topics()
        return kafka
    from streams.local import LocalLog

    return LocalLog(settings.data_dir / "log.db", clock=now_ms)


@contextmanager
def opened_log(settings: Settings, *, member: str, may_be_away: bool = False) -> Iterator[Log]:
    """Open the log (see `open_log`), and close it in the end."""
    opened = open_log(settings, member=member, may_be_away=may_be_away)
    try:
        yield opened
    finally:
        opened.close()


def keep_trimmed(
    events: Log, settings: Settings, stop: threading.Event, *, every_seconds: float
) -> None:
    """Drop what is older than the retention time, again and again; Kafka does that by itself."""
    from streams.local import LocalLog

    while isinstance(events, LocalLog):
        for topic in TOPICS:
            if not topic.kept:
                events.trim(topic.name, now_ms() - retention_ms(settings))
        if stop.wait(every_seconds):
            return


def retention_ms(settings: Settings) -> int:
    """Return how long the log and histories are kept, in milliseconds."""
    return int(settings.retention_days * 86_400_000)


def secret(settings: Settings) -> bytes:
    """Return the key of pseudonyms and tokens."""
    given = settings.secret.get_secret_value() if settings.secret else None
    return installation_secret(given, settings.data_dir)


def open_registry(settings: Settings) -> Registry:
    """Return the snapshots of this installation and the pointer to the live one."""
    return Registry(settings.data_dir / "registry", clock=now_ms)


def history_reader(settings: Settings, metrics: "CollectorRegistry") -> HistoryReader:
    """Return what the service reads a shopper's history from."""
    from projections.history.metrics import HistoryReadMetrics

    measured = HistoryReadMetrics(metrics)
    if settings.history == "redis":
        from projections.history.redis import RedisHistoryReader

        return RedisHistoryReader(_redis(settings), clock=now_ms, metrics=measured)
    from projections.history.sqlite import SqliteHistoryReader

    return SqliteHistoryReader(_history_file(settings), metrics=measured)


def history_store(settings: Settings) -> HistoryStore:
    """Return where the projector keeps histories."""
    if settings.history == "redis":
        from projections.history.redis import RedisHistoryStore

        return RedisHistoryStore(_redis(settings))
    from projections.history.sqlite import SqliteHistoryStore

    return SqliteHistoryStore(_history_file(settings))


def _redis(settings: Settings) -> "RedisSettings":
    from projections.history.redis import RedisSettings

    return RedisSettings(url=settings.redis_url.get_secret_value())


def _history_file(settings: Settings) -> Path:
    return settings.data_dir / "history.db"


def reward_specification(settings: Settings) -> RewardSpecification:
    """Return the reward specification of the settings."""
    return RewardSpecification(
        attribution_window_seconds=settings.attribution_window_seconds,
        settlement_seconds=settings.settlement_seconds,
        lateness_seconds=settings.lateness_seconds,
    )


def generator(settings: Settings, *, purpose: str) -> np.random.Generator:
    """Return randomness of this process alone: from the seed, its purpose and its process id.

    Workers and restarts must not draw the same numbers again; without a seed the system gives them.
    """
    if settings.seed is None:
        return np.random.default_rng()
    return np.random.default_rng((settings.seed, zlib.crc32(purpose.encode()), os.getpid()))


def url(host: str, port: int) -> str:
    """Return the address of a server on this machine.

    Example:
        >>> url("::1", 8080), url("0.0.0.0", 8080)
        ('http://[::1]:8080', 'http://127.0.0.1:8080')
    """
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def allowed_origins(settings: Settings) -> list[str]:
    """Return the origins whose pages may call the service: those given, and the console's own."""
    given = [origin.strip() for origin in settings.cors_origins.split(",") if origin.strip()]
    hosts = (settings.host, "127.0.0.1", "localhost")
    own = [url(host, settings.console_port) for host in hosts]
    return list(dict.fromkeys([*given, *own]))


def service_settings(settings: Settings) -> "ServiceSettings":
    """Return what a serving process is told."""
    from service.watcher import WatcherSettings
    from service.wiring import ServiceSettings

    return ServiceSettings(
        secret=secret(settings),
        api_keys=settings.api_keys.get_secret_value() if settings.api_keys else "",
        cors_origins=allowed_origins(settings),
        control_share=settings.control_share,
        arm_period_seconds=settings.arm_period_seconds,
        attribution_window_seconds=settings.attribution_window_seconds,
        watcher=WatcherSettings(process=f"serve-{os.getpid()}"),
    )


def trainer_settings(settings: Settings, *, device: str) -> "TrainerSettings":
    """Return how the trainer works."""
    from trainer.settings import TrainerSettings

    return TrainerSettings(learner=learner_settings(settings, device=device))


def learner_settings(settings: Settings, *, device: str = "auto") -> "LearnerSettings":
    """Return how the learner works, in the ring and in the laboratory."""
    from trainer.learner_settings import LearnerSettings
    from trainer.reward_model import reward_model_settings

    return LearnerSettings(
        batch_banners=settings.batch_banners,
        device=device,
        reward_model=reward_model_settings(pairs=settings.learn_pairs),
    )


def key_scopes(settings: Settings) -> dict[str, frozenset[str]]:
    """Return the scopes of each API key; empty: there are no keys.

    Raises:
        BadUsage: the setting has another form.
    """
    from service.api_keys import ApiKeys
    from service.errors import KeysNotReadable

    text = settings.api_keys.get_secret_value() if settings.api_keys else ""
    try:
        ApiKeys.parse(text)
    except KeysNotReadable as problem:
        raise BadUsage(f"QUINTET_API_KEYS: {problem}") from None
    entries = [entry.strip().partition(":") for entry in text.split(",") if entry.strip()]
    return {key: frozenset(scopes.split("+")) for key, _, scopes in entries}


def key_with(settings: Settings, *scopes: str) -> str | None:
    """Return a key that has all of `scopes`; None: there are no keys, and none is needed.

    Raises:
        BadUsage: there are keys, but none has them all.
    """
    known = key_scopes(settings)
    found = [key for key, given in known.items() if given.issuperset(scopes)]
    if known and not found:
        raise BadUsage(f"no API key has the scopes {', '.join(scopes)}")
    return found[0] if found else None


def require_loopback_or_keys(settings: Settings) -> None:
    """Refuse to listen beyond loopback without API keys.

    Raises:
        BadUsage: the host is reachable from elsewhere and there are no keys, or they cannot be
            read.
    """
    if not key_scopes(settings) and settings.host not in {"127.0.0.1", "::1", "localhost"}:
        raise BadUsage(
            f"host {settings.host} is reachable from elsewhere: set QUINTET_API_KEYS, or listen on "
            "127.0.0.1"
        )


def require_free(host: str, port: int) -> None:
    """Refuse a port that somebody listens on.

    Raises:
        BadUsage: it is taken, or the host is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as problem:
            raise BadUsage(
                f"cannot listen on {host}:{port} ({problem.strerror}): choose others with --port "
                "and --console-port"
            ) from None
