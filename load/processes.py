"""Processes that the benchmark starts: on a core of their own, ended with it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from load.errors import ProcessFailed, ToolMissing
from load.readiness import Ports, announced

_READY_SECONDS: Final = 180.0
_STOP_SECONDS: Final = 20.0
_LOOK_SECONDS: Final = 0.05
_TAIL: Final = 2_000


@dataclass(frozen=True, slots=True)
class Cores:
    """Which core is measured and which one makes the load; None: there is only one.

    Attributes:
        server: of the measured processes.
        load: of wrk and Redis.
    """

    server: int | None
    load: int | None

    @classmethod
    def choose(cls) -> "Cores":
        """Return two of the cores this process may use."""
        usable = sorted(os.sched_getaffinity(0))
        if len(usable) < 2 or shutil.which("taskset") is None:
            return cls(None, None)
        return cls(usable[0], usable[1])


def pinned(command: Sequence[str], core: int | None) -> list[str]:
    """Return the command that runs `command` on a core."""
    return list(command) if core is None else ["taskset", "-c", str(core), *command]


def tool(name: str, package: str) -> str:
    """Return the path of an installed program.

    Raises:
        ToolMissing: it is not installed.
    """
    found = shutil.which(name)
    if found is None:
        raise ToolMissing(f"{name} is not installed: apt-get install {package}")
    return found


@contextmanager
def started(
    command: Sequence[str], folder: Path, name: str, core: int | None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process until the block ends; what it says goes to `folder/name.log`."""
    with (folder / f"{name}.log").open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own command
            pinned(command, core), stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def serving(
    module: str, arguments: Sequence[str], folder: Path, name: str, core: int | None
) -> Iterator[tuple[psutil.Process, Ports]]:
    """Run one of this package's servers; yield the process and its ports once it is ready.

    Raises:
        ProcessFailed: it ended, or was not ready in time.
    """
    command = [sys.executable, "-m", module, *arguments]
    with started(command, folder, name, core) as process:
        yield psutil.Process(process.pid), _ready(process, folder, name)


def _ready(process: subprocess.Popen[bytes], folder: Path, name: str) -> Ports:
    deadline = time.monotonic() + _READY_SECONDS
    while (ports := announced(folder, name)) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            said = (folder / f"{name}.log").read_text(errors="replace")[-_TAIL:]
            raise ProcessFailed(f"{name} did not become ready:\n{said}")
        time.sleep(_LOOK_SECONDS)
    return ports


@contextmanager
def redis_server(folder: Path, core: int | None) -> Iterator[str]:
    """Run Redis, kept in memory alone; yield its URL.

    Raises:
        ToolMissing: Redis is not installed.
        ProcessFailed: it did not come up.
    """
    port = free_port()
    command = [
        tool("redis-server", "redis-server"), "--port", str(port), "--bind", "127.0.0.1",
        "--save", "", "--appendonly", "no", "--dir", str(folder),
    ]  # fmt: skip
    with started(command, folder, "redis", core) as process:
        deadline = time.monotonic() + _READY_SECONDS
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise ProcessFailed(f"redis-server did not start: see {folder / 'redis.log'}")
            time.sleep(_LOOK_SECONDS)
        yield f"redis://127.0.0.1:{port}/0"


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
