"""A ring under load is watched to the end, or the report says that it was not."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from prometheus_client import CollectorRegistry, Counter, generate_latest

from cli.worker_metrics import merged
from load.play import watch_goals
from load.running import Ring
from load.watching import Watch, refusals


@contextmanager
def answering(text: str) -> Iterator[Ring]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        try:
            yield Ring(f"http://127.0.0.1:{server.server_port}", None)
        finally:
            server.shutdown()
            thread.join()


def metrics(**refused: float) -> str:
    registry = CollectorRegistry()
    shed = Counter("service_shed", "Turned away.", ["reason"], registry=registry)
    for reason, count in refused.items():
        shed.labels(reason).inc(count)
    return generate_latest(registry).decode()


def test_refusals_are_those_of_all_workers():
    both = merged({"0": metrics(banners=2), "1": metrics(banners=3, events=1)})

    with answering(both) as ring:
        assert refusals(ring.url) == {"banners": 5, "events": 1}
    with answering(metrics(banners=2)) as ring:
        assert refusals(ring.url) == {"banners": 2}
    assert refusals(ring.url) == {}  # nobody answers any more


@pytest.mark.timeout(30)
def test_a_thread_that_stops_watching_is_a_missed_must():
    found = []
    for text in (metrics(banners=2), "service_shed_total{"):
        with answering(text) as ring:
            watch = Watch(ring)
            watch.start()
            time.sleep(1.5)
            watch.stop()
        found.append([goal.name for goal in watch_goals(watch, soak=True) if not goal.met])

    assert found == [[], ["threads that stopped watching the ring"]]
