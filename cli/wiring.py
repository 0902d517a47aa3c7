"""Adapters built from settings: which log, which history, which registry."""

from pathlib import Path

import structlog

from cli.clock import now_ms
from cli.errors import BadUsage
from cli.secrets import installation_secret
from cli.settings import Settings
from policy.registry import Registry
from projections.history.port import HistoryReader, HistoryStore
from rewards.specification import RewardSpecification
from streams.port import Log

log = structlog.get_logger(__name__)


def open_log(settings: Settings, *, member: str) -> Log:
    """Return the event log of this installation.

    Args:
        settings: says which adapter, and where.
        member: stable name of this process in its groups.
    """
    if settings.streams == "kafka":
        from streams.kafka import KafkaLog, KafkaSettings

        password = settings.kafka_sasl_password
        return KafkaLog(
            KafkaSettings(
                bootstrap_servers=settings.kafka_bootstrap_servers,
                security_protocol=settings.kafka_security_protocol,
                sasl_mechanism=settings.kafka_sasl_mechanism,
                sasl_username=settings.kafka_sasl_username,
                sasl_password=password.get_secret_value() if password else None,
                ssl_cafile=str(settings.kafka_ssl_cafile) if settings.kafka_ssl_cafile else None,
                topic_prefix=settings.kafka_topic_prefix,
                replication=settings.kafka_replication,
                retention_ms=retention_ms(settings),
                member=member,
            )
        )
    from streams.local import LocalLog

    return LocalLog(settings.data_dir / "log", clock=now_ms)


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


def history_reader(settings: Settings) -> HistoryReader:
    """Return what the service reads a shopper's history from."""
    if settings.history == "redis":
        from projections.history.redis import RedisHistoryReader

        return RedisHistoryReader(settings.redis_url.get_secret_value())
    from projections.history.sqlite import SqliteHistoryReader

    return SqliteHistoryReader(_history_file(settings))


def history_store(settings: Settings) -> HistoryStore:
    """Return where the projector keeps histories."""
    if settings.history == "redis":
        from projections.history.redis import RedisHistoryStore

        return RedisHistoryStore(settings.redis_url.get_secret_value())
    from projections.history.sqlite import SqliteHistoryStore

    return SqliteHistoryStore(_history_file(settings))


def _history_file(settings: Settings) -> Path:
    return settings.data_dir / "history.db"


def reward_specification(settings: Settings) -> RewardSpecification:
    """Return the reward specification of the settings."""
    return RewardSpecification(
        attribution_window_seconds=settings.attribution_window_seconds,
        settlement_seconds=settings.settlement_seconds,
        lateness_seconds=settings.lateness_seconds,
    )


def require_loopback_or_keys(settings: Settings) -> None:
    """Refuse to listen beyond loopback without API keys.

    Raises:
        BadUsage: the host is reachable from elsewhere and there are no keys.
    """
    if settings.api_keys is None and settings.host not in {"127.0.0.1", "::1", "localhost"}:
        raise BadUsage(
            f"host {settings.host} is reachable from elsewhere: set QUINTET_API_KEYS, or listen on "
            "127.0.0.1"
        )
