"""What can be wrong with the settings, taken alone and together: pure."""

from collections.abc import Callable, Collection, Iterator, Mapping
from difflib import get_close_matches
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from cli.doctor.findings import Finding, fail, ok, warn
from cli.settings import Settings

AREA: Final = "settings"
PREFIX: Final = "QUINTET_"
_SECRET_CHARACTERS: Final = 32
_DISTINCT_CHARACTERS: Final = 8
_KEY_CHARACTERS: Final = 20
_DAY_SECONDS: Final = 86_400


def unreadable_settings(problem: str) -> Finding:
    """Return the finding that the settings could not be read at all."""
    return fail(AREA, problem, "correct what is named; `quintet settings` explains every setting")


def judge_settings(
    settings: Settings, given: Collection[str], scopes: Mapping[str, frozenset[str]] | str
) -> list[Finding]:
    """Return what is dangerous or useless in the settings.

    Args:
        settings: as read.
        given: names with the prefix `QUINTET_` in the environment and in `.env`.
        scopes: of each API key; text: why the keys could not be read.
    """
    found = [*_unknown_names(given)]
    if isinstance(scopes, str):
        found.append(fail(AREA, scopes, "write QUINTET_API_KEYS as key:scope+scope,key:scope"))
        scopes = {}
    elif not scopes and not is_loopback(settings.host):
        found.append(
            fail(
                AREA,
                f"host {settings.host} is reachable from elsewhere, and there are no API keys",
                "set QUINTET_API_KEYS, or listen on 127.0.0.1",
            )
        )
    for rule in (_keys, _secret, _several_machines, _open_wires, _kafka_login, _experiment, _times):
        found += rule(settings, scopes)
    return found or [ok(AREA, "readable, nothing dangerous")]


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is this machine alone.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0")
        (True, True, False)
    """
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _unknown_names(given: Collection[str]) -> Iterator[Finding]:
    known = [f"{PREFIX}{name.upper()}" for name in Settings.model_fields]
    for name in sorted(set(given) - set(known)):
        near = get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}?" if near else "see `quintet settings`"
        yield warn(AREA, f"{name} is no setting; it has no effect", hint)


Scopes = Mapping[str, frozenset[str]]
_Rule = Callable[[Settings, Scopes], Iterator[Finding]]


def _keys(_: Settings, scopes: Scopes) -> Iterator[Finding]:
    if any(len(key) < _KEY_CHARACTERS for key in scopes):
        yield warn(
            AREA,
            f"an API key has less than {_KEY_CHARACTERS} characters: it can be guessed",
            "make keys by `openssl rand -hex 32`",
        )
    browser, other = "events:browser", {"events:server", "operate"}
    if any(browser in own and own & other for own in scopes.values()):
        yield fail(
            AREA,
            f"a key with {browser} may also report purchases or operate: every shopper sees "
            "a browser's key",
            "give browsers a key with recommend and events:browser only",
        )


def _secret(settings: Settings, _: Scopes) -> Iterator[Finding]:
    secret = settings.secret.get_secret_value() if settings.secret else None
    if secret is None:
        return
    if len(secret) < _SECRET_CHARACTERS or len(set(secret)) < _DISTINCT_CHARACTERS:
        yield warn(
            AREA,
            f"QUINTET_SECRET has {len(secret)} characters, {len(set(secret))} different ones:"
            " pseudonyms and tokens can be guessed",
            "before the first shopper set one made by `openssl rand -hex 32`; later a new one makes"
            " every shopper a stranger",
        )


def _several_machines(settings: Settings, _: Scopes) -> Iterator[Finding]:
    if settings.streams != "kafka":
        return
    if settings.secret is None:
        yield warn(
            AREA,
            "the log is on Kafka, and QUINTET_SECRET is not set: a second machine would make "
            "a secret of its own, and know nobody",
            "set QUINTET_SECRET to the same value on every machine",
        )
    if settings.history == "sqlite":
        yield warn(
            AREA,
            "the log is on Kafka, histories in a file: servers elsewhere do not see them",
            "set QUINTET_HISTORY=redis unless everything runs on this machine",
        )
    brokers = [one.rpartition(":")[0] for one in settings.kafka_bootstrap_servers.split(",")]
    if settings.kafka_replication == 1 and not all(is_loopback(host) for host in brokers):
        yield warn(
            AREA,
            "topics are made with one replica: a broker that is lost takes events with it",
            "set QUINTET_KAFKA_REPLICATION=3 before topics are made",
        )


def _open_wires(settings: Settings, _: Scopes) -> Iterator[Finding]:
    brokers = [one.rpartition(":")[0] for one in settings.kafka_bootstrap_servers.split(",")]
    if (
        settings.streams == "kafka"
        and settings.kafka_security_protocol in {"PLAINTEXT", "SASL_PLAINTEXT"}
        and not all(is_loopback(host) for host in brokers)
    ):
        yield warn(
            AREA,
            "Kafka is spoken to without encryption",
            "set QUINTET_KAFKA_SECURITY_PROTOCOL=SASL_SSL, or keep to a closed network",
        )
    redis = urlsplit(settings.redis_url.get_secret_value())
    in_the_open = redis.scheme == "redis" and not is_loopback(redis.hostname or "")
    if settings.history == "redis" and in_the_open:
        yield warn(
            AREA,
            "Redis is spoken to without encryption",
            "use a rediss:// URL, or keep to a closed network",
        )
    if "*" in (origin.strip() for origin in settings.cors_origins.split(",")):
        yield warn(
            AREA,
            "QUINTET_CORS_ORIGINS is *: every site's pages may report events",
            "name the storefront's origins",
        )


def _kafka_login(settings: Settings, _: Scopes) -> Iterator[Finding]:
    with_login = settings.kafka_security_protocol.startswith("SASL")
    complete = settings.kafka_sasl_username and settings.kafka_sasl_password
    if settings.streams == "kafka" and with_login and not complete:
        yield fail(
            AREA,
            f"{settings.kafka_security_protocol} needs a user and a password",
            "set QUINTET_KAFKA_SASL_USERNAME and QUINTET_KAFKA_SASL_PASSWORD",
        )
    ca_file = settings.kafka_ca_file
    if settings.streams == "kafka" and ca_file is not None and not ca_file.is_file():
        yield fail(AREA, f"{ca_file} is no file", "correct QUINTET_KAFKA_CA_FILE")


def _experiment(settings: Settings, _: Scopes) -> Iterator[Finding]:
    if settings.control_share == 0:
        yield warn(
            AREA,
            "QUINTET_CONTROL_SHARE is 0: nobody can tell what learning earns",
            "give the control arm a share, .1 for example",
        )
    if settings.control_share == 1:
        yield fail(
            AREA,
            "QUINTET_CONTROL_SHARE is 1: nothing is ever learned",
            "give the control arm a share below 1, .1 for example",
        )


def _times(settings: Settings, _: Scopes) -> Iterator[Finding]:
    horizon = settings.attribution_window_seconds + settings.lateness_seconds
    if settings.retention_days * _DAY_SECONDS < horizon:
        yield fail(
            AREA,
            f"the log is kept for {settings.retention_days:g} days, but a banner can earn for"
            f" {horizon / _DAY_SECONDS:.2f}",
            "raise QUINTET_RETENTION_DAYS, or lower QUINTET_ATTRIBUTION_WINDOW_SECONDS",
        )
    if settings.settlement_seconds > settings.attribution_window_seconds:
        yield fail(
            AREA,
            "a banner settles only when its attribution window is over",
            "set QUINTET_SETTLEMENT_SECONDS below QUINTET_ATTRIBUTION_WINDOW_SECONDS",
        )
    same = settings.port == settings.console_port != 0
    if same:
        yield fail(
            AREA,
            f"service and console share port {settings.port}",
            "choose another QUINTET_CONSOLE_PORT",
        )
