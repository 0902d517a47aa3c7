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
from schemas.errors import KeysNotReadable
from schemas.keys import Keyring
from streams.errors import LogError
from streams.port import Log
from streams.topics import TOPICS

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from projections.history.redis import RedisSettings
    from service.wiring import ServiceSettings
    from streams.kafka import KafkaLog
    from trainer.learner_settings import LearnerSettings
    from trainer.settings import TrainerSettings

log = structlog.get_logger(__name__)
_CONNECT_SECONDS = 3.0
"""A process that has work without the cluster waits no longer for it to be there."""


def open_log(
    settings: Settings, *, member: str, may_be_away: bool = False, keeps_place: bool = False
) -> Log:
    """Return the event log of this installation.

    Args:
        settings: says which adapter, and where.
        member: which process of the ring this is.
        may_be_away: True: a cluster that cannot be reached is no error now, but each time the log
            is used; so a process of the ring starts before its cluster does.
        keeps_place: True: a process that is restarted goes on where it was: its group waits for it,
            and what it knew is kept in the data directory. For a `member` of which one runs.

    Raises:
        LogUnavailable: the log cannot be reached.
    """
    if settings.streams == "kafka":
        kafka = open_kafka(
            settings, member=member, keeps_place=keeps_place, may_be_away=may_be_away
        )
        if may_be_away:
            kafka.ensure_topics_soon()
        else:
            kafka.ensure_topics()
        return kafka
    from streams.local import LocalLog

    return LocalLog(log_file(settings), clock=now_ms)


def log_file(settings: Settings) -> Path:
    """Return where the local log is."""
    return settings.data_dir / "log.db"


def open_kafka(
    settings: Settings, *, member: str, keeps_place: bool = False, may_be_away: bool = False
) -> "KafkaLog":
    """Return the log on Kafka, its topics neither made nor checked; see `open_log`."""
    from streams.kafka import KafkaLog, KafkaSettings, StateFolder

    password = settings.kafka_sasl_password
    return KafkaLog(
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
            static=keeps_place,
            connect_seconds=_CONNECT_SECONDS if may_be_away else 10.0,
        ),
        state_folder=StateFolder(settings.data_dir / "state", now_ms) if keeps_place else None,
    )


@contextmanager
def opened_log(
    settings: Settings, *, member: str, may_be_away: bool = False, keeps_place: bool = False
) -> Iterator[Log]:
    """Open the log (see `open_log`), and close it in the end."""
    opened = open_log(settings, member=member, may_be_away=may_be_away, keeps_place=keeps_place)
    try:
        yield opened
    finally:
        opened.close()


def keep_trimmed(
    events: Log, settings: Settings, stop: threading.Event, *, every_seconds: float
) -> None:
    """Drop what is older than the retention time, again and again; Kafka does that by itself.

    What the log refuses (its disk is full, somebody holds it) is dropped the next time.
    """
    from streams.local import LocalLog

    while isinstance(events, LocalLog):
        for topic in TOPICS:
            if topic.kept:
                continue
            try:
                events.trim(topic.name, now_ms() - retention_ms(settings))
            except LogError as problem:
                log.warning("retention_waits", topic=topic.name, problem=str(problem))
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

    return SqliteHistoryReader(history_file(settings), metrics=measured)


def history_store(settings: Settings) -> HistoryStore:
    """Return where the projector keeps histories."""
    if settings.history == "redis":
        from projections.history.redis import RedisHistoryStore

        return RedisHistoryStore(_redis(settings))
    from projections.history.sqlite import SqliteHistoryStore

    return SqliteHistoryStore(history_file(settings))


def _redis(settings: Settings) -> "RedisSettings":
    from projections.history.redis import RedisSettings

    url, ca_file = settings.redis_url.get_secret_value(), settings.redis_ca_file
    if ca_file is None:
        return RedisSettings(url=url)
    if not url.startswith("rediss://"):
        raise BadUsage("QUINTET_REDIS_CA_FILE is for TLS: write rediss:// in QUINTET_REDIS_URL")
    if not ca_file.is_file():
        raise BadUsage(f"QUINTET_REDIS_CA_FILE: there is no file {ca_file}")
    return RedisSettings(url=url, ca_file=ca_file)


def history_file(settings: Settings) -> Path:
    """Return where histories are kept without Redis."""
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

    is_remote = settings.streams == "kafka"
    return ServiceSettings(
        secret=secret(settings),
        api_keys=key_text(settings),
        cors_origins=allowed_origins(settings),
        control_share=settings.control_share,
        arm_period_seconds=settings.arm_period_seconds,
        attribution_window_seconds=settings.attribution_window_seconds,
        # The local log is on the same disk: what it cannot take, a spool could not either.
        spool_folder=settings.data_dir / "spool" if is_remote else None,
        spool_bytes=settings.spool_bytes,
        catalogue_file=settings.data_dir / "catalogue.db" if is_remote else None,
        watcher=WatcherSettings(process=_process_name(settings)),
    )


def _process_name(settings: Settings) -> str:
    """Return a serving process's name in announcements; process ids repeat between containers."""
    name = f"serve-{os.getpid()}"
    return f"{settings.member}-{name}" if settings.member else name


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


def keyring(settings: Settings) -> Keyring:
    """Return the API keys; none: there are no keys.

    Raises:
        BadUsage: the setting has another form.
    """
    try:
        return Keyring.parse(key_text(settings))
    except KeysNotReadable as problem:
        raise BadUsage(f"QUINTET_API_KEYS: {problem}") from None


def key_with(settings: Settings, *scopes: str) -> str | None:
    """Return a key that has all of `scopes`; None: there are no keys, and none is needed.

    Raises:
        BadUsage: there are keys, but none has them all.
    """
    known = keyring(settings)
    given = [entry.strip().partition(":")[0] for entry in key_text(settings).split(",")]
    for key in given:
        found = known.find(key)
        if found is not None and found.scopes.issuperset(scopes):
            return key
    if known:
        raise BadUsage(f"no API key has the scopes {', '.join(scopes)}")
    return None


def key_text(settings: Settings) -> str:
    """Return the setting of the API keys; empty: there are none."""
    return settings.api_keys.get_secret_value() if settings.api_keys else ""


def require_loopback_or_keys(settings: Settings) -> None:
    """Refuse to listen beyond loopback without API keys.

    Raises:
        BadUsage: the host is reachable from elsewhere and there are no keys, or they cannot be
            read.
    """
    if not keyring(settings) and settings.host not in {"127.0.0.1", "::1", "localhost"}:
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
