"""A Redis behind TLS, with users of its own (ACL): it works, or the error says what to set."""

import asyncio
import gc
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from prometheus_client import CollectorRegistry
from redis.backoff import NoBackoff
from redis.retry import Retry

from cli.errors import BadUsage
from cli.settings import Settings
from cli.wiring import _redis, history_reader, history_store
from projections.errors import HistoryUnavailable
from projections.history.redis import RedisHistoryReader, RedisHistoryStore, RedisSettings
from tests.contracts.histories import ANN, EVENTS, Adapter, read, value
from tests.servers import RedisServer, free_ports, require


class SecureRedis(RedisServer):
    """A Redis that speaks TLS alone, has no default user, and two others."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.port = free_ports(1)[0]
        self.ca = folder / "ca.pem"
        certify(folder)
        acl = folder / "users.acl"
        acl.write_text(
            "user default off\n"
            "user shop on >open:sesame ~{quintet:history}:*"
            " +@read +@write +@transaction +@connection\n"
            "user guest on >guest ~* +ping\n"
        )
        self._command = [
            "redis-server", "--bind", "127.0.0.1", "--port", "0", "--tls-port", str(self.port),
            "--tls-cert-file", str(folder / "server.pem"), "--tls-key-file",
            str(folder / "server.key"), "--tls-ca-cert-file", str(self.ca),
            "--tls-auth-clients", "no", "--dir", str(folder), "--save", "", "--appendonly", "no",
            "--aclfile", str(acl),
        ]  # fmt: skip

    def is_ready(self) -> bool:
        try:
            with redis.Redis(
                host="127.0.0.1", port=self.port, ssl=True, ssl_ca_certs=str(self.ca),
                username="guest", password="guest", socket_timeout=1.0, retry=Retry(NoBackoff(), 0),
            ) as client:  # fmt: skip
                return bool(client.ping())
        except redis.RedisError:
            return False

    def url_of(self, user: str, password: str, *, scheme: str = "rediss") -> str:
        return f"{scheme}://{user}:{password}@127.0.0.1:{self.port}/0"


def certify(folder: Path) -> None:
    """Make an authority, a certificate of it for 127.0.0.1, and an authority nobody asked."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=folder)

    short = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    for name in ("ca", "stranger"):
        openssl(
            "req", "-x509", *short, "-subj", f"/CN={name}",
            "-keyout", f"{name}.key", "-out", f"{name}.pem",
        )  # fmt: skip
    openssl("req", *short[:-2], "-subj", "/CN=redis", "-keyout", "server.key", "-out", "server.csr")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    openssl(
        "x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
        "-CAcreateserial", "-days", "2", "-extfile", "names", "-out", "server.pem",
    )  # fmt: skip


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureRedis]:
    require("redis-server", "openssl")
    server = SecureRedis(tmp_path_factory.mktemp("secure"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(autouse=True)
def _garbage_is_counted_against_the_test_that_made_it() -> Iterator[None]:
    yield
    gc.collect()


def settings_of(tmp_path: Path, url: str, ca: Path | None) -> Settings:
    return Settings(
        _env_file=None,  # type: ignore[call-arg]
        data_dir=tmp_path,
        history="redis",
        redis_url=url,  # type: ignore[arg-type]
        redis_ca_file=ca,
    )


def test_history_is_kept_and_read_over_tls_as_an_acl_user(
    secure: SecureRedis, tmp_path: Path
) -> None:
    settings = settings_of(tmp_path, secure.url_of("shop", "open%3Asesame"), secure.ca)
    store = history_store(settings)
    before = store.positions()
    store.apply({ANN: value([1])}, {EVENTS: 7}, since=before)
    assert store.positions() == {EVENTS: 7}

    patient = replace(_redis(settings), read_seconds=5.0)
    adapter = Adapter(lambda: store, lambda: RedisHistoryReader(patient, clock=lambda: 0))
    found = read(adapter, ANN)

    assert found != [None]
    assert store.expire(10**6) == 1
    store.clear()
    store.close()


def test_a_connection_that_is_given_up_is_closed_though_redis_hangs(secure: SecureRedis) -> None:
    assert secure.process is not None
    hanging = secure.process
    url = secure.url_of("shop", "open%3Asesame")

    async def ask() -> None:
        reader = RedisHistoryReader(
            RedisSettings(url=url, ca_file=secure.ca, read_seconds=1.0), clock=lambda: 0
        )
        await reader.read(ANN)
        hanging.send_signal(signal.SIGSTOP)
        with pytest.raises(HistoryUnavailable):
            await reader.read(ANN)
        await reader.close()

    try:
        asyncio.run(ask())
    finally:
        hanging.send_signal(signal.SIGCONT)


def refusal(url: str, ca: Path | None) -> str:
    """Return what store and reader say, which is the same."""
    settings = RedisSettings(url=url, ca_file=ca, read_seconds=2.0)
    store = RedisHistoryStore(settings)
    with pytest.raises(HistoryUnavailable) as by_store:
        store.positions()
    store.close()
    adapter = Adapter(lambda: store, lambda: RedisHistoryReader(settings, clock=lambda: 0))
    with pytest.raises(HistoryUnavailable) as by_reader:
        read(adapter, ANN)
    advice = str(by_store.value).partition(";")[2]
    assert advice
    assert str(by_reader.value).partition(";")[2] == advice
    return str(by_store.value)


def test_a_wrong_password_names_the_setting_and_not_the_password(secure: SecureRedis) -> None:
    said = refusal(secure.url_of("shop", "swordfish"), secure.ca)

    assert "check user and password in QUINTET_REDIS_URL" in said
    assert "swordfish" not in said


# asyncio leaves the socket of a handshake that failed to the garbage collector.
@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
def test_an_unknown_authority_names_the_setting(secure: SecureRedis) -> None:
    for ca in (None, secure.ca.with_name("stranger.pem")):
        said = refusal(secure.url_of("shop", "open%3Asesame"), ca)

        assert "QUINTET_REDIS_CA_FILE" in said


def test_a_user_who_may_not_read_names_the_setting(secure: SecureRedis) -> None:
    said = refusal(secure.url_of("guest", "guest"), secure.ca)

    assert "the ACL user in QUINTET_REDIS_URL needs" in said


@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
def test_a_certificate_for_another_host_says_so(secure: SecureRedis) -> None:
    url = secure.url_of("shop", "open%3Asesame").replace("127.0.0.1", "localhost")

    assert "must name the host as its certificate does" in refusal(url, secure.ca)


def test_a_ca_file_that_is_missing_or_without_use_is_refused_at_the_start(
    secure: SecureRedis, tmp_path: Path
) -> None:
    url = secure.url_of("shop", "open%3Asesame")
    with pytest.raises(BadUsage, match="QUINTET_REDIS_CA_FILE: there is no file"):
        history_reader(settings_of(tmp_path, url, tmp_path / "none.pem"), CollectorRegistry())
    plain = secure.url_of("shop", "open%3Asesame", scheme="redis")
    with pytest.raises(BadUsage, match="write rediss://"):
        history_store(settings_of(tmp_path, plain, secure.ca))
