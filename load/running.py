"""A whole ring on a filled data directory, with keys: what `make load` plays on."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final

import psutil

from load.errors import ProcessFailed
from load.installation import SECRET
from load.processes import free_port

BROWSER_KEY: Final = "a-browser-of-the-load"
SERVER_KEY: Final = "a-server-of-the-load"
_READY_SECONDS: Final = 180.0
_STOP_SECONDS: Final = 20.0
_LOOK_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Ring:
    """A running ring.

    Attributes:
        url: of its service.
        process: `quintet run`; None: it was started by somebody else.
    """

    url: str
    process: psutil.Process | None

    def memory(self) -> dict[str, float]:
        """Return the resident megabytes of each process by command: `serve`, `train`, ..."""
        found = {}
        for child in [] if self.process is None else self.process.children():
            try:
                line = child.cmdline()
                name = line[line.index("cli.main") + 1]
                found[name] = child.memory_info().rss / 1e6
            except (psutil.Error, ValueError, IndexError):
                continue
        return found


@contextmanager
def running_ring(data_dir: Path, **settings: str) -> Iterator[Ring]:
    """Run `quintet run` on an installation until the block ends.

    Args:
        data_dir: the installation.
        settings: environment variables without `QUINTET_`, beyond those of every such ring.

    Raises:
        ProcessFailed: it did not become ready.
    """
    port, console_port = free_port(), free_port()
    url = f"http://127.0.0.1:{port}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("QUINTET_")}
    given = settings | {
        "DATA_DIR": str(data_dir), "PORT": str(port), "CONSOLE_PORT": str(console_port),
        "SECRET": SECRET.decode(),
        "API_KEYS": f"{BROWSER_KEY}:recommend+events:browser,"
        f"{SERVER_KEY}:recommend+events:server+operate",
    }  # fmt: skip
    environment = kept | {f"QUINTET_{name}": value for name, value in given.items()}
    with (data_dir / "said.txt").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "run"], env=environment, stdin=subprocess.DEVNULL,
            stdout=said, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        _await_ready(process, url, data_dir)
        yield Ring(url, psutil.Process(process.pid))
    finally:
        _end(process)


def _await_ready(process: "subprocess.Popen[bytes]", url: str, data_dir: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not is_ready(url):
        if process.poll() is not None or time.monotonic() > deadline:
            said = (data_dir / "said.txt").read_text(errors="replace")[-2_000:]
            raise ProcessFailed(f"the ring did not become ready:\n{said}")
        time.sleep(_LOOK_SECONDS)


def is_ready(url: str) -> bool:
    """Return whether a service answers and its weights are warm."""
    try:
        with urllib.request.urlopen(url + "/readyz", timeout=5.0) as answer:  # noqa: S310 - http
            return int(answer.status) == HTTPStatus.OK
    except OSError:
        return False


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is not None:  # it ended by itself, and its processes with it
        return
    everybody = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for left in everybody:
        with suppress(psutil.NoSuchProcess):
            left.kill()
