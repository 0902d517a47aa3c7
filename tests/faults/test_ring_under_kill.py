"""The whole ring through `kill -9` of each of its processes while shoppers come."""

from contextlib import closing

from tests import ring_checks
from tests.faults.conftest import BANNERS, WINDOW_SECONDS, KilledRing


def test_a_demo_whose_processes_are_killed_ends_by_itself_with_a_whole_report(
    killed_ring: KilledRing,
) -> None:
    report = killed_ring.report

    assert killed_ring.status == 0
    expected = len(killed_ring.told.banners)
    rewards = {"expected": expected, "lost": 0, "waiting": 0, "doubled": 0}
    assert report["rewards"] == rewards
    assert report["versions_served"] > 4
    assert report["freshness_seconds"]["p50"] > 0
    assert report["freshness_seconds"]["p99"] >= report["freshness_seconds"]["p50"]
    assert sum(run["visits"] for run in report["traffic"]) == BANNERS
    assert sum(run["recommendations"] for run in report["traffic"]) == BANNERS


def test_promise_2_every_logged_impression_is_rewarded_exactly_once_through_kill_9(
    killed_ring: KilledRing,
) -> None:
    ring_checks.check_every_impression_is_rewarded_once(killed_ring.told)


def test_promise_2_rewards_through_kill_9_are_what_the_events_earned(
    killed_ring: KilledRing,
) -> None:
    ring_checks.check_rewards_are_what_the_events_earned(
        killed_ring.told, window_seconds=WINDOW_SECONDS
    )


def test_promise_2_a_killed_server_loses_at_most_its_last_moments(killed_ring: KilledRing) -> None:
    assert BANNERS - 50 <= len(killed_ring.told.banners) <= BANNERS + 50


def test_promise_7_every_event_answered_202_is_in_the_log_once_or_again(
    killed_ring: KilledRing,
) -> None:
    ring_checks.check_accepted_events_are_in_the_log(
        killed_ring.told, killed_ring.report["traffic"]
    )


def test_the_report_of_a_killed_ring_says_what_the_topics_say(killed_ring: KilledRing) -> None:
    ring_checks.check_the_report_says_what_the_topics_say(killed_ring.told, killed_ring.report)


def test_promise_1_recorded_log_probabilities_are_those_of_the_weights_that_drew(
    killed_ring: KilledRing,
) -> None:
    ring = killed_ring.ring

    with closing(ring.log()) as log:
        drawn = ring_checks.check_log_probs(killed_ring.told, log, ring.registry())

    assert drawn > 0.8 * len(killed_ring.told.banners)
