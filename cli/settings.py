"""Every setting, read once per process: flags over the environment over `.env` over defaults.

A secret need not stand in the environment: `QUINTET_SECRET_FILE` names the file that holds
QUINTET_SECRET, and so for every setting that is one.
"""

import difflib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from cli.errors import BadUsage

_PREFIX: Final = "QUINTET_"
_FILE: Final = "_FILE"
SECRETS: Final = ("secret", "api_keys", "kafka_sasl_password", "redis_url")
"""Settings that may be given as files."""


def _file_of(name: str) -> str | None:
    return os.environ.get(f"{_PREFIX}{name.upper()}{_FILE}")


class SecretFiles(PydanticBaseSettingsSource):
    """Secrets out of the files that the environment names; a line's end at the end is left out."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 - as the base class
        """Return what the file of a setting holds.

        Raises:
            BadUsage: it cannot be read.
        """
        path = _file_of(field_name) if field_name in SECRETS else None
        if not path:
            return None, field_name, False
        try:
            return Path(path).read_text().rstrip("\r\n"), field_name, False
        except (OSError, UnicodeDecodeError) as problem:
            name = f"{_PREFIX}{field_name.upper()}{_FILE}"
            raise BadUsage(f"{name}: cannot read {path}: {problem}") from None

    def __call__(self) -> dict[str, Any]:
        """Return every setting that is given as a file."""
        found = {
            name: self.get_field_value(field, name)[0]
            for name, field in self.settings_cls.model_fields.items()
        }
        return {name: value for name, value in found.items() if value is not None}


class Settings(BaseSettings):
    """The settings of one process; frozen, so nothing changes while it runs."""

    model_config = SettingsConfigDict(
        env_prefix="QUINTET_",
        env_file=".env",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as the base class
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return where settings come from, the first goes over the others."""
        return init_settings, env_settings, SecretFiles(settings_cls), dotenv_settings

    data_dir: Path = Field(
        Path("quintet-data"), description="everything local: log, catalogue, snapshots, checkpoints"
    )
    host: str = Field(
        "127.0.0.1", description="address to listen on; beyond loopback API keys are required"
    )
    port: int = Field(8080, ge=0, le=65535, description="port of the service")
    console_port: int = Field(8081, ge=0, le=65535, description="port of the console")
    service_url: str = Field(
        "", description="the service as shoppers' browsers see it; unset: on this machine"
    )
    workers: int = Field(1, ge=1, le=64, description="serving processes that share the port")
    metrics_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="of `quintet aggregate` or `train`; 0, and always under run and demo: any free",
    )
    secret: SecretStr | None = Field(
        None,
        min_length=16,
        description="key of pseudonyms and tokens; unset: made once and kept in the data directory",
    )
    api_keys: SecretStr | None = Field(
        None,
        description="key:scope+scope,... of recommend, events:browser, events:server, operate; "
        "key:scope@600 may call 600 times a minute",
    )
    cors_origins: str = Field(
        "", description="origins of storefronts that may call from a browser, comma-separated"
    )
    trusted_proxies: str = Field(
        "127.0.0.1",
        description="proxies whose X-Forwarded-For tells where a caller is, comma-separated",
    )
    streams: Literal["local", "kafka"] = Field("local", description="where the log lives")
    kafka_bootstrap_servers: str = Field(
        "127.0.0.1:9092", description="Kafka brokers host:port,..."
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="how to speak to Kafka"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="SASL mechanism, with a SASL protocol"
    )
    kafka_sasl_username: str | None = Field(None, description="SASL user")
    kafka_sasl_password: SecretStr | None = Field(None, description="SASL password")
    kafka_ca_file: Path | None = Field(None, description="CA certificates for TLS to Kafka")
    kafka_topic_prefix: str = Field(
        "", description="put before every topic's name, when a broker is shared"
    )
    member: str = Field(
        "",
        pattern=r"^[\w.-]*$",
        description="stable name in Kafka's groups, so that a restart goes on at once and moves "
        "no partition; two processes of one kind must not share it",
    )
    kafka_replication: int = Field(1, ge=1, le=10, description="replicas of topics made at start")
    spool_bytes: int = Field(
        1024**3,
        ge=0,
        description="while Kafka is away, every serving process keeps so many bytes of events and "
        "recommendations in the data directory",
    )
    history: Literal["sqlite", "redis"] = Field("sqlite", description="where history is kept")
    redis_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"), description="Redis (rediss:// for TLS)"
    )
    redis_ca_file: Path | None = Field(
        None, description="CA certificates for TLS to Redis (rediss://)"
    )
    control_share: float = Field(
        0.1, ge=0.0, le=1.0, description="share of traffic that gets the foundation's greedy five"
    )
    arm_period_seconds: int = Field(86_400, ge=1, description="a shopper keeps an arm for so long")
    settlement_seconds: int = Field(
        5, ge=0, description="a banner without an earning event settles at zero after so long"
    )
    attribution_window_seconds: int = Field(
        86_400, ge=1, description="an event can reward a banner for so long after its impression"
    )
    lateness_seconds: int = Field(
        3_600, ge=0, description="how long beyond the window its state is kept"
    )
    retention_days: float = Field(90.0, gt=0, description="the log and histories are kept so long")
    batch_banners: int = Field(256, ge=1, description="rewarded banners of one update")
    learn_pairs: bool = Field(
        False, description="learn which pairs of categories earn more on one banner"
    )
    seed: int | None = Field(None, ge=0, description="seed of everything random; unset: drawn")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="logs")

    def as_environment(self) -> dict[str, str]:
        """Return the settings as environment variables for a child process.

        Secrets are among them, but for those that the child finds in the same files.
        """
        in_files = SecretFiles(type(self))()
        found: dict[str, str] = {}
        for name, value in self:
            if value is not None:
                shown = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
                if in_files.get(name) != shown:
                    found[f"{_PREFIX}{name.upper()}"] = shown
        return found


def described() -> list[tuple[str, str, str]]:
    """Return (environment name, flag, meaning) of every setting."""
    return [
        (f"QUINTET_{name.upper()}", "--" + name.replace("_", "-"), field.description or "")
        for name, field in Settings.model_fields.items()
    ]


def misspelt(names: Iterable[str]) -> list[str]:
    """Return a sentence for each name that looks like a setting and is none.

    Example:
        >>> misspelt(["QUINTET_CONTROL_SHAER", "QUINTET_PORT", "PATH"])
        ['QUINTET_CONTROL_SHAER is no setting: is QUINTET_CONTROL_SHARE meant?']
    """
    known = [name for name, _, _ in described()]
    known += [f"{_PREFIX}{name.upper()}{_FILE}" for name in SECRETS]
    found = []
    for name in sorted(set(names)):
        if name.upper().startswith(_PREFIX) and name.upper() not in known:
            near = difflib.get_close_matches(name.upper(), known, n=1)
            meant = f"is {near[0]} meant?" if near else "see `quintet settings`"
            found.append(f"{name} is no setting: {meant}")
    return found
