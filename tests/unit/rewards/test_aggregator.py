"""The table of rewards is the same however the log is polled and wherever the aggregator ends."""

import threading
from collections import Counter as Tally

import pytest
from prometheus_client import CollectorRegistry

from rewards.aggregator import Pace
from schemas import codec
from schemas.events import Tick
from streams.port import Partition, partition_of
from tests.unit.rewards.running_aggregator import (
    a_busy_minute,
    aggregator,
    replayed,
    run_dry,
    tell,
)


class Killed(BaseException):
    """Stands for `kill -9`: nothing of the process goes on."""


def test_a_reward_goes_out_under_the_routing_key_of_its_banner(events, clock, shop):
    tell(events, clock, shop, shop.recommended(1), shop.click(rec=shop.rec(1)))

    run_dry(aggregator(events, clock))

    [(key, value)] = events.table()
    assert key == shop.KEY
    assert codec.decode_reward(value).points == (0.1, 0.0, 0.0)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1_000])
def test_the_bytes_of_the_rewards_do_not_depend_on_how_the_log_was_polled(
    events, clock, shop, memory_log, size
):
    a_busy_minute(events, clock, shop)
    whole = replayed(events, clock, memory_log)

    pieces = replayed(
        events, clock, memory_log, pace=Pace(poll_seconds=0, poll_records=size, commit_records=size)
    )

    assert whole.table() == pieces.table()
    assert len(whole.rewards()) > 8
    assert whole.table("events.dead") == pieces.table("events.dead")


@pytest.mark.parametrize("point", ["after_poll", "before_commit", "after_commit"])
def test_promise_2_killed_at_any_point_the_table_equals_the_one_of_a_run_never_killed(
    events, clock, shop, memory_log, point
):
    a_busy_minute(events, clock, shop)
    whole = replayed(events, clock, memory_log)
    passed = Tally()

    def killing(here):
        passed[here] += 1
        if here == point and passed[here] % 2:
            raise Killed

    kills = 0
    running = None
    pace = Pace(poll_seconds=0, poll_records=3, commit_records=3)
    for _ in range(60):
        running = running or aggregator(events, clock, crash_point=killing, pace=pace)
        try:
            running.step()
        except Killed:
            kills += 1
            running = None
    run_dry(aggregator(events, clock))

    assert kills > 1
    assert events.table() == whole.table()
    assert events.table("events.dead") == whole.table("events.dead")


@pytest.mark.parametrize("fault", ["before", "after"])
def test_promise_2_a_commit_of_unknown_outcome_neither_loses_nor_doubles(
    events, clock, shop, memory_log, fault
):
    a_busy_minute(events, clock, shop)
    whole = replayed(events, clock, memory_log)
    running = aggregator(events, clock)

    events.commit_fault = fault
    run_dry(running)
    run_dry(running)
    run_dry(running)

    assert events.table() == whole.table()
    assert running.metrics.restarts._value.get() == 1


def test_one_that_was_fenced_drops_its_work_and_the_other_goes_on(events, clock, shop, memory_log):
    a_busy_minute(events, clock, shop)
    whole = replayed(events, clock, memory_log)

    def taken_over(point):
        if point == "before_commit" and not other:
            other.append(aggregator(events, clock))
            run_dry(other[0])

    other = []
    stopped = aggregator(events, clock, crash_point=taken_over)
    assert stopped.step() > 0
    stopped.step()

    assert events.table() == whole.table()
    assert stopped.metrics.restarts._value.get() == 1
    assert stopped.metrics.rewards.labels("settlement", "policy")._value.get() == 0


def test_a_silent_partition_with_unsettled_banners_gets_ticks_until_they_settle(
    events, clock, shop
):
    running = aggregator(events, clock)
    tell(events, clock, shop, shop.recommended(1), then_ms=0)
    run_dry(running)

    for _ in range(20):
        clock.now += 500
        run_dry(running)

    ticks = [codec.decode_event(value) for _, value in events.table("events")[1:]]
    assert [type(tick) for tick in ticks] == [Tick] * 5
    assert [reward.points for reward in events.rewards()] == [(0.0, 0.0, 0.0)]
    assert running.metrics.ticks._value.get() == 5


def test_a_clock_that_goes_back_an_hour_holds_up_no_tick_no_commit_and_no_look_at_the_lag(
    events, clock, shop
):
    registry = CollectorRegistry()
    pace = Pace(poll_seconds=0, poll_records=1)
    running = aggregator(events, clock, registry=registry, pace=pace)
    tell(events, clock, shop, shop.recommended(1), then_ms=0)
    run_dry(running)
    tell(events, clock, shop, *(shop.recommended(number) for number in (2, 3, 4)), then_ms=0)
    running.step()

    clock.now -= 3_600_000
    running.step()

    assert events.groups["aggregate"].offsets == {Partition("events", 0): 3}
    assert registry.get_sample_value("aggregate_lag_records") == 3  # as it was before this commit
    clock.now += pace.lag_ms
    running.step()
    assert registry.get_sample_value("aggregate_lag_records") == 1
    run_dry(running)
    clock.now -= 3_600_000
    running.step()
    assert running.metrics.ticks._value.get() == 1


def test_a_tick_goes_to_the_partition_that_is_silent(memory_log, clock, shop):
    events = memory_log(clock, {"events": 4})
    number = partition_of(shop.KEY, 4)
    running = aggregator(events, clock)
    tell(events, clock, shop, shop.recommended(1), then_ms=0)
    run_dry(running)

    clock.now += 1_000
    run_dry(running)

    ends = {p.number: end for p, end in events.end_offsets("events").items() if end}
    assert ends == {number: 2}


def test_a_log_that_is_away_is_tried_again_and_nothing_is_lost(events, clock, shop):
    running = aggregator(events, clock)
    tell(events, clock, shop, shop.recommended(1), then_ms=0)
    run_dry(running)
    clock.now += 5_000

    events.append_fault = True
    assert running.step() == 0
    events.append_fault = False
    run_dry(running)
    clock.now += 1_000
    run_dry(running)

    assert [reward.revision for reward in events.rewards()] == [0]


def test_a_partition_that_goes_to_another_owner_takes_its_uncommitted_work_along(
    events, clock, shop
):
    running = aggregator(events, clock, pace=Pace(poll_seconds=0, commit_ms=10_000))
    tell(events, clock, shop, shop.recommended(1), shop.click(rec=shop.rec(1)), then_ms=0)
    running.step()
    other = aggregator(events, clock)

    run_dry(other)
    run_dry(running)

    assert [reward.revision for reward in events.rewards()] == [0]


def test_a_stopped_loop_commits_what_it_has_folded(events, clock, shop):
    running = aggregator(events, clock, pace=Pace(poll_seconds=0, commit_ms=10_000))
    tell(events, clock, shop, shop.recommended(1), shop.click(rec=shop.rec(1)), then_ms=0)
    running.step()
    stop = threading.Event()
    stop.set()

    running.run(stop)

    assert [reward.points for reward in events.rewards()] == [(0.1, 0.0, 0.0)]
    assert events.groups["aggregate"].offsets == {Partition("events", 0): 2}
