"""wrk (https://github.com/wg/wrk): one burst of requests over many connections, and what came back.

wrk is written in C and never the slower side: one of its threads makes several times the load that
the fastest endpoint here answers.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import psutil

from load.errors import AnswersRefused, ProcessFailed
from load.processes import pinned, tool

CONNECTIONS: Final = 64
_SCRIPT: Final = Path(__file__).with_name("requests.lua")
_PATIENCE_SECONDS: Final = 30.0


class Counted(msgspec.Struct, frozen=True):
    """What `requests.lua` says at the end."""

    requests: int
    microseconds: int
    refused: int
    broken: int
    p50_us: float
    p99_us: float


@dataclass(frozen=True, slots=True)
class Target:
    """What a burst asks.

    Attributes:
        name: of the contestant.
        url: up to the port.
        method: GET or POST.
        path: of the endpoint.
        shoppers: the bodies name one of so many,
        products: and one of so many as viewed.
        process: the server, whose CPU time is measured.
    """

    name: str
    url: str
    method: str
    path: str
    shoppers: int
    products: int
    process: psutil.Process


@dataclass(frozen=True, slots=True)
class Burst:
    """What one burst measured.

    Attributes:
        requests: answered.
        per_second: answered a second.
        cpu_us: microseconds of the server's CPU time per request, all its threads.
        p50_us, p99_us: latency in microseconds, as the client sees it with all connections busy.
    """

    requests: int
    per_second: float
    cpu_us: float
    p50_us: float
    p99_us: float


def read_counted(output: str) -> Counted:
    r"""Return the line that `requests.lua` prints.

    Raises:
        ProcessFailed: it is not there.

    Example:
        >>> read_counted('Running...\n{"requests":9,"microseconds":5,"refused":0,"broken":0,'
        ...              '"p50_us":1,"p99_us":2}\n').requests
        9
    """
    lines = [line for line in output.splitlines() if line.startswith('{"requests"')]
    if not lines:
        raise ProcessFailed(f"wrk said nothing that can be read:\n{output[-500:]}")
    return msgspec.json.decode(lines[-1], type=Counted)


def burst(
    target: Target, *, seconds: float, seed: int, core: int | None, connections: int = CONNECTIONS
) -> Burst:
    """Send requests for some seconds and return what was measured.

    Raises:
        ToolMissing: wrk is not installed.
        ProcessFailed: wrk failed.
        AnswersRefused: an answer was not a 2xx.
    """
    command = [
        tool("wrk", "wrk"), "--threads", "1", "--connections", str(connections),
        "--duration", f"{max(1, round(seconds))}s", "--timeout", "5s", "--latency",
        "--script", str(_SCRIPT), target.url, "--",
        target.method, target.path, str(target.shoppers), str(target.products), str(seed),
    ]  # fmt: skip
    before = cpu_seconds(target.process)
    done = subprocess.run(  # noqa: S603 - our own command
        pinned(command, core), capture_output=True, text=True, check=False,
        timeout=seconds + _PATIENCE_SECONDS,
    )  # fmt: skip
    spent = cpu_seconds(target.process) - before
    if done.returncode != 0:
        raise ProcessFailed(f"wrk failed: {(done.stderr or done.stdout)[-500:]}")
    counted = read_counted(done.stdout)
    if counted.refused or counted.broken or not counted.requests:
        raise AnswersRefused(
            f"{target.name}: {counted.refused} answers were no 2xx and {counted.broken} never came,"
            f" of {counted.requests}"
        )
    return Burst(
        requests=counted.requests,
        per_second=counted.requests / (counted.microseconds / 1e6),
        cpu_us=1e6 * spent / counted.requests,
        p50_us=counted.p50_us,
        p99_us=counted.p99_us,
    )


def cpu_seconds(process: psutil.Process) -> float:
    """Return the processor time a process has taken so far, all its threads."""
    times = process.cpu_times()
    return float(times.user + times.system)
