"""Counts of both arms from the log's rewards."""

from collections.abc import Callable
from typing import Any

import pytest

from console.audit import AuditSettings
from console.experiment import Experiment, Report
from streams.port import Record

SETTINGS = AuditSettings()
Reported = Callable[..., Report]


def report(records: list[Record]) -> Report:
    experiment = Experiment(SETTINGS)
    for record in records:
        experiment.apply(record)
    return experiment.report()


def test_both_arms_are_present_from_zero() -> None:
    empty = report([])

    assert (empty.arms.policy.banners, empty.arms.control.banners) == (0, 0)
    assert empty.arms.control.reward_per_banner is None
    assert (empty.policy_version, empty.versions_served) == (None, 0)


def test_corrections_change_the_reward_and_not_the_count(build: Any) -> None:
    name, now = build.id(), build.start_ms

    arm = report(
        [
            build.record("rewards", build.reward(name, points=(0.1, 0.0)), at_ms=now),
            build.record(
                "rewards",
                build.reward(name, revision=1, points=(1.1, 0.0), delta=(1.0, 0.0)),
                at_ms=now,
            ),
        ]
    ).arms.policy

    assert arm.banners == 1
    assert arm.reward == pytest.approx(1.1)
    assert arm.reward_per_banner == pytest.approx(1.1)


def test_a_fallback_banner_counts_under_its_assigned_arm(build: Any) -> None:
    fallback = build.reward(build.id(), arm="control", source="static", trainable=False)

    arms = report([build.record("rewards", fallback, at_ms=build.start_ms)]).arms

    assert (arms.policy.banners, arms.control.banners) == (0, 1)


def test_the_same_revision_a_second_time_is_dropped_and_counted(build: Any) -> None:
    reward = build.reward(build.id(), points=(1.0, 0.0))
    records = [build.record("rewards", reward, at_ms=build.start_ms) for _ in range(3)]

    found = report(records)

    assert (found.arms.policy.banners, found.arms.policy.reward) == (1, 1.0)
    assert (found.duplicates, found.rewards.doubled) == (2, 1)


def test_the_lift_compares_reward_per_banner_of_the_arms(build: Any) -> None:
    now = build.start_ms
    earned = {"policy": [2.0, 1.0], "control": [1.0, 1.0]}
    records = [
        build.record(
            "rewards",
            build.reward(
                build.id(100 * len(arm) + n), arm=arm, unit=f"{arm}{n}", points=(points, 0.0)
            ),
            at_ms=now,
        )
        for arm, rewards in earned.items()
        for n, points in enumerate(rewards)
    ]

    assert report(records).lift.estimate == pytest.approx(0.5)


def test_versions_served_are_counted_once_each_and_the_last_is_named(build: Any) -> None:
    served = [build.announcement(version) for version in (3, 4, 4, 3)]
    promoted = build.announcement(9, kind="promoted")

    found = report([build.record("policies", a, at_ms=0) for a in (*served, promoted)])

    assert (found.versions_served, found.policy_version) == (2, 3)


def test_what_cannot_be_read_is_counted(build: Any) -> None:
    found = report([build.record(topic, b"{", at_ms=0) for topic in ("rewards", "policies")])

    assert found.unreadable == 2
