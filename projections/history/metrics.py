"""What the two sides of the history tell Prometheus: who reads it and who keeps it."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class HistoryReadMetrics:
    """A reader's metrics, one object per serving process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.failures = Counter(
            "service_history_failures_total",
            "Reads of histories that the store did not answer.",
            registry=registry,
        )
        self.breaker = Gauge(
            "service_history_breaker_state",
            "1: the store failed again and again and is left alone for a moment; else 0.",
            registry=registry,
        )


class HistoryMetrics:
    """The projector's metrics, one object per process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.records = Counter(
            "aggregate_history_records_total", "Records of the log taken in.", registry=registry
        )
        self.unreadable = Counter(
            "aggregate_history_unreadable_records_total",
            "Records skipped because they could not be read.",
            registry=registry,
        )
        self.applied_timestamp = Gauge(
            "aggregate_history_applied_timestamp_seconds",
            "Append time of the newest record that is in the history.",
            registry=registry,
        )
        self.failures = Counter(
            "aggregate_history_failures_total",
            "Times the projector had to wait, by what was away.",
            ["away"],
            registry=registry,
        )
        for away in ("store", "log"):
            self.failures.labels(away)
        self.rebuilds = Counter(
            "aggregate_history_rebuilds_total",
            "Partitions read from the start: the first time, or because the store had lost them.",
            registry=registry,
        )
        self.expired = Counter(
            "aggregate_history_expired_shoppers_total",
            "Shoppers forgotten because their newest purchase was too old.",
            registry=registry,
        )
