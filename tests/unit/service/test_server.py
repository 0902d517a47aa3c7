"""The real server in a process of its own: it answers, ends on SIGTERM with nothing lost."""

import gc
import http.client
import json
import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.server import settle_heap
from streams.local import LocalLog

ROOT = Path(__file__).parents[3]
SERVE = """
import sys, time
from pathlib import Path
import numpy as np
from prometheus_client import CollectorRegistry
from policy.registry import Registry
from projections.history.sqlite import SqliteHistoryReader
from service.server import listening, serve
from service.wiring import ServiceSettings, build
from streams.local import LocalLog

folder = Path(sys.argv[1])
clock = lambda: time.time_ns() // 1_000_000
log = LocalLog(folder / "log.sqlite", clock=clock)
service = build(
    ServiceSettings(secret=b"s"), log, Registry(folder / "registry", clock=clock),
    SqliteHistoryReader(folder / "history.sqlite"), clock=clock, rng=np.random.default_rng(0),
    metrics_registry=CollectorRegistry(),
)
listener = listening("127.0.0.1", 0)
sys.stdout.write(f"{listener.getsockname()[1]}\\n")
sys.stdout.flush()
serve(service.app, listener)
assert "torch" not in sys.modules
log.close()
"""


@pytest.fixture
def server(tmp_path):
    running = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    try:
        yield running, int(running.stdout.readline()), tmp_path
    finally:
        running.kill()
        running.communicate()


def ask(port: int, method: str, path: str, body: object = None) -> tuple[int, object]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(
        method,
        path,
        None if body is None else json.dumps(body),
        {"content-type": "application/json"},
    )
    answer = connection.getresponse()
    read = answer.status, json.loads(answer.read())
    connection.close()
    return read


def test_a_server_answers_and_ends_with_nothing_lost(server):
    running, port, folder = server
    click = {
        "event_id": "e1", "type": "click", "user_id": "u1", "product_id": "p1",
        "occurred_at": "2023-11-14T22:13:20Z",
    }  # fmt: skip

    assert ask(port, "GET", "/livez") == (200, {"status": "live"})
    assert ask(port, "GET", "/readyz")[0] == 503
    assert ask(port, "PUT", "/products", [{"product_id": "p1", "title": "One"}])[0] == 202
    assert ask(port, "POST", "/events", [click])[1]["results"][0]["outcome"] == "accepted"
    assert ask(port, "POST", "/recommend", {})[0] == 200
    running.send_signal(signal.SIGTERM)
    _, errors = running.communicate(timeout=30)

    assert running.returncode in (0, -signal.SIGTERM), errors.decode()
    log = LocalLog(folder / "log.sqlite", clock=lambda: 0)
    reader = log.consumer(["events"], group=None)
    assert len(reader.poll(max_records=10, timeout_seconds=0.0)) == 2
    reader.close()
    log.close()


def test_an_oversize_body_gets_its_413_over_a_socket(server):
    _, port, _ = server
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.putrequest("POST", "/recommend")
    connection.putheader("content-type", "application/json")
    connection.putheader("content-length", str(10 * 2**20))
    connection.endheaders(b"{")

    answer = connection.getresponse()

    assert answer.status == 413
    assert answer.headers["content-type"] == "application/problem+json"
    connection.close()


def test_the_serving_process_never_imports_torch():
    script = (
        "import sys, service.app, service.wiring, service.server, service.past_purchases;"
        "sys.exit('torch' in sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )  # fmt: skip

    assert done.returncode == 0


@pytest.fixture
def heap() -> Iterator[None]:
    """The collector as it was, whatever a test did to it."""
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


@pytest.mark.usefixtures("heap")
def test_what_a_swap_leaves_in_an_exception_s_frames_is_freed_by_the_next() -> None:
    class Held:
        """Stands for a policy."""

    def poll() -> None:
        try:
            int("nothing came")
        except ValueError as problem:
            frames = [problem]  # a cycle: exception, its traceback, this frame
            assert frames

    def step() -> "weakref.ref[Held]":
        held = Held()
        settle_heap()
        poll()
        return weakref.ref(held)

    step()
    second = step()
    was_kept = second() is not None
    step()

    assert was_kept
    assert second() is None
