"""What the aggregator counts. Counters move when a commit succeeded, so they equal the table."""

from collections import Counter as Tally
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge

from rewards.settlement import PartitionRewards


class AggregatorMetrics:
    """The aggregator's metrics in one registry.

    Outcomes of `aggregate_events_total`: applied; ignored (nothing to earn: imports, carts, shadow
    ratings); duplicate (same event again); conflict (same event id, another payload: the first in
    the log won); late (after window and lateness, or after the window of the banner it names);
    unattributed (no banner known so far that it could reward); forged (another user's banner, or a
    product the banner did not show); erased (names a banner of an erased user).

    Args:
        registry: where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.events = Counter(
            "aggregate_events_total",
            "Events by what became of them",
            ["outcome"],
            registry=registry,
        )
        self.rewards = Counter(
            "aggregate_rewards_total",
            "Rewards emitted: settlements (revision 0) and corrections",
            ["kind"],
            registry=registry,
        )
        self.dead_letters = Counter(
            "aggregate_dead_letters_total",
            "Records that could not be read, by reason",
            ["reason"],
            registry=registry,
        )
        self.restarts = Counter(
            "aggregate_restarts_total",
            "Times uncommitted work was dropped and begun again (fenced, log unavailable)",
            registry=registry,
        )
        self.ticks = Counter(
            "aggregate_ticks_total", "Ticks appended to silent partitions", registry=registry
        )
        self.pending = Gauge(
            "aggregate_pending_banners",
            "Impressions that wait for their settlement",
            registry=registry,
        )
        self.kept = Gauge(
            "aggregate_kept_banners",
            "Banners kept for corrections until window and lateness are over",
            registry=registry,
        )
        self.stream_time = Gauge(
            "aggregate_stream_time_timestamp_seconds",
            "Stream time: highest append time of the partition",
            ["partition"],
            registry=registry,
        )
        self.lag = Gauge(
            "aggregate_lag_records",
            "Records of the owned partitions that are not committed",
            registry=registry,
        )

    def committed(self, tally: Tally[tuple[str, str]]) -> None:
        """Add what a commit made durable.

        Args:
            tally: counts by (`events`, `rewards` or `dead_letters`, label).
        """
        families = {
            "events": self.events,
            "rewards": self.rewards,
            "dead_letters": self.dead_letters,
        }
        for (family, label), count in sorted(tally.items()):
            families[family].labels(label).inc(count)

    def observe(self, owned: Mapping[int, PartitionRewards]) -> None:
        """Show the state of the owned partitions, by partition number."""
        self.pending.set(sum(rewards.unsettled for rewards in owned.values()))
        self.kept.set(sum(rewards.kept_banners for rewards in owned.values()))
        for number, rewards in owned.items():
            self.stream_time.labels(str(number)).set(rewards.stream_ms / 1000)
