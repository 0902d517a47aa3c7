"""What a ring looks like from outside while it is under load, once a second.

A probe asks `/livez` fifty times a second, at set times: an answer that is late by so much is how
long the service's event loop stood still, or others' requests were before it.
"""

import http.client
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from load.running import Ring

_PROBE_SECONDS: Final = 0.02
_PATIENCE_SECONDS: Final = 10.0


class Look(msgspec.Struct, frozen=True):
    """One second.

    Attributes:
        at: seconds since the watch began.
        memory_mb: resident, by process.
        stall_ms: the latest answer to a probe in this second.
        refused: requests turned away since the service began, by reason.
    """

    at: float
    memory_mb: dict[str, float]
    stall_ms: float
    refused: dict[str, float]


class Watch:
    """Looks at a ring in threads of its own, between `start` and `stop`.

    Attributes:
        looks: one a second.
        problems: why a thread ended before it was told to; empty: none did.
    """

    def __init__(self, ring: Ring) -> None:
        self.looks: list[Look] = []
        self.problems: list[str] = []
        self._ring = ring
        self._stop = threading.Event()
        self._started = time.monotonic()
        self._latest = 0.0
        self._threads = [
            threading.Thread(target=self._guarded, args=[run]) for run in (self._probe, self._look)
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def now(self) -> float:
        """Return seconds since the watch began."""
        return time.monotonic() - self._started

    def _guarded(self, run: Callable[[], None]) -> None:
        try:
            run()
        except Exception as problem:  # noqa: BLE001 - whatever it is, the report tells it
            self.problems.append(repr(problem))

    def _look(self) -> None:
        while not self._stop.wait(1.0):
            latest, self._latest = self._latest, 0.0
            refused = refusals(self._ring.url)
            self.looks.append(Look(self.now(), self._ring.memory(), 1e3 * latest, refused))

    def _probe(self) -> None:
        host = urlsplit(self._ring.url).netloc
        connection = http.client.HTTPConnection(host, timeout=_PATIENCE_SECONDS)
        due = time.monotonic()
        while not self._stop.is_set():
            due = max(due + _PROBE_SECONDS, time.monotonic() - _PATIENCE_SECONDS)
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                connection.request("GET", "/livez")
                connection.getresponse().read()
            except (OSError, http.client.HTTPException):
                connection.close()
            self._latest = max(self._latest, time.monotonic() - due)
        connection.close()


def refusals(url: str) -> dict[str, float]:
    """Return how many requests a service has turned away, by reason; empty: it does not answer.

    Raises:
        ValueError: its metrics cannot be read.
    """
    try:
        with urllib.request.urlopen(url + "/metrics", timeout=_PATIENCE_SECONDS) as answer:  # noqa: S310
            text = answer.read().decode()
    except (OSError, http.client.HTTPException):
        return {}
    counts: dict[str, float] = defaultdict(float)  # over all workers
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "service_shed_total":
                counts[sample.labels["reason"]] += sample.value
    return dict(counts)
