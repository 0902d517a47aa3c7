"""A record that cannot be read is buried with its reason, and costs nobody else a reward."""

import pytest
from prometheus_client import CollectorRegistry

from schemas import codec
from streams.dead_letters import Wanted, replay
from streams.port import Message
from tests.unit.rewards.running_aggregator import a_busy_minute, aggregator, run_dry, tell

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
