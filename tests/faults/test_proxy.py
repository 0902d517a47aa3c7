"""The proxy of the faults: what each of its moods does to a request and its reply."""

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.faults.suite.proxy import Mood, Proxy
from tests.rings import until
from tests.servers import free_ports


class Echo:
    """Answers everything with itself, and counts what it heard."""

    def __init__(self) -> None:
        self.heard = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            while chunk := connection.recv(1_000):
                self.heard += len(chunk)
                connection.sendall(chunk)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    echo = Echo()
    yield echo
    echo.close()


@pytest.mark.parametrize(
    ("mood", "heard", "reply"),
    [("pass", 4, b"ping"), ("delay", 4, b"ping"), ("cut", 4, b""), ("swallow", 4, None),
     ("stall", 0, None)],
)  # fmt: skip
def test_what_a_mood_does(echo: Echo, mood: Mood, heard: int, reply: bytes | None) -> None:
    [port] = free_ports(1)
    proxy = Proxy(port, echo.port, delay_seconds=0.1)
    proxy.mood = mood

    with socket.create_connection(("127.0.0.1", port), timeout=1.0) as client:
        client.sendall(b"ping")
        try:
            found: bytes | None = client.recv(1_000)
        except TimeoutError:
            found = None

        until(lambda: echo.heard == heard, "it is heard", seconds=5)
        assert found == reply
        assert proxy.cuts == (mood == "cut")
        proxy.mood = "pass"
        if mood == "stall":
            assert client.recv(1_000) == b"ping"
