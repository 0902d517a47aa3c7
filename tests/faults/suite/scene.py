"""One ring with shoppers, what is done to it, and when."""

import os
import signal
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from random import Random

import psutil
from prometheus_client.parser import text_string_to_metric_families

from cli.process_file import found
from simulator.synthetic import SyntheticWorld
from streams.errors import LogError
from streams.port import Log, Record
from tests.faults.suite.finding import Finding, p99_ms
from tests.faults.suite.ledger import Ledger
from tests.faults.suite.load import Answer, Habits, Load
from tests.faults.suite.proxy import Proxy
from tests.rings import PRODUCTS, Ring, open_shop, records_of, until
from tests.servers import REPOSITORY, KafkaBroker, RedisServer

RECOVERY_SECONDS = 15.0
"""Held of the long form alone: the short one is played beside other tests."""
_GIVEN_UP_SECONDS = 240.0
_READY_SECONDS = 300.0
_MEMORY_BYTES = 256 * 1024 * 1024
_KEPT_BYTES = 2_500
"""That an aggregator keeps of a crowd's banner for its window: 2,060 were measured."""
_HARM = REPOSITORY / "tests" / "faults" / "suite" / "harm"
SETTINGS = {
    "batch_banners": "32", "control_share": "0.1", "settlement_seconds": "1",
    "attribution_window_seconds": "3600", "seed": "1",
}  # fmt: skip


class HarmedRing(Ring):
    """A ring whose processes obey orders (`harm/sitecustomize.py`)."""

    @property
    def orders(self) -> Path:
        """The folder of the orders."""
        return self.folder / "harm"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of every command on this ring."""
        paths = {"PYTHONPATH": f"{_HARM}{os.pathsep}{REPOSITORY}", "OMP_NUM_THREADS": "1"}
        return super().environment | {"QUINTET_HARM": str(self.orders)} | paths


class Scene:
    """A ring, its shoppers, and the finding that is being made.

    Attributes:
        rng: decides everything that the fault leaves open.
        long: False: a short form of the fault is enough.
        calm_seconds: so long is watched in peace what the fault is compared with.
        broker, redis, proxy: what the ring stands on, where it does.
        struck_at, healed_at: seconds of the monotonic clock.
        kills: when a server was killed: it may lose the banners of its last moments.
        aggregators_beside: the process ids of those beside the ring's own.
    """

    def __init__(
        self, folder: Path, finding: Finding, *, rate: float, habits: Habits, calm_seconds: float,
        settings: dict[str, str], broker: KafkaBroker | None = None,
        redis: RedisServer | None = None, proxy: Proxy | None = None,
    ) -> None:  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.finding, self.long = folder, finding, finding.long
        self.calm_seconds = calm_seconds
        self.broker, self.redis, self.proxy = broker, redis, proxy
        self.rng = Random(f"{finding.fault}-{finding.seed}")  # noqa: S311 - not for secrets
        self.ring = HarmedRing(folder / "ring", **(SETTINGS | settings))
        self.ring.orders.mkdir(parents=True)
        self.ledger = Ledger(folder / "ledger.jsonl")
        products = SyntheticWorld(products=PRODUCTS, seed=0).products
        known = frozenset(product.product_id for product in products)
        self.load = Load(self.ring.url, self.ledger, known, finding.seed, rate=rate, habits=habits)
        self.struck_at = self.healed_at = 0.0
        self.kills: list[float] = []
        self.first: dict[str, int] = {}
        self.aggregators_beside: list[int] = []
        self.crowd_banners = 0
        self._most_bytes: dict[str, int] = {}
        self._calm_bytes: dict[str, int] = {}
        self._watching = threading.Event()
        self._probes = 0

    def open(self) -> None:
        """Put the catalogue and a foundation in place."""
        open_shop(self.ring)

    def start(self) -> None:
        """Start the ring and wait until it answers."""
        self.ring.start("run")
        until(self.ring.is_ready, "the service is ready", seconds=_READY_SECONDS)

    def shoppers(self) -> None:
        """Let shoppers come until the ring has learned from them; then all is as it should be."""
        self.load.start()
        since = self.newest()
        until(lambda: self.newest() > since + 1, "policies are learned", seconds=_READY_SECONDS)
        self.first = {name: child.pid for name, child in self.ring.children().items()}
        threading.Thread(target=self._watch_memory, daemon=True).start()

    def calm(self) -> None:
        """Let some time pass in peace; the latencies of this time are the calm ones."""
        started = time.monotonic()
        time.sleep(self.calm_seconds)
        self.finding.calm_p99_ms = p99_ms(self.latencies(started))
        self._calm_bytes = dict(self._most_bytes)

    def strike(self) -> None:
        """Note that the fault begins."""
        self.struck_at = time.monotonic()

    def heal(self) -> None:
        """Note that the fault is over: from here on nobody helps."""
        self.healed_at = time.monotonic()

    def recover(self, *, learns: bool = True) -> None:
        """Wait until a shopper's click is rewarded again and a newer version is there."""
        since = self.newest()
        waits = {"a click that is rewarded": False, "a newer version": not learns}
        waiting: set[str] = set()
        while not all(waits.values()) and time.monotonic() < self.healed_at + _GIVEN_UP_SECONDS:
            if not waits["a click that is rewarded"]:
                self._probes += 1
                banner = self.load.visit(f"probe-{self._probes}")
                waiting |= {banner} if banner else set()
                waits["a click that is rewarded"] = self._is_rewarded(waiting)
            waits["a newer version"] = waits["a newer version"] or self.newest() > since
            time.sleep(0.1)
        spent = time.monotonic() - self.healed_at
        if not all(waits.values()):
            missing = " and ".join(what for what, came in waits.items() if not came)
            self.finding.check(False, f"waited {_GIVEN_UP_SECONDS:.0f} s in vain for {missing}")
            return
        self.finding.recovery_seconds = spent
        self.finding.check(
            spent <= RECOVERY_SECONDS or not self.long,
            f"recovered after {spent:.1f} s, not {RECOVERY_SECONDS:.0f}",
        )
        # Answers before the recovery and a little after: a fault of a moment has its latencies too.
        time.sleep(max(0.0, 2.0 - spent))
        now = p99_ms(self.latencies(self.struck_at))
        if now is not None:  # of a fault in several phases the worst one stands
            self.finding.p99_ms = max(now, self.finding.p99_ms or 0.0)

    def _is_rewarded(self, banners: set[str]) -> bool:
        """Whether one of some banners has a reward; False while the log cannot be read."""
        with suppress(LogError), closing(self.ring.log()) as log:
            values = (record.value or b"" for record in records_of(log, "rewards"))
            return any(any(banner.encode() in value for banner in banners) for value in values)
        return False

    def latencies(self, since: float) -> list[float]:
        """Return how long the answers to requests sent since a time took."""
        return [each.seconds for each in self.answered_since(since)]

    def answered_since(self, since: float) -> list[Answer]:
        """Return the answers to requests sent since a time."""
        return [each for each in list(self.load.answers) if each.sent_at >= since]

    def newest(self) -> int:
        """Return the newest version that was published."""
        names = (self.ring.data_dir / "registry" / "snapshots").glob("[0-9]*")
        return max((int(path.name) for path in names), default=0)

    def order(self, name: str, content: str = "") -> None:
        """Give an order to the ring's processes (see `harm/sitecustomize.py`)."""
        beside = self.ring.orders / f".{name}"
        beside.write_text(content)
        beside.rename(self.ring.orders / name)

    def obeyed(self, name: str, *, seconds: float = 30.0) -> None:
        """Wait until an order to die was carried out."""
        until(lambda: not (self.ring.orders / name).exists(), f"{name} was passed", seconds=seconds)

    def stopped(self, name: str, point: str) -> psutil.Process:
        """Have a child stop itself (SIGSTOP) at a crash point, and return it once it has.

        There it holds no lock that others would wait for.
        """
        child = self.ring.children()[name]
        self.order(f"{name}.{point}", f"stop {child.pid}")
        until(lambda: child.status() == psutil.STATUS_STOPPED, f"{name} stops itself")
        return child

    def kill(self, process: psutil.Process) -> None:
        """Kill a process on the spot, unless it has just died."""
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)

    def metrics(self, process: str) -> "Counter[tuple[str, str]]":
        """Return what a child counts, by name and the value of a label (or "")."""
        if process == "serve":
            return _counted(self.ring.url)
        return self.metrics_of(self.ring.children()[process].pid)

    def metrics_of(self, pid: int) -> "Counter[tuple[str, str]]":
        """Return what a process counts that has a port for its metrics alone."""
        told = found(self.ring.data_dir / "processes").values()
        urls = [each.url for each in told if each.pid == pid]
        assert urls, f"process {pid} has not written down where its metrics are"
        return _counted(urls[0])

    def unchanged(self, name: str) -> bool:
        """Whether a child is the one that was there before the fault."""
        child = self.ring.children().get(name)
        return child is not None and child.pid == self.first.get(name)

    def _watch_memory(self) -> None:
        while not self._watching.wait(0.5):
            with suppress(psutil.Error, AssertionError):
                for name, child in self.ring.children().items():
                    # Of several serving workers the largest, whichever of them lives.
                    tree = [child, *child.children(recursive=True)]
                    used = max(each.memory_info().rss for each in tree)
                    self._most_bytes[name] = max(used, self._most_bytes.get(name, 0))

    def check_memory(self) -> None:
        """No process may have grown far beyond what it was in calm times."""
        for name, calm in self._calm_bytes.items():
            grown = self._most_bytes[name] - calm
            kept = self.crowd_banners * _KEPT_BYTES if name == "aggregate" else 0
            self.finding.check(
                grown <= max(calm, _MEMORY_BYTES, kept), f"{name} grew by {grown >> 20} MiB"
            )

    def end(self) -> None:
        """Leave nothing running."""
        self._watching.set()
        self.load.leave()
        self.ring.end()
        self.ledger.close()


def _counted(url: str) -> "Counter[tuple[str, str]]":
    with urllib.request.urlopen(url + "/metrics", timeout=10) as answer:  # noqa: S310
        families = list(text_string_to_metric_families(answer.read().decode()))
    counted: Counter[tuple[str, str]] = Counter()
    for family in families:
        for sample in family.samples:
            for value in sample.labels.values() or ("",):
                counted[sample.name, value] += sample.value
    return counted


class Tail:
    """What a topic got since the last look."""

    def __init__(self, log: Log, topic: str) -> None:
        self._consumer = log.consumer([topic], group=None)
        self.count = 0

    def new(self) -> list[Record]:
        """Return the records that were not returned before."""
        found: list[Record] = []
        while records := self._consumer.poll(max_records=5_000, timeout_seconds=0.1):
            found += records
        self.count += len(found)
        return found

    def __enter__(self) -> "Tail":
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()


def in_log(ring: Ring, *topics: str) -> list[list[Record]]:
    """Return what topics hold now."""
    with closing(ring.log()) as log:
        return [list(records_of(log, topic)) for topic in topics]


def stable(look: Callable[[], object], *, seconds: float, patience: float, what: str) -> None:
    """Wait until something has not changed for some seconds."""
    last, since, deadline = look(), time.monotonic(), time.monotonic() + patience
    while time.monotonic() - since < seconds:
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {patience:.0f} s in vain: {what} comes to rest")
        time.sleep(0.2)
        now = look()
        if now != last:
            last, since = now, time.monotonic()
