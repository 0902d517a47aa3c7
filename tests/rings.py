"""A ring as its users run it: the command `quintet` with its child processes, and its log after."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from http import HTTPStatus
from pathlib import Path
from typing import Any

import msgspec
import psutil

from cli.settings import Settings
from cli.wiring import open_log, open_registry
from policy.registry import Registry
from schemas.codec import encode
from schemas.products import ProductUpserted
from simulator.synthetic import SyntheticWorld
from streams.port import Consumer, Log, Message, Record
from tests.policies import weights_of
from tests.servers import REPOSITORY, free_ports

_MARK = "PART_OF_RING"
"""An environment variable, by which a command and its children are known."""
PRODUCTS = 1_000
"""Of the synthetic world as the commands open it."""
PATIENCE_SECONDS = 300.0
"""Nobody waits so long but where something hangs: how fast a ring is stands in benchmarks."""
_LOOK_SECONDS = 0.02
_END_SECONDS = 30.0


def until(condition: Callable[[], object], what: str, *, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until a condition holds; fail with `what` when it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:.0f} s in vain: {what}")
        time.sleep(_LOOK_SECONDS)


class Ring:
    """One data directory, two ports, and at most one running `quintet` that uses them.

    Args:
        folder: holds the data directory and what the command says.
        settings: environment variables without `QUINTET_`.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        port, console_port = free_ports(2)
        self.folder, self.data_dir = folder, folder / "data"
        self.url, self.console_url = (f"http://127.0.0.1:{p}" for p in (port, console_port))
        given = {"data_dir": str(self.data_dir), "port": str(port), **settings}
        self._given = given | {"console_port": str(console_port)}
        self.process: subprocess.Popen[bytes] | None = None
        self._mark = secrets.token_hex(8)
        self._beside: list[subprocess.Popen[bytes]] = []

    @property
    def environment(self) -> dict[str, str]:
        """The environment of every command on this ring."""
        inherited = {name: v for name, v in os.environ.items() if not name.startswith("QUINTET_")}
        given = {f"QUINTET_{name.upper()}": value for name, value in self._given.items()}
        return inherited | given | {"PYTHONPATH": str(REPOSITORY)}

    @property
    def said(self) -> str:
        """What the running command has said."""
        return (self.folder / "said.txt").read_text(errors="replace")

    def settings(self) -> Settings:
        """Return the settings of its processes."""
        return Settings(_env_file=None, **self._given)  # type: ignore[call-arg,arg-type]

    def log(self) -> Log:
        """Return its event log; the caller closes it."""
        return open_log(self.settings(), member="test")

    def registry(self) -> Registry:
        """Return its snapshots."""
        return open_registry(self.settings())

    def copy_log(self, of: Path) -> None:
        """Begin with the log and the secret of another data directory, and nothing else of it."""
        self.data_dir.mkdir(parents=True)
        for path in [*of.glob("log.db*"), of / "secret"]:
            if path.is_file():
                shutil.copy(path, self.data_dir / path.name)

    def start(self, *arguments: str) -> None:
        """Start a command in a process group of its own."""
        self.process = self._start(arguments, {_MARK: self._mark})

    def start_beside(self, *arguments: str) -> int:
        """Start another command, which `end` kills; return its process id."""
        self._beside.append(self._start(arguments, {}))
        return self._beside[-1].pid

    def _start(
        self, arguments: Sequence[str], mark: Mapping[str, str]
    ) -> "subprocess.Popen[bytes]":
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "said.txt").open("ab") as said:
            return subprocess.Popen(
                [sys.executable, "-m", "cli.main", *arguments],
                cwd=self.folder,
                env=self.environment | mark,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another command beside it to its end."""
        return subprocess.run(
            [sys.executable, "-m", "cli.main", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def children(self) -> dict[str, psutil.Process]:
        """Return the living child processes by command: `serve`, `aggregate`, `train`, ..."""
        assert self.process is not None
        found = {}
        for child in psutil.Process(self.process.pid).children():
            try:
                line = child.cmdline()
            except psutil.Error:
                continue
            if "cli.main" in line and child.status() != psutil.STATUS_ZOMBIE:
                found[line[line.index("cli.main") + 1]] = child
        return found

    def kill(self, name: str) -> int:
        """Kill a child (`kill -9`), and return its process id."""
        until(lambda: name in self.children(), f"{name} runs")
        child = self.children()[name]
        child.send_signal(signal.SIGKILL)
        return int(child.pid)

    def restarted(self, name: str, *, killed: int, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until another process does the work of a killed one."""

        def is_another() -> bool:
            child = self.children().get(name)
            return child is not None and child.pid != killed

        until(is_another, f"{name} is restarted", seconds=seconds)

    def interrupt(self) -> None:
        """Press Ctrl-C: the whole process group gets SIGINT."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGINT)

    def wait(self, seconds: float) -> int:
        """Return the exit status of the command; fail when it does not end."""
        assert self.process is not None
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs after {seconds:.0f} s:\n{self.said}") from None

    def group(self) -> list[psutil.Process]:
        """Return every living process of the command, wherever it has gone, by its environment."""
        assert self.process is not None
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(_MARK) == self._mark and not _is_dead(process):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def get(self, path: str, *, console: bool = False) -> tuple[int, Any]:
        """Return the status and the JSON of an answer; status 0: nobody answers."""
        return ask((self.console_url if console else self.url) + path)

    def post(self, path: str, body: object) -> tuple[int, Any]:
        """Send JSON to the service; return as `get` does."""
        return ask(self.url + path, msgspec.json.encode(body))

    def is_ready(self) -> bool:
        """Whether weights are loaded and warm."""
        return self.get("/readyz")[0] == HTTPStatus.OK

    def end(self) -> None:
        """Leave nothing running."""
        for process in self._beside:
            process.kill()
            process.wait()
        if self.process is None:
            return
        for process in self.group():
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self.process.wait(_END_SECONDS)
        self.process = None


def ask(url: str, body: bytes | None = None) -> tuple[int, Any]:
    """Return the status and the JSON of an answer; status 0: nobody answers."""
    request = urllib.request.Request(  # noqa: S310 - our own processes
        url, body, {"content-type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return answer.status, msgspec.json.decode(answer.read())
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.status, dict(refused.headers) | {"body": refused.read()}
    except OSError:
        return 0, None


def _is_dead(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


class Shown:
    """Counts the banners in a log while it grows."""

    def __init__(self, log: Log) -> None:
        self._consumer: Consumer = log.consumer(["events"], group=None)
        self.count = 0

    def reach(self, banners: int) -> None:
        """Wait until so many banners are logged."""
        until(lambda: self._look() >= banners, f"{banners} banners")

    def _look(self) -> int:
        records = self._consumer.poll(max_records=5_000, timeout_seconds=0.1)
        self.count += sum(b'"type":"recommended"' in (r.value or b"") for r in records)
        return self.count

    def close(self) -> None:
        """Let go of the log."""
        self._consumer.close()


def records_of(log: Log, topic: str) -> Iterator[Record]:
    """Yield what a topic holds now, in the order of each partition."""
    ends = log.end_offsets(topic)
    left = {part for part, start in log.start_offsets(topic).items() if start < ends[part]}
    consumer = log.consumer([topic], group=None)
    try:
        while left:
            for record in consumer.poll(max_records=5_000, timeout_seconds=5.0):
                if record.offset < ends[record.partition]:
                    yield record
                if record.offset + 1 >= ends[record.partition]:
                    left.discard(record.partition)
    finally:
        consumer.close()


def read_report(path: Path) -> Mapping[str, Any]:
    """Return a report as written by `quintet demo --report`."""
    report: Mapping[str, Any] = msgspec.json.decode(path.read_bytes())
    return report


def demo(*, banners: int, report: Path, rate: float = 150.0) -> Sequence[str]:
    """Return the command line of a synthetic demo that ends by itself."""
    return [
        "demo", "--world", "synthetic", "--headless", "--banners", str(banners),
        "--rate", str(rate), "--report", str(report), "--seed", "7",
    ]  # fmt: skip


def open_shop(ring: Ring) -> None:
    """Put a ring's catalogue in place and a foundation of random weights live: nothing is trained.

    The products are those of the synthetic world, so `quintet simulate` finds its shop.
    """
    products = SyntheticWorld(products=PRODUCTS, seed=0).products
    with closing(ring.log()) as log:
        log.append(
            "products",
            [Message(p.product_id.encode(), encode(ProductUpserted(product=p))) for p in products],
        )
    registry = ring.registry()
    weights = weights_of(PRODUCTS, seed=1)
    registry.publish_foundation(weights, catalogue_version=PRODUCTS)
    registry.promote(1, reason="the foundation")
