"""The aggregator's metrics say what became of every event, what is kept, and how far it lags."""

from prometheus_client import CollectorRegistry

from rewards.aggregator import Pace
from schemas import codec
from streams.port import Message
from tests.unit.rewards.running_aggregator import aggregator, run_dry, tell


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
