import threading
from collections import Counter as Tally

import pytest
from prometheus_client import CollectorRegistry

from rewards.aggregator import Aggregator, Pace
from rewards.specification import RewardSpecification
from schemas import codec
from schemas.events import Tick
from streams.dead_letters import Wanted, replay
from streams.port import Message, Partition, partition_of

PACE = Pace(poll_seconds=0)


class Killed(BaseException):
    """Stands for `kill -9`: nothing of the process goes on."""


@pytest.fixture
def clock(standing_clock):
    return standing_clock()


@pytest.fixture
def events(memory_log, clock):
    return memory_log(clock)


def aggregator(events, clock, **changes):
    facts = {"clock": clock, "pace": PACE, **changes}
    return Aggregator(events, RewardSpecification(), **facts)


def run_dry(running):
    """Step until nothing is read, ticked or left to commit."""
    quiet = 0
    while quiet < 3:
        quiet = 0 if running.step() else quiet + 1


def tell(events, clock, shop, *told, then_ms=1_000):
    for event in told:
        events.append("events", [shop.message(event)])
        clock.now += then_ms


def a_busy_minute(events, clock, shop):
    """Two shoppers' banners, clicks, orders, duplicates and poison."""
    for number in range(8):
        key = (shop.KEY, shop.STRANGER)[number % 2]
        banner = shop.recommended(number, at=clock.now, key=key)
        rec = banner.recommendation_id
        told = [banner, banner]
        if number % 3 == 0:
            told.append(shop.click("b", rec=rec, event_id=f"c{number}", at=clock.now))
        if number % 4 == 1:
            told.append(shop.purchase("a", "c", event_id=f"p{number}", user_key=key))
            told.append(
                shop.refund("a", order_id=f"p{number}", event_id=f"r{number}", user_key=key)
            )
        for event in told:
            events.append("events", [shop.message(event, key)])
            clock.now += 700
        events.append("events", [Message(key, b"{not json"), Message(key, None)])
    clock.now += 6_000
    events.append("events", [shop.message(Tick(event_id="t", occurred_at_ms=clock.now))])


def replayed(events, clock, memory_log, **changes):
    """Return another log with the same events, aggregated from the start."""
    other = memory_log(clock)
    for partition, there in events.records.items():
        if partition.topic == "events":
            other.records[partition] = list(there)
    run_dry(aggregator(other, clock, **changes))
    return other


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


POISON = {
    "not JSON": (b"\xff\xfe{", "not_json"),
    "wrong schema": (b'{"type":"click","event_id":7}', "schema"),
    "unknown type": (b'{"type":"telepathy"}', "schema"),
    "unknown version": (b'{"type":"tick","schema_version":99}', "version"),
    "tombstone": (None, "tombstone"),
    "NUL": (
        b'{"type":"click","event_id":"e","occurred_at_ms":1,"received_at_ms":1,'
        b'"product_id":"a\\u0000"}',
        "schema",
    ),
    "too large": (b'"' + b"x" * 5_000_000 + b'"', "schema"),
}


@pytest.mark.parametrize("poison", POISON)
def test_a_record_that_cannot_be_read_is_buried_with_its_reason_and_blocks_nothing(
    events, clock, shop, poison
):
    value, reason = POISON[poison]
    registry = CollectorRegistry()
    tell(events, clock, shop, shop.recommended(1))
    events.append("events", [Message(shop.KEY, value)])
    tell(events, clock, shop, shop.click(rec=shop.rec(1)))

    run_dry(aggregator(events, clock, registry=registry))

    [(_, buried)] = events.table("events.dead")
    letter = codec.decode_dead_letter(buried)
    assert (letter.topic, letter.partition, letter.offset) == ("events", 0, 1)
    assert (letter.value, letter.reader) == (value, "aggregate")
    assert letter.reason
    assert [reward.points for reward in events.rewards()] == [(0.1, 0.0, 0.0)]
    counted = registry.get_sample_value("aggregate_dead_letters_total", {"reason": reason})
    assert counted == 1


def test_a_banner_under_another_key_than_its_own_is_buried(events, clock, shop):
    events.append("events", [shop.message(shop.recommended(1), shop.STRANGER)])

    run_dry(aggregator(events, clock))

    letter = codec.decode_dead_letter(events.table("events.dead")[0][1])
    assert "routing key" in letter.reason


@pytest.mark.parametrize("name", ["", "ab", "01", "a" * 26])
def test_a_banner_whose_id_has_another_form_is_buried_and_touches_no_state(
    events, clock, shop, name
):
    malformed = shop.recommended(1, rec=f"{name}-{shop.KEY.hex()}")
    tell(events, clock, shop, shop.recommended(2), malformed)
    run_dry(aggregator(events, clock))

    tell(events, clock, shop, shop.click(rec=shop.rec(2)))
    run_dry(aggregator(events, clock))  # from the state

    [(_, buried)] = events.table("events.dead")
    assert "recommendation_id" in codec.decode_dead_letter(buried).reason
    assert [reward.points for reward in events.rewards()] == [(0.1, 0.0, 0.0)]


def test_a_replay_of_dead_letters_after_a_fix_restores_the_table(events, clock, shop, memory_log):
    click = shop.message(shop.click(rec=shop.rec(1)))
    tell(events, clock, shop, shop.recommended(1))
    events.append("events", [Message(shop.KEY, b"{broken")])
    run_dry(aggregator(events, clock))
    letter = codec.decode_dead_letter(events.table("events.dead")[0][1])
    fixed = codec.encode(
        type(letter)(
            **{name: getattr(letter, name) for name in letter.__struct_fields__}
            | {"value": click.value}
        )
    )
    events.append("events.dead", [Message(shop.KEY, fixed)])

    replay(events, Wanted(numbers=[1]))
    run_dry(aggregator(events, clock))

    assert [reward.points for reward in events.rewards()] == [(0.1, 0.0, 0.0)]


def test_promise_8_bad_records_never_cost_another_caller_their_reward(
    events, clock, shop, memory_log
):
    a_busy_minute(events, clock, shop)
    clean = memory_log(clock)
    for partition, there in events.records.items():
        if partition.topic == "events":
            clean.records[partition] = [
                record for record in there if (record.value or b"")[:5] == b'{"typ'
            ]
    run_dry(aggregator(clean, clock))

    run_dry(aggregator(events, clock))

    assert len(events.table("events.dead")) == 16
    assert events.table() == clean.table()


def test_an_event_that_names_nobody_is_counted_and_kept_nowhere(events, clock, shop):
    registry = CollectorRegistry()
    events.append("events", [Message(None, codec.encode(shop.purchase("a", user_key=None)))])

    run_dry(aggregator(events, clock, registry=registry))

    outcome = {"type": "purchase", "outcome": "unattributed"}
    assert registry.get_sample_value("aggregate_events_total", outcome) == 1
    assert [key for _, key in events.groups["aggregate"].state] == [b"stream"]


def test_the_metrics_say_what_became_of_every_event(events, clock, shop):
    registry = CollectorRegistry()
    rec = shop.rec(1)
    tell(
        events,
        clock,
        shop,
        shop.recommended(1),
        shop.click(rec=rec),
        shop.click(rec=rec),
        shop.click("b", rec=rec),
        shop.click("z", rec=rec, event_id="forged"),
        shop.purchase("a", event_id="p1"),
        shop.purchase("z", event_id="p2"),
        shop.recommended(2, at=shop.T0 + 7_000),
    )

    run_dry(aggregator(events, clock, registry=registry))

    def counted(name, **labels):
        return registry.get_sample_value(name, labels)

    became = {
        (sample.labels["type"], sample.labels["outcome"]): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "aggregate_events_total" and sample.value
    }
    assert became == {
        ("recommended", "applied"): 2,
        ("click", "applied"): 1,
        ("click", "duplicate"): 1,
        ("click", "conflict"): 1,
        ("click", "forged"): 1,
        ("purchase", "applied"): 1,
        ("purchase", "unattributed"): 1,
    }
    assert counted("aggregate_rewards_total", kind="settlement", arm="policy") == 1
    assert counted("aggregate_rewards_total", kind="correction", arm="policy") == 1
    assert counted("aggregate_reward_points_total", change="earned", arm="policy") > 0
    assert counted("aggregate_reward_points_total", change="withdrawn", arm="policy") == 0
    assert counted("aggregate_dead_letters_total", reason="schema") == 0
    assert counted("aggregate_pending_banners") == 1
    assert counted("aggregate_kept_banners") == 2
    seconds = counted("aggregate_stream_time_timestamp_seconds", partition="0")
    assert seconds == (shop.T0 + 7_000) / 1_000


def test_what_is_not_owned_any_more_is_not_shown(events, clock, shop):
    registry = CollectorRegistry()
    tell(events, clock, shop, shop.recommended(1), shop.impression(rec=shop.rec(1)))
    running = aggregator(events, clock, registry=registry)
    stream_time = "aggregate_stream_time_timestamp_seconds"

    def shown():
        return (
            registry.get_sample_value("aggregate_pending_banners"),
            registry.get_sample_value("aggregate_kept_banners"),
            registry.get_sample_value(stream_time, {"partition": "0"}),
        )

    running.step()
    running.step()
    before = shown()
    assert before == (1, 1, (shop.T0 + 1_000) / 1_000)

    tell(events, clock, shop, shop.click(rec=shop.rec(1)))
    events.commit_fault = "before"
    running.step()
    running.step()
    assert shown() == (0, 0, None), "the log is away"

    running.step()
    assert shown() == before
    events.consumer(["events"], group="aggregate")
    running.step()
    assert shown() == (0, 0, None), "it has another owner"


def test_the_lag_is_what_is_not_committed(events, clock, shop):
    registry = CollectorRegistry()
    running = aggregator(
        events,
        clock,
        registry=registry,
        pace=Pace(poll_seconds=0, poll_records=1, commit_records=1, lag_ms=0),
    )
    tell(events, clock, shop, *(shop.click(rec=shop.rec(1), event_id=f"{n}") for n in range(5)))

    found = []
    for _ in range(3):
        running.step()
        found.append(registry.get_sample_value("aggregate_lag_records"))

    assert found == [5, 4, 3], "before each commit"


def test_the_lag_is_told_where_no_commit_succeeds_and_until_the_partitions_went_elsewhere(
    events, clock, shop
):
    registry = CollectorRegistry()
    running = aggregator(events, clock, registry=registry)
    lags = []
    for number in range(4):
        tell(events, clock, shop, shop.click(rec=shop.rec(1), event_id=f"{number}"))
        for _ in range(2):
            events.commit_fault = "before"
            running.step()
            lags.append(registry.get_sample_value("aggregate_lag_records"))
    assert lags == [1, 1, 2, 2, 3, 3, 4, 4]

    events.commit_fault = None
    running.step()
    assert registry.get_sample_value("aggregate_lag_records") == 4
    events.consumer(["events"], group="aggregate")
    running.step()
    assert registry.get_sample_value("aggregate_lag_records") == 0


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
