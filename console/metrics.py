"""What the console measures: its own requests, and what the log says of the ring."""

from collections.abc import Callable, Iterable, Mapping

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from console.coverage import Coverage
from console.experiment import LiftReport
from console.follower import View
from policy.errors import PolicyError
from schemas.policies import Live

log = structlog.get_logger(__name__)


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
        live: gives the live pointer; None: there is none yet.
    """

    def __init__(self, view: Callable[[], View], live: Callable[[], Live | None]) -> None:
        self._view, self._live = view, live

    def collect(self) -> Iterable[Metric]:
        """Yield the gauges."""
        yield from self._experiment(self._view())
        yield from self._pointer()

    def _pointer(self) -> Iterable[Metric]:
        try:
            live = self._live()
        except (PolicyError, OSError) as problem:
            # The other gauges must not go with it.
            log.warning("live_pointer_not_readable", problem=str(problem))
            return
        if live is None:
            return
        yield GaugeMetricFamily(
            "console_live_version", "The version the live pointer names.", value=live.version
        )
        yield GaugeMetricFamily(
            "console_hold_state",
            "1: rolled back and held, nothing is promoted until somebody resumes; else 0.",
            value=float(live.hold),
        )

    @staticmethod
    def _experiment(view: View) -> Iterable[Metric]:
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
        yield from _lift(report.lift)
        yield from _coverage(view.coverage)
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


def _lift(lift: LiftReport) -> Iterable[Metric]:
    family = GaugeMetricFamily(
        "console_lift_ratio",
        "Reward per banner of the policy arm over the control arm's, minus one, and its interval.",
        labels=["bound"],
    )
    for bound, value in (("estimate", lift.estimate), ("low", lift.low), ("high", lift.high)):
        if value is not None:
            family.add_metric([bound], value)
    yield family


def _coverage(found: Mapping[str, Coverage]) -> Iterable[Metric]:
    products = GaugeMetricFamily(
        "console_shown_products",
        "Different products on the newest 1,000 settled banners of an arm.",
        labels=["arm"],
    )
    top = GaugeMetricFamily(
        "console_shown_top_share",
        "Share of the places on them that the ten most shown products took.",
        labels=["arm"],
    )
    for arm, coverage in found.items():
        products.add_metric([arm], coverage.products)
        top.add_metric([arm], coverage.top_share)
    yield products
    yield top
