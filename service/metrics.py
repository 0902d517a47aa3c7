"""What the service counts: names are a promise to dashboards, ids are never labels."""

from collections.abc import Mapping
from itertools import product
from typing import Final, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from schemas.requests import EventType, Outcome

UNREADABLE: Final = "unreadable"
"""Type of an event that could not be read."""
BURIED: Final = ("tombstone", "too_large", "unreadable", "refused")
"""Why the inbox does not take something: the last is what it can read and intake refuses."""
TURNED_AWAY: Final = (
    "banners", "events", "others", "large_bodies",
    "pipelined", "slow_request", "slow_reader", "not_http",
)  # fmt: skip
"""Why a request is turned away (the first four: its lane is full) or its connection cut."""
_REQUEST_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_FRESHNESS_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)


class Metrics:
    """The service's metrics, registered with `registry`.

    Children of labels are looked up once: finding one costs more than counting. Those whose labels
    are known are there from the start, so that the first of them is an increase.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.request_seconds = Histogram(
            "service_request_seconds",
            "Time from the request's head to the answer's last byte; 499: its client had left.",
            ("route", "method", "code"),
            buckets=_REQUEST_SECONDS,
            registry=registry,
        )
        self.recommendations = Counter(
            "service_recommendations_total",
            "Banners answered, by what chose them and by arm.",
            ("source", "arm"),
            registry=registry,
        )
        self.reasons = Counter(
            "service_recommendation_reasons_total",
            "What banners had to do without.",
            ("reason",),
            registry=registry,
        )
        self.unknown_ids = Counter(
            "service_unknown_ids_total",
            "Product ids in contexts that the catalogue does not know.",
            registry=registry,
        )
        self.draw_failures = Counter(
            "service_draw_failures_total",
            "Draws that failed and were answered by a fallback.",
            registry=registry,
        )
        self.events = Counter(
            "service_events_total",
            "Events reported over HTTP and the inbox, by type and outcome.",
            ("type", "outcome"),
            registry=registry,
        )
        self.dead_letters = Counter(
            "service_dead_letters_total",
            "What the inbox did not take and put into events.dead, by reason.",
            ("reason",),
            registry=registry,
        )
        self.dropped = Counter(
            "service_recommendations_dropped_total",
            "Recommendations that never reached the log: the queue was full, they could not be"
            " written, or the service ended first.",
            registry=registry,
        )
        self.queue = Gauge(
            "service_log_queue_records",
            "Recommendations that wait to be appended to the log.",
            registry=registry,
        )
        self.append_failures = Counter(
            "service_log_append_failures_total",
            "Appends that the log did not take.",
            registry=registry,
        )
        self.spooling = Gauge(
            "service_log_spooling",
            "1: what the log should have waits on disk; else 0.",
            registry=registry,
        )
        self.spool_records = Gauge(
            "service_spool_records", "Messages that wait on disk for the log.", registry=registry
        )
        self.spool_bytes = Gauge(
            "service_spool_bytes", "What they count for against the limit.", registry=registry
        )
        self.spool_drained = Counter(
            "service_spool_drained_total",
            "Messages that went from the spool to the log.",
            registry=registry,
        )
        self.spool_dropped = Counter(
            "service_spool_dropped_total",
            "Messages dropped from the spool because the log would never take them.",
            registry=registry,
        )
        self.spool_refusals = Counter(
            "service_spool_refusals_total",
            "Appends refused because the spool, or its disk, was full.",
            registry=registry,
        )
        self.log_away = Gauge(
            "service_log_away_state",
            "1: the log did not take the last append; else 0.",
            registry=registry,
        )
        self.shed = Counter(
            "service_shed_total",
            "Requests turned away, and connections cut, before they cost anything.",
            ("reason",),
            registry=registry,
        )
        self.swaps = Counter(
            "service_swaps_total",
            "Snapshots that the live pointer named, by what became of them.",
            ("result",),
            registry=registry,
        )
        self.swap_timestamp = Gauge(
            "service_swap_timestamp_seconds",
            "When the weights that serve were swapped in; 0: none serve.",
            registry=registry,
        )
        self.policy_version = Gauge(
            "service_policy_version", "The version that serves.", registry=registry
        )
        self.products = Gauge(
            "service_catalogue_products", "Products of the catalogue.", registry=registry
        )
        self.freshness_seconds = Histogram(
            "service_freshness_seconds",
            "From an event's append to serving weights that learned from it.",
            buckets=_FRESHNESS_SECONDS,
            registry=registry,
        )
        for labels in product((*get_args(EventType), UNREADABLE), get_args(Outcome)):
            self.events.labels(*labels)
        for reason in BURIED:
            self.dead_letters.labels(reason)
        for result in ("swapped", "rejected"):
            self.swaps.labels(result)
        self._recommended: dict[tuple[str, str], Counter] = {}
        self._requests: dict[tuple[str, str, int], Histogram] = {}
        self._turned_away = {reason: self.shed.labels(reason) for reason in TURNED_AWAY}

    def drained(self, records: int) -> None:
        """Count messages that went from the spool to the log."""
        self.spool_drained.inc(records)

    def passed_over(self, records: int) -> None:
        """Count messages of the spool that the log would never take."""
        self.spool_dropped.inc(records)

    def refused(self) -> None:
        """Count an append that found neither log nor room."""
        self.spool_refusals.inc()

    def judged(self, judgements: Mapping[tuple[str, str], int]) -> None:
        """Count events by type and outcome, once what was accepted is durable."""
        for (kind, outcome), count in judgements.items():
            self.events.labels(kind, outcome).inc(count)

    def recommended(self, source: str, arm: str) -> None:
        """Count one answered banner."""
        child = self._recommended.get((source, arm))
        if child is None:
            child = self._recommended[source, arm] = self.recommendations.labels(source, arm)
        child.inc()

    def buried(self, reasons: Mapping[str, int]) -> None:
        """Count what a commit put into `events.dead`: how often, by reason (of `BURIED`)."""
        for reason, count in reasons.items():
            self.dead_letters.labels(reason).inc(count)

    def requested(self, route: str, method: str, code: int, seconds: float) -> None:
        """Count one answered request; `route` is the template, never a path."""
        child = self._requests.get((route, method, code))
        if child is None:
            child = self.request_seconds.labels(route, method, str(code))
            self._requests[route, method, code] = child
        child.observe(seconds)

    def left(self) -> None:
        """Count one request for a banner whose client left before it was looked at."""
        self.requested("/recommend", "POST", 499, 0.0)

    def turned_away(self, reason: str) -> None:
        """Count one request turned away."""
        child = self._turned_away.get(reason)
        if child is None:
            child = self._turned_away[reason] = self.shed.labels(reason)
        child.inc()
