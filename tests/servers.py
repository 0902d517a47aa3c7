"""The genuine Kafka broker and Redis for tests: on free ports, in temporary folders, ended after.

Where a part is missing on a laptop the test is skipped and says what to install; where `CI` is set
it fails.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

REPOSITORY = Path(__file__).resolve().parent.parent
_READY_SECONDS = 240.0
_STOP_SECONDS = 20.0


class Server:
    """A process that can be started, stopped, killed and started again on the same port."""

    def __init__(self, command: list[str], folder: Path, *, environment: dict[str, str]) -> None:
        self._command = command
        self._folder = folder
        self._environment = environment
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def output(self) -> Path:
        """What the process has said."""
        return self._folder / "output.log"

    def start(self) -> None:
        """Start and wait until it answers."""
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                self._command,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=os.environ | self._environment,
                start_new_session=True,
            )
        deadline = time.monotonic() + _READY_SECONDS
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                pytest.fail(f"{self._command[0]} did not start:\n{self.output.read_text()[-2000:]}")
            time.sleep(0.05)

    def is_ready(self) -> bool:
        """Whether it answers."""
        raise NotImplementedError

    def stop(self) -> None:
        """Ask it to end, and kill it when it does not."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self.process = None

    def kill(self) -> None:
        """Kill it on the spot (`kill -9`)."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


class KafkaBroker(Server):
    """One genuine broker; with `secured` a second port demands TLS and a password."""

    def __init__(self, folder: Path, *, secured: bool = False) -> None:
        port, controller, secured_port = free_ports(3)
        self.bootstrap_servers = f"127.0.0.1:{port}"
        self.secured_servers = f"127.0.0.1:{secured_port}"
        self.tls = folder / "data" / "tls"
        super().__init__(
            [str(REPOSITORY / "deploy" / "kafka.sh"), "run", str(folder / "data"), str(port)],
            folder,
            environment={"CONTROLLER_PORT": str(controller)}
            | ({"SASL_SSL_PORT": str(secured_port)} if secured else {}),
        )

    def advertise(self, port: int) -> str:
        """Have clients come through another port, a proxy's; call it before `start`.

        Returns:
            The bootstrap servers for clients.
        """
        self._environment["ADVERTISED_PORT"] = str(port)
        return f"127.0.0.1:{port}"

    def is_ready(self) -> bool:
        return b"Kafka Server started" in self.output.read_bytes()


class RedisServer(Server):
    """One Redis that keeps nothing on disk."""

    def __init__(self, folder: Path) -> None:
        self.port = free_ports(1)[0]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(self.port)]
        command += ["--dir", str(folder), "--save", "", "--appendonly", "no"]
        super().__init__(command, folder, environment={})

    def is_ready(self) -> bool:
        try:
            with redis.Redis(port=self.port, socket_timeout=1.0) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


def free_ports(count: int) -> list[int]:
    """Return ports nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def require(*commands: str) -> None:
    """Skip the test, or fail it in CI, where a command is not installed."""
    missing = [command for command in commands if shutil.which(command) is None]
    if not missing:
        return
    reason = f"not installed: {', '.join(missing)}; run deploy/setup-system.sh"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """A running Kafka broker all tests share: use a topic prefix of your own, and let it live."""
    broker = new_kafka_broker(tmp_path_factory.mktemp("kafka"))
    broker.start()
    yield broker
    broker.stop()


def new_kafka_broker(folder: Path, *, secured: bool = False) -> KafkaBroker:
    """Return a broker of one's own, not started; the jars are fetched when they are missing."""
    require("java", *(["openssl"] if secured else []))
    if not (REPOSITORY / ".cache" / "kafka" / "libs").exists():
        require("mvn")
    subprocess.run([str(REPOSITORY / "deploy" / "kafka.sh"), "fetch"], check=True)
    return KafkaBroker(folder, secured=secured)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A running Redis all tests share: flush it first or use a key prefix, and let it live."""
    require("redis-server")
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()
