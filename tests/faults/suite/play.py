"""Playing one fault: servers, ring, shoppers, the fault, the finding."""

import shutil
import time
import traceback
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.suite.beside import BESIDE
from tests.faults.suite.catalogue import FAULTS, Fault
from tests.faults.suite.finding import Finding
from tests.faults.suite.proxy import Proxy
from tests.faults.suite.scene import Scene
from tests.servers import KafkaBroker, RedisServer, free_ports, new_kafka_broker

_CALM_SECONDS = 4.0
_MEASURED_SECONDS = 20.0
"""The calm before a fault whose p99 is bounded: of fewer answers it would say little."""
_NOTICEABLE_MS = 20.0
"""Below, a p99 says how two busy cores schedule, and no factor of it is held against anybody."""


def play(name: str, *, seed: int, folder: Path, long: bool) -> Finding:
    """Return what a fault came to; whatever goes wrong makes it red.

    Args:
        name: of the catalogue.
        seed: decides shoppers and moments.
        folder: for everything that is written; it is kept when the finding is red.
        long: False: a short form, for every test run.
    """
    finding = Finding(fault=name, seed=seed, long=long)
    started = time.monotonic()
    with ExitStack() as stack:
        try:
            if name in BESIDE:
                BESIDE[name].play(finding, folder, long)
                return finding
            fault = FAULTS[name]
            missing = missing_parts(fault)
            if missing:
                finding.skipped = f"not installed: {', '.join(missing)}"
                return finding
            scene = _scene(fault, finding, folder, stack)
            if fault.begins:
                scene.open()
                scene.start()
                scene.shoppers()
                scene.calm()
            fault.play(scene)
            _check_p99(fault, finding)
        except NotPlayed as reason:
            finding.skipped = str(reason)
        except pytest.skip.Exception as reason:
            finding.skipped = str(reason)
        except BaseException as problem:
            finding.wrong.append(f"{type(problem).__name__}: {problem}"[:500])
            (folder / "traceback.txt").write_text(traceback.format_exc())
            if not isinstance(problem, Exception | pytest.fail.Exception):
                raise
        finally:
            finding.seconds = time.monotonic() - started
    return finding


class NotPlayed(Exception):
    """The fault cannot be made on this machine; the text says why."""


def missing_parts(fault: Fault) -> list[str]:
    """Return the programs that a fault needs and this machine lacks."""
    needed = ["java"] * fault.kafka + ["redis-server"] * fault.redis
    return [program for program in needed if shutil.which(program) is None]


def _scene(fault: Fault, finding: Finding, folder: Path, stack: ExitStack) -> Scene:
    settings = dict(fault.settings)
    broker: KafkaBroker | None = None
    redis: RedisServer | None = None
    proxy: Proxy | None = None
    if fault.kafka:
        (folder / "kafka").mkdir(parents=True)
        broker = new_kafka_broker(folder / "kafka")
        servers = broker.bootstrap_servers
        if fault.proxied:
            [port] = free_ports(1)
            proxy = Proxy(port, int(servers.rpartition(":")[2]))
            servers = broker.advertise(port)
        stack.callback(broker.kill)
        broker.start()
        settings |= {"streams": "kafka", "kafka_bootstrap_servers": servers}
    if fault.redis:
        (folder / "redis").mkdir(parents=True)
        redis = RedisServer(folder / "redis")
        stack.callback(redis.kill)
        redis.start()
        settings |= {"history": "redis", "redis_url": redis.url}
    scene = Scene(
        folder, finding, rate=fault.rate, habits=fault.habits, settings=settings,
        calm_seconds=_MEASURED_SECONDS if fault.p99 and finding.long else _CALM_SECONDS,
        broker=broker, redis=redis, proxy=proxy,
    )  # fmt: skip
    stack.callback(scene.end)
    return scene


def _check_p99(fault: Fault, finding: Finding) -> None:
    if fault.p99 is None or finding.p99_ms is None or finding.calm_p99_ms is None:
        return
    most = max(_NOTICEABLE_MS, fault.p99 * finding.calm_p99_ms)
    finding.check_time(
        finding.p99_ms <= most, f"p99 {finding.p99_ms:.0f} ms, not {most:.0f} ms at most"
    )
