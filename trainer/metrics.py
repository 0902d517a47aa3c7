"""The trainer's metrics."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from trainer.health import HEALTH


class TrainerMetrics:
    """The trainer's metrics in one registry.

    Outcomes of `train_records_total`: trained; untrainable (control, fallback, `learn: false`);
    duplicate (dropped); unreadable (to `events.dead`). Of `train_batches_total`: promoted; held
    (published, not promoted); refused (not finite, nothing was learned).

    Args:
        registry: where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.records = Counter(
            "train_records_total",
            "Reward records by what became of them",
            ["outcome"],
            registry=registry,
        )
        self.stale = Counter(
            "train_stale_records_total",
            "Trained records drawn by a version far behind (their weight stays capped)",
            registry=registry,
        )
        self.staleness = Histogram(
            "train_staleness_versions",
            "Versions between the one that drew a trained banner and the one being updated",
            buckets=(0, 1, 2, 5, 10, 20, 50, 100, 500),
            registry=registry,
        )
        self.lag = Gauge(
            "train_lag_records", "Rewards that are not learned from yet", registry=registry
        )
        self.batches = Counter(
            "train_batches_total",
            "Batches by what became of them",
            ["outcome"],
            registry=registry,
        )
        self.update_seconds = Histogram(
            "train_update_seconds",
            "Time from closing a batch to its checkpoint",
            buckets=(0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0),
            registry=registry,
        )
        self.published_timestamp = Gauge(
            "train_published_timestamp_seconds",
            "When a version was last published; 0: not since the process started",
            registry=registry,
        )
        self.version = Gauge("train_policy_version", "Version last published", registry=registry)
        self.offset = Gauge(
            "train_rewards_offset",
            "Next record of topic rewards to be learned from",
            registry=registry,
        )
        for outcome in ("trained", "untrainable", "duplicate", "unreadable"):
            self.records.labels(outcome)
        for outcome in ("promoted", "held", "refused"):
            self.batches.labels(outcome)
        self._health = {
            name: Gauge(f"train_health_{name}", meaning, registry=registry)
            for name, meaning in HEALTH.items()
        }

    def show(self, health: Mapping[str, float]) -> None:
        """Set the gauges of an update's health."""
        for name, value in health.items():
            self._health[name].set(value)
