"""A cluster that demands TLS and a password: what is wrong, and which setting, is told."""

import gc
import subprocess
import sys
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from streams.errors import LogError, LogUnavailable
from streams.kafka import KafkaLog, KafkaSettings
from streams.port import Message
from tests.contracts.logs import everything, next_offsets, poll_until
from tests.servers import REPOSITORY, KafkaBroker, new_kafka_broker

Settings = Callable[..., KafkaSettings]


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    broker = new_kafka_broker(tmp_path_factory.mktemp("secured"), secured=True)
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture(autouse=True)
def _no_records_of_failures(caplog: pytest.LogCaptureFixture) -> None:
    """Keep what kafka-python logs from holding on to the sockets it failed with."""
    caplog.set_level("CRITICAL", logger="kafka")


@pytest.fixture
def settings(secured: KafkaBroker) -> Settings:
    def make(servers: str = secured.secured_servers, **changes: object) -> KafkaSettings:
        facts = {
            "security_protocol": "SASL_SSL",
            "sasl_username": "quintet",
            "sasl_password": (secured.tls / "password").read_text().strip(),
            "ca_file": secured.tls / "ca.pem",
        }
        return KafkaSettings(servers, **(facts | changes))  # type: ignore[arg-type]

    return make


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
def test_with_the_right_password_everything_works_over_tls(
    settings: Settings, mechanism: str
) -> None:
    found = settings(sasl_mechanism=mechanism, topic_prefix=f"{mechanism}.{uuid.uuid4().hex[:8]}.")
    with closing(KafkaLog(found)) as log:
        log.ensure_topics()
        log.append("events", [Message(b"a", b"1")])
        with closing(log.consumer(["events"], group="g")) as reader:
            records = poll_until(reader, 1)
            reader.commit(next_offsets(records))

        assert [record.value for record in everything(log, "events")] == [b"1"]


def refusal(settings: KafkaSettings) -> str:
    with warnings.catch_warnings():
        # kafka-python leaves the socket of a refused connection to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        with closing(KafkaLog(settings)) as log, pytest.raises(LogUnavailable) as refused:
            log.ensure_topics()
        text = str(refused.value)
        del refused
        gc.collect()
    return text


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
def test_a_wrong_password_is_refused_by_name(settings: Settings, mechanism: str) -> None:
    wrong = settings(sasl_mechanism=mechanism, sasl_password="wrong", timeout_seconds=4.0)

    text = refusal(wrong)

    assert "QUINTET_KAFKA_SASL_PASSWORD" in text
    assert "wrong" not in text


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """A CA that signed nothing."""
    path = tmp_path / "stranger.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=a stranger", "-keyout", str(tmp_path / "key"), "-out", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    return path


def test_a_cluster_that_no_known_ca_signed_is_not_trusted(
    settings: Settings, stranger: Path
) -> None:
    assert "QUINTET_KAFKA_CA_FILE" in refusal(settings(ca_file=stranger, timeout_seconds=2.0))


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SASL_PLAINTEXT"])
def test_plain_text_to_a_port_that_demands_tls_is_named(settings: Settings, protocol: str) -> None:
    text = refusal(settings(security_protocol=protocol, timeout_seconds=2.0))

    assert f"demand TLS: look at QUINTET_KAFKA_SECURITY_PROTOCOL, which is {protocol}" in text


def test_tls_or_a_password_to_a_port_without_is_named(
    settings: Settings, secured: KafkaBroker
) -> None:
    plain = secured.bootstrap_servers
    tls = refusal(settings(plain, timeout_seconds=2.0))
    sasl = refusal(settings(plain, security_protocol="SASL_PLAINTEXT", timeout_seconds=2.0))

    assert "not to speak TLS: look at QUINTET_KAFKA_SECURITY_PROTOCOL" in tls
    assert "asks for no password: look at QUINTET_KAFKA_SECURITY_PROTOCOL" in sasl


def test_tls_without_the_password_that_is_demanded_is_told_the_setting(settings: Settings) -> None:
    text = refusal(settings(security_protocol="SSL", timeout_seconds=2.0))

    assert "QUINTET_KAFKA_SECURITY_PROTOCOL" in text


def test_what_no_cluster_could_take_is_refused_before_anything_is_asked(
    settings: Settings, tmp_path: Path
) -> None:
    with pytest.raises(LogError, match="QUINTET_KAFKA_SASL_USERNAME"):
        KafkaLog(settings(sasl_username=None))
    with pytest.raises(LogError, match=r"QUINTET_KAFKA_CA_FILE.*no file"):
        KafkaLog(settings(ca_file=tmp_path / "nowhere.pem"))


def test_a_file_that_is_no_certificate_is_named(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")

    text = refusal(settings(ca_file=tmp_path / "ca.pem", timeout_seconds=2.0))

    assert "look at QUINTET_KAFKA_CA_FILE" in text


def test_the_command_takes_the_settings_from_its_flags(secured: KafkaBroker) -> None:
    command = [sys.executable, "-m", "cli.main", "topics", "apply", "--streams", "kafka"]
    command += ["--kafka-bootstrap-servers", secured.secured_servers]
    command += ["--kafka-security-protocol", "SASL_SSL", "--kafka-sasl-username", "quintet"]
    command += ["--kafka-sasl-password", (secured.tls / "password").read_text().strip()]
    command += ["--kafka-ca-file", str(secured.tls / "ca.pem"), "--kafka-topic-prefix", "flags."]

    done = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=120
    )

    assert done.returncode == 0, done.stderr
    assert "flags.events" in done.stdout
