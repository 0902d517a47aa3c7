import threading

import pytest
from prometheus_client import CollectorRegistry

from schemas.codec import decode_dead_letter, decode_event, encode
from service.inbox import Inbox
from service.intake import Intake
from service.metrics import BURIED, Metrics
from service.tokens import Tokens
from streams.errors import Fenced, LogUnavailable
from streams.port import Message

SECRET = b"s"


@pytest.fixture
def counted() -> CollectorRegistry:
    return CollectorRegistry()


def buried(counted: CollectorRegistry) -> dict[str, float]:
    """Return the dead letters counted, by reason, without those that did not happen."""
    values = {
        reason: counted.get_sample_value("service_dead_letters_total", {"reason": reason})
        for reason in BURIED
    }
    return {reason: value for reason, value in values.items() if value}


@pytest.fixture
def post(shop, counted):
    """Return a function that puts records into the inbox and takes them in."""
    inbox = Inbox(
        shop.log,
        Intake(SECRET, Tokens([SECRET], window_seconds=60)),
        rows=lambda: shop.service.behaviour.state.catalogue.row_of,
        clock=shop.clock,
        metrics=Metrics(counted),
    )

    def send(*values: bytes | None) -> int:
        shop.log.append("inbox", [Message(b"k", value) for value in values])
        return inbox.step()

    yield send
    inbox.close()


def dead(shop) -> list:
    return [decode_dead_letter(record.value) for record in shop.records("events.dead")]


def test_events_of_the_inbox_are_facts_like_any_others(shop, post, event):
    order = event("purchase", event_id="o-1", order_id="o1")

    assert post(encode(order), encode([event(event_id="1"), event(event_id="2")])) == 2

    facts = shop.facts()
    assert [fact.event_id for fact in facts] == ["o-1", "1", "2"]
    assert facts[0].lines[0].row == 1
    assert all(
        record.key == decode_event(record.value).user_key for record in shop.records("events")
    )


POISON = {
    "an empty list": b" [] ",
    "tombstone": None,
    "empty": b"",
    "not JSON": b"{",
    "NaN": b'[{"event_id":"a","value":NaN}]',
    "another type": b'{"event_id":"a","type":"view","occurred_at":"2023-11-14T22:13:20Z"}',
    "5 MB": b" " * 5_000_000,
    "deep": b"[" * 100_000,
    "NUL": b'{"event_id":"\\u0000","type":"click","occurred_at":"2023-11-14T22:13:20Z"}',
    "binary": b"\x00\xff\xfe",
    "a number": b"7",
    "too many": b"[" + b"{}," * 1_000 + b"{}]",
    "cross-user": encode(
        {
            "event_id": "x",
            "type": "click",
            "product_id": "p1",
            "user_id": "u1",
            "recommendation_id": "01ARYZ6S410000000000000000-00112233445566ff",
            "occurred_at": "2023-11-14T22:13:20Z",
        }
    ),
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON.keys())
def test_promise_7_what_cannot_be_read_is_a_dead_letter_and_blocks_nothing(
    shop, post, event, poison
):
    post(poison, encode(event(event_id="after")))

    (letter,) = dead(shop)
    assert letter.reason
    assert (letter.topic, letter.offset, letter.reader, letter.key) == ("inbox", 0, "intake", b"k")
    assert (poison or b"").startswith(letter.value)
    assert [fact.event_id for fact in shop.facts()] == ["after"]


def test_every_dead_letter_is_counted_by_reason(shop, post, event, counted):
    refused = POISON["cross-user"]

    post(None, POISON["5 MB"], b"[", POISON["a number"], b"[" + encode(event()) + b",7]", refused)

    assert buried(counted) == {"tombstone": 1, "too_large": 1, "unreadable": 3, "refused": 1}
    assert len(dead(shop)) == 6


def test_one_bad_event_of_a_list_is_a_dead_letter_of_its_own(shop, post, event):
    bad = encode(event(event_id="bad", type="view"))

    post(b"[" + encode(event(event_id="good")) + b"," + bad + b"]")

    assert [fact.event_id for fact in shop.facts()] == ["good"]
    assert [letter.value for letter in dead(shop)] == [bad]


def test_outputs_and_offsets_move_together(shop, post, event):
    post(encode(event(event_id="1")))

    assert post(encode(event(event_id="2"))) == 1
    assert [fact.event_id for fact in shop.facts()] == ["1", "2"]


class Interrupted:
    """A log whose first consumer loses its partitions, and whose second cannot be reached."""

    def __init__(self, log) -> None:
        self._log = log
        self.opened = 0

    def consumer(self, topics, *, group):
        self.opened += 1
        if self.opened == 2:
            raise LogUnavailable("away")
        consumer = self._log.consumer(topics, group=group)
        return Losing(consumer) if self.opened == 1 else consumer


class Losing:
    def __init__(self, consumer) -> None:
        self.poll, self.close = consumer.poll, consumer.close

    def commit(self, offsets, *, outputs) -> None:
        raise Fenced("another member")


def test_a_lost_partition_or_log_is_tried_again_without_doubling(shop, event, counted):
    stop = threading.Event()
    interrupted = Interrupted(shop.log)
    inbox = Inbox(
        interrupted,
        Intake(SECRET, Tokens([SECRET], window_seconds=60)),
        rows=dict,
        clock=shop.clock,
        metrics=Metrics(counted),
    )
    shop.log.append("inbox", [Message(None, encode(event())), Message(None, None)])

    with pytest.raises(Fenced):
        inbox.step()
    with pytest.raises(LogUnavailable):
        inbox.step()
    assert inbox.step() == 2
    assert inbox.step() == 0
    assert buried(counted) == {"tombstone": 1}

    stop.set()
    inbox.run(stop)
    assert [fact.event_id for fact in shop.facts()] == ["e1"]
    labels = {"type": "click", "outcome": "accepted"}
    assert counted.get_sample_value("service_events_total", labels) == 1
