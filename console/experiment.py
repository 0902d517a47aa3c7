"""What the log says of the experiment: both arms, the lift between them, how well the ring runs.

A pure projection of `rewards`, `policies` and (for what should have been rewarded) `events`: the
same records in the same order give the same report.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from console.audit import Audit, AuditSettings, Counts
from console.coverage import Coverage, Shown
from console.curve import Curve
from console.freshness import Freshness, Quantiles
from console.generations import Generations
from console.units import ArmUnits
from evidence.lift import Lift, lift
from evidence.sums import ArmSums
from schemas.codec import decode_announcement, decode_reward
from schemas.errors import SchemaError
from schemas.identity import fingerprint
from schemas.rewards import Reward
from streams.port import Record
from streams.topics import POLICIES, REWARDS


class ArmReport(msgspec.Struct, frozen=True, kw_only=True):
    """One arm.

    Attributes:
        banners: settled impressions assigned to it, fallback banners included.
        reward: points they earned, corrections included, unrounded.
        reward_per_banner: their ratio; null without banners.
    """

    banners: int = 0
    reward: float = 0.0
    reward_per_banner: float | None = None


class Arms(msgspec.Struct, frozen=True, kw_only=True):
    """Both arms."""

    policy: ArmReport
    control: ArmReport


class LiftReport(msgspec.Struct, frozen=True, kw_only=True):
    """Reward per banner of the policy arm over the control arm's, minus one; null: undefined."""

    estimate: float | None = None
    low: float | None = None
    high: float | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The report of `GET /experiment` and of `demo --report`; cumulative since the log began."""

    arms: Arms
    policy_version: int | None
    """The version a server swapped to last; null before the first."""
    versions_served: int
    freshness_seconds: Quantiles
    rewards: Counts
    lift: LiftReport
    duplicates: int
    """Rewards that came a second time and were dropped."""
    unreadable: int
    """Records of `rewards` and `policies` that could not be read."""


class _Settled(NamedTuple):
    revision: int
    ordinal: int


class Experiment:
    """Takes in records of `rewards`, `policies` and `events`, in the order of each partition.

    Args:
        settings: when a banner without a reward counts as lost.
    """

    def __init__(self, settings: AuditSettings) -> None:
        self.audit = Audit(settings)
        self.curve = Curve()
        self.freshness = Freshness()
        horizon_ms = settings.horizon_seconds * 1000
        self._arms = {"policy": ArmUnits(horizon_ms), "control": ArmUnits(horizon_ms)}
        self._shown = {arm: Shown() for arm in self._arms}
        self._settled = Generations[_Settled](horizon_ms)
        self._duplicates = 0
        self._unreadable = 0

    def apply(self, record: Record) -> None:
        """Take in one record."""
        topic = record.partition.topic
        try:
            if topic == REWARDS.name:
                self.reward(decode_reward(record.value), record.appended_at_ms)
            elif topic == POLICIES.name:
                self.freshness.apply(decode_announcement(record.value))
            else:
                self.audit.apply(record)
        except SchemaError:
            self._unreadable += 1

    def reward(self, reward: Reward, appended_at_ms: int) -> None:
        """Take in one reward; the same revision a second time changes nothing."""
        self.audit.rewarded(reward, appended_at_ms)
        digest = fingerprint(reward.recommendation_id.encode())
        before = self._settled.get(digest)
        if before is not None and reward.revision <= before.revision:
            self._duplicates += 1
            return
        after, change = math.fsum(reward.points), math.fsum(reward.delta)
        arm = self._arms[reward.arm]
        if before is None:
            ordinal = self.curve.settle(reward.arm, after, reward.settled_at_ms)
            arm.add(reward.unit, banners=1, reward=after, now_ms=appended_at_ms)
            self._shown[reward.arm].add(reward.rows)
        else:
            ordinal = before.ordinal
            self.curve.correct(reward.arm, ordinal, after - change, after)
            arm.add(reward.unit, banners=0, reward=change, now_ms=appended_at_ms)
        settled = _Settled(reward.revision, ordinal)
        self._settled.put(digest, settled, now_ms=appended_at_ms)

    def report(self) -> Report:
        """Return the report so far."""
        policy, control = self._arms["policy"].sums, self._arms["control"].sums
        return Report(
            arms=Arms(policy=_arm(policy), control=_arm(control)),
            policy_version=self.freshness.latest,
            versions_served=len(self.freshness.served),
            freshness_seconds=self.freshness.quantiles(),
            rewards=self.audit.counts(),
            lift=_lift(lift(policy, control)),
            duplicates=self._duplicates,
            unreadable=self._unreadable,
        )

    def coverage(self) -> Mapping[str, Coverage]:
        """Return what the newest banners showed, by arm; an arm without banners is left out."""
        found = {arm: shown.coverage() for arm, shown in self._shown.items()}
        return {arm: coverage for arm, coverage in found.items() if coverage is not None}


def _arm(sums: ArmSums) -> ArmReport:
    return ArmReport(banners=round(sums.banners), reward=sums.reward, reward_per_banner=sums.mean)


def _lift(found: Lift) -> LiftReport:
    return LiftReport(estimate=found.estimate, low=found.low, high=found.high)
