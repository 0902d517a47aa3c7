"""What the console measures: its own requests, and what the log says of the ring."""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from console.follower import View


class ConsoleMetrics:
    """Metrics of the console's requests."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.request_seconds = Histogram(
            "console_request_seconds",
            "Time to answer a request.",
            ["route", "method", "code"],
            registry=registry,
        )
        self.operations = Counter(
            "console_operations_total",
            "Operations people asked for, by outcome.",
            ["operation", "outcome"],
            registry=registry,
        )


class RingCollector(Collector):
    """The newest report as gauges; read when Prometheus asks.

    Args:
        view: gives the newest view of the log.
    """

    def __init__(self, view: Callable[[], View]) -> None:
        self._view = view

    def collect(self) -> Iterable[Metric]:
        """Yield the gauges."""
        view = self._view()
        report = view.report
        banners = GaugeMetricFamily(
            "console_arm_banners", "Rewarded banners since the log began.", labels=["arm"]
        )
        reward = GaugeMetricFamily(
            "console_arm_reward_points", "Their reward, corrections included.", labels=["arm"]
        )
        for name, arm in (("policy", report.arms.policy), ("control", report.arms.control)):
            banners.add_metric([name], arm.banners)
            reward.add_metric([name], arm.reward)
        yield banners
        yield reward
        single = {
            "console_expected_banners": (
                "Logged impressions due a reward.",
                report.rewards.expected,
            ),
            "console_lost_banners": ("Of these passed over without a reward.", report.rewards.lost),
            "console_waiting_banners": (
                "Of these overdue: the aggregator is behind.",
                report.rewards.waiting,
            ),
            "console_doubled_banners": ("Of these rewarded twice.", report.rewards.doubled),
            "console_served_versions": ("Policy versions that served.", report.versions_served),
            "console_report_timestamp_seconds": ("When the log was read.", view.read_at_ms / 1000),
        }
        for name, (meaning, value) in single.items():
            yield GaugeMetricFamily(name, meaning, value=value)

    def describe(self) -> Iterable[Metric]:
        """Return nothing: registering asks for no report."""
        return []
