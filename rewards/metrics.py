"""What the aggregator counts. Counters move when a commit succeeded, so they equal the table.

Only a commit that went through though its answer was lost is never counted: nobody knows of it but
the log. Then the counters stay below the table, and `aggregate_restarts_total` is above 0.
"""

from collections.abc import Mapping
from itertools import product
from typing import Final, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge

from rewards.absorption import Outcome
from rewards.settlement import PartitionRewards
from schemas.events import Arm, Event, Tick

FAULTS: Final = ("not_json", "schema", "version", "tombstone")
"""Why a record cannot be read."""
_TYPES: Final = [each.__struct_config__.tag for each in get_args(Event) if each is not Tick]


class AggregatorMetrics:
    """The aggregator's metrics in one registry.

    Outcomes of `aggregate_events_total`: applied; ignored (nothing to earn: imports, carts, shadow
    ratings); duplicate (same event again); conflict (same event id, another payload: the first in
    the log won); late (after window and lateness, or after the window of the banner it names);
    unattributed (no banner known so far that it could reward); forged (another user's banner, or a
    product the banner did not show); erased (names a banner of an erased user).

    Children with known labels are there from the start: a first dead letter is an increase then.

    Args:
        registry: where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.events = Counter(
            "aggregate_events_total",
            "Events by type and by what became of them",
            ["type", "outcome"],
            registry=registry,
        )
        self.rewards = Counter(
            "aggregate_rewards_total",
            "Rewards emitted, by arm: settlements (revision 0) and corrections; "
            "a commit whose answer was lost is not counted",
            ["kind", "arm"],
            registry=registry,
        )
        self.points = Counter(
            "aggregate_reward_points_total",
            "Points that rewards added to an arm (earned) or took back (withdrawn)",
            ["change", "arm"],
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
        self._shown: set[int] = set()
        for labels in product(_TYPES, get_args(Outcome)):
            self.events.labels(*labels)
        for arm in get_args(Arm):
            for kind, change in (("settlement", "earned"), ("correction", "withdrawn")):
                self.rewards.labels(kind, arm)
                self.points.labels(change, arm)
        for reason in FAULTS:
            self.dead_letters.labels(reason)
        self.lag = Gauge(
            "aggregate_lag_records",
            "Records of the owned partitions that are not committed",
            registry=registry,
        )

    def committed(self, tally: Mapping[tuple[str, ...], float]) -> None:
        """Add what a commit made durable.

        Args:
            tally: amounts by (`events`, `rewards`, `points` or `dead_letters`, label, ...).
        """
        families = {
            "events": self.events,
            "rewards": self.rewards,
            "points": self.points,
            "dead_letters": self.dead_letters,
        }
        for (family, *labels), amount in sorted(tally.items()):
            families[family].labels(*labels).inc(amount)

    def observe(self, owned: Mapping[int, PartitionRewards]) -> None:
        """Show the state of the owned partitions, by partition number, and of no others."""
        self.pending.set(sum(rewards.unsettled for rewards in owned.values()))
        self.kept.set(sum(rewards.kept_banners for rewards in owned.values()))
        for number, rewards in owned.items():
            self.stream_time.labels(str(number)).set(rewards.stream_ms / 1000)
        for number in self._shown - owned.keys():
            self.stream_time.remove(str(number))
        self._shown = set(owned)
