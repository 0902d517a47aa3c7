"""A real `quintet serve` while its Kafka broker is killed and comes back: nothing is lost."""

import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from statistics import median

import pytest

from schemas import identity
from schemas.codec import decode_event
from schemas.events import Click, Recommended
from tests.rings import Ring, ask, open_shop, records_of, until
from tests.servers import KafkaBroker, new_kafka_broker

ANSWER_SECONDS = 2.0
"""Longest wait for an answer, whatever became of Kafka, beyond what this machine takes anyway."""
SHOPPERS = 5


@dataclass
class Storefront:
    """Reports one click after the other and asks for banners, and remembers what was answered."""

    ring: Ring
    accepted: list[tuple[str, str]] = field(default_factory=list)
    unanswered: set[str] = field(default_factory=set)
    banners: list[str] = field(default_factory=list)
    waits: list[tuple[float, float]] = field(default_factory=list)
    refused: list[object] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        number = 0
        while not self.stop.wait(0.005):
            number += 1
            user = f"u{number % SHOPPERS}"
            click = {
                "event_id": f"e{number}", "type": "click", "user_id": user, "product_id": "p1",
                "occurred_at": "2026-01-01T00:00:00Z",
            }  # fmt: skip
            status, answer = self._timed(lambda: self.ring.post("/events", [click]))  # noqa: B023
            if status == HTTPStatus.ACCEPTED:
                self.accepted.append((user, f"e{number}"))
            elif status == 0:
                self.unanswered.add(f"e{number}")
            else:
                self.refused.append((status, answer))
            status, answer = self._timed(lambda: self.ring.post("/recommend", {}))
            if status == HTTPStatus.OK:
                self.banners.append(answer["recommendation_id"])
                if answer["reason"] is not None:
                    self.refused.append(answer)

    def _timed(self, call: Callable[[], tuple[int, object]]) -> tuple[int, object]:
        begun = time.monotonic()
        found = call()
        self.waits.append((begun, time.monotonic() - begun))
        return found

    def slowest_seconds(self, *, without: tuple[float, float] = (0.0, 0.0)) -> float:
        """Return the longest wait for an answer, but for those begun in a span of time."""
        begin, end = without
        return max(waited for begun, waited in self.waits if not begin <= begun <= end)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[KafkaBroker]:
    (tmp_path / "kafka").mkdir()
    made = new_kafka_broker(tmp_path / "kafka")
    made.start()
    yield made
    made.kill()


@pytest.fixture
def ring(tmp_path: Path, broker: KafkaBroker) -> Iterator[Ring]:
    made = Ring(
        tmp_path / "ring",
        streams="kafka",
        kafka_bootstrap_servers=broker.bootstrap_servers,
        kafka_topic_prefix=f"{uuid.uuid4().hex[:8]}.",
        secret="a secret of the tests",
    )
    open_shop(made)
    yield made
    made.end()


def metric(ring: Ring, name: str) -> float:
    import urllib.request

    with urllib.request.urlopen(ring.url + "/metrics", timeout=30) as answer:  # noqa: S310
        lines = answer.read().decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(name + " "))


def test_promise_7_every_202_is_in_the_topic_in_order_although_broker_and_server_were_killed(
    ring: Ring, broker: KafkaBroker
) -> None:
    ring.start("serve")
    until(ring.is_ready, "the service is ready")
    shop = Storefront(ring)
    client = threading.Thread(target=shop.run)
    client.start()
    try:
        until(lambda: len(shop.accepted) > 100, "events are taken")
        usual_seconds = shop.slowest_seconds()
        broker.kill()
        until(lambda: metric(ring, "service_log_spooling") == 1, "Kafka is missed")
        before = len(shop.accepted)
        until(lambda: len(shop.accepted) > before + 100, "events are taken all the same")
        assert not shop.unanswered

        # The server dies too and comes back before Kafka does: it knows its products and its spool.
        assert ring.process is not None
        server_gone = time.monotonic()
        ring.process.kill()
        ring.process.wait()
        assert list((ring.data_dir / "spool").glob("*.db"))
        ring.start("serve")
        until(ring.is_ready, "the service is ready without Kafka")
        server_back = time.monotonic()
        status, banner = ring.post("/recommend", {})
        assert (status, len(banner["products"]), banner["source"]) == (200, 5, "policy")
        before = len(shop.accepted)
        until(lambda: len(shop.accepted) > before + 100, "events are taken behind the others")

        broker.start()
        until(lambda: metric(ring, "service_log_spooling") == 0, "the spool drains", seconds=20)
        before = len(shop.accepted)
        until(lambda: len(shop.accepted) > before + 100, "events go to Kafka again")
    finally:
        shop.stop.set()
        client.join()
    ring.interrupt()
    ring.wait(30)

    assert shop.refused == []
    slowest_seconds = shop.slowest_seconds(without=(server_gone, server_back))
    assert slowest_seconds < ANSWER_SECONDS + usual_seconds
    assert not list((ring.data_dir / "spool").glob("*.db"))
    check_the_topic(ring, shop)


def check_the_topic(ring: Ring, shop: Storefront) -> None:
    found: dict[bytes, list[str]] = defaultdict(list)
    banners: set[str] = set()
    with closing(ring.log()) as log:
        for record in records_of(log, "events"):
            fact = decode_event(record.value)
            if isinstance(fact, Click):
                found[record.key or b""].append(fact.event_id)
            elif isinstance(fact, Recommended):
                banners.add(fact.recommendation_id)
    sent: dict[bytes, list[str]] = defaultdict(list)
    for user, event_id in shop.accepted:
        sent[identity.user_key(b"a secret of the tests", user)].append(event_id)

    assert found.keys() == sent.keys()
    for key, events in found.items():
        # What comes twice was first in its place; what nobody was answered may be there or not.
        first = [each for each in dict.fromkeys(events) if each not in shop.unanswered]
        assert first == sent[key]
    # A killed server may lose its last moments of banners; nothing else is missing.
    missing = [each for each in shop.banners if each not in banners]
    assert len(missing) <= 40
    places = [shop.banners.index(each) for each in missing]
    assert places == list(range(min(places, default=0), min(places, default=0) + len(places)))


def test_a_broker_that_hangs_costs_one_answer_a_second_and_the_others_nothing(
    ring: Ring, broker: KafkaBroker
) -> None:
    import signal

    ring.start("serve")
    until(ring.is_ready, "the service is ready")
    click = {
        "type": "click", "user_id": "u1", "product_id": "p1", "occurred_at": "2026-01-01T00:00:00Z",
    }  # fmt: skip

    def report(number: int) -> float:
        begun = time.monotonic()
        status, answer = ask(ring.url + "/events", _json([click | {"event_id": f"e{number}"}]))
        assert status == HTTPStatus.ACCEPTED, answer
        return time.monotonic() - begun

    usual_seconds = max(report(0), report(1))
    java = broker.process
    assert java is not None
    java.send_signal(signal.SIGSTOP)
    try:
        assert report(2) < ANSWER_SECONDS + usual_seconds
        assert median(report(number) for number in range(3, 40)) < ANSWER_SECONDS / 4
    finally:
        java.send_signal(signal.SIGCONT)
    until(lambda: metric(ring, "service_log_spooling") == 0, "the spool drains", seconds=20)
    report(40)

    with closing(ring.log()) as log:
        events = [decode_event(record.value).event_id for record in records_of(log, "events")]
    assert list(dict.fromkeys(events)) == [f"e{number}" for number in range(41)]


def _json(value: object) -> bytes:
    import msgspec

    return msgspec.json.encode(value)
