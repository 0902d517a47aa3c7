"""Projectors of one history, on partitions of Kafka that move between them."""

import uuid
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry

from projections.history.metrics import HistoryMetrics
from projections.history.projector import HistoryProjector
from projections.history.sqlite import SqliteHistoryStore
from schemas.codec import encode
from streams.kafka import KafkaLog, KafkaSettings
from streams.port import Message
from tests.contracts.histories import purchase
from tests.contracts.logs import TRIES
from tests.servers import KafkaBroker


def test_on_kafka_projectors_share_the_shoppers_and_take_over_from_each_other(
    kafka_broker: KafkaBroker, tmp_path: Path
) -> None:
    log = KafkaLog(
        KafkaSettings(kafka_broker.bootstrap_servers, topic_prefix=f"{uuid.uuid4().hex[:8]}.")
    )
    log.ensure_topics()
    users = [number.to_bytes(8, "big") for number in range(40)]

    def buys(numbers: Iterable[int]) -> None:
        log.append("events", [Message(u, encode(purchase(u, n))) for n in numbers for u in users])

    def opened(name: str) -> tuple[HistoryProjector, SqliteHistoryStore]:
        store = SqliteHistoryStore(tmp_path / name)
        return HistoryProjector(
            log,
            store,
            clock=lambda: 1_000,
            retention_ms=1_000_000,
            metrics=HistoryMetrics(CollectorRegistry()),
            poll_seconds=0.1,
        ), store

    def follow(projector: HistoryProjector, into: SqliteHistoryStore) -> None:
        ends = {part: end for part, end in log.end_offsets("events").items() if end}
        for _ in range(2 * TRIES):
            if into.positions() == ends:
                return
            projector.step()
        raise AssertionError(f"at {into.positions()} of {ends}")

    first, store = opened("shared")
    buys(range(3))
    follow(first, store)
    second, other = opened("shared")
    for _ in range(30):
        buys([3])
        first.step()
        second.step()
    first.close()
    buys(range(4, 6))
    follow(second, store)
    second.close()
    shared = store.load(users)
    store.close()
    other.close()
    alone, store = opened("alone")
    follow(alone, store)

    assert store.load(users) == shared
    assert len(shared) == len(users)
    alone.close()
    store.close()
    log.close()
