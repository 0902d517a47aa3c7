"""What traffic saw: counted while it runs, reported when it ends."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from schemas.requests import RecommendResponse


@dataclass(frozen=True, slots=True)
class ArmTraffic:
    """One arm as the client sees it.

    Attributes:
        banners: answers of this arm.
        reward: what the shoppers' clicks and purchases earned, by the client's own points.
        expected_reward: the same without the noise of the shoppers.
    """

    banners: int = 0
    reward: float = 0.0
    expected_reward: float = 0.0


@dataclass(frozen=True, slots=True)
class TrafficReport:
    """What happened so far.

    Attributes:
        visits: shoppers that came.
        recommendations: answered banners, empty ones included.
        empty: answers without a product.
        failed: visits that never got an answer (their orders were reported all the same).
        arms: by arm.
        sources: answers by `source`.
        policy_versions: distinct versions that answered.
        events: distinct events so far, those that wait for their moment included.
        outcomes: distinct events by outcome: accepted, invalid, forged, rate_limited, and unsent
            (no answer within the patience).
        pending: events without an outcome; at the end 0, unless traffic was stopped while the
            service did not answer.
        duplicates: events sent once more on purpose.
        duplicates_refused: of those, answered with anything but accepted, or not answered.
        retries: requests tried again after a connection error, a 5xx or a 429.
        latency_seconds: p50, p95, p99 and max of `/recommend`, of answered tries.
        behind_seconds: by how much the pace fell behind the wished rate at worst.
        elapsed_seconds: since the first visit.
    """

    visits: int = 0
    recommendations: int = 0
    empty: int = 0
    failed: int = 0
    arms: dict[str, ArmTraffic] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)
    policy_versions: int = 0
    events: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    pending: int = 0
    duplicates: int = 0
    duplicates_refused: int = 0
    retries: int = 0
    latency_seconds: dict[str, float] = field(default_factory=dict)
    behind_seconds: float = 0.0
    elapsed_seconds: float = 0.0


@dataclass(slots=True)
class Tally:
    """Counts while traffic runs; `report` reads it."""

    visits: int = 0
    failed: int = 0
    empty: int = 0
    events: int = 0
    duplicates: int = 0
    duplicates_refused: int = 0
    retries: int = 0
    behind_seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    versions: set[int] = field(default_factory=set)
    latencies: list[float] = field(default_factory=list)
    banners: Counter[str] = field(default_factory=Counter)
    rewards: dict[str, float] = field(default_factory=dict)
    expected_rewards: dict[str, float] = field(default_factory=dict)

    def answered(self, answer: RecommendResponse, *, reward: float, expected: float) -> None:
        """Count an answer and what its shopper's response earns."""
        self.banners[answer.arm] += 1
        self.sources[answer.source] += 1
        self.versions.add(answer.policy_version)
        self.empty += not answer.products
        self.rewards[answer.arm] = self.rewards.get(answer.arm, 0.0) + reward
        self.expected_rewards[answer.arm] = self.expected_rewards.get(answer.arm, 0.0) + expected

    def report(self, elapsed_seconds: float) -> TrafficReport:
        """Return the counts so far."""
        return TrafficReport(
            visits=self.visits,
            recommendations=self.banners.total(),
            empty=self.empty,
            failed=self.failed,
            arms={
                arm: ArmTraffic(count, self.rewards[arm], self.expected_rewards[arm])
                for arm, count in sorted(self.banners.items())
            },
            sources=dict(self.sources),
            policy_versions=len(self.versions),
            events=self.events,
            outcomes=dict(self.outcomes),
            pending=self.events - self.outcomes.total(),
            duplicates=self.duplicates,
            duplicates_refused=self.duplicates_refused,
            retries=self.retries,
            latency_seconds=_quantiles(self.latencies),
            behind_seconds=self.behind_seconds,
            elapsed_seconds=elapsed_seconds,
        )


def _quantiles(latencies: list[float]) -> dict[str, float]:
    if not latencies:
        return {}
    p50, p95, p99 = np.quantile(latencies, [0.5, 0.95, 0.99]).tolist()
    return {"p50": p50, "p95": p95, "p99": p99, "max": max(latencies)}
