"""Groups of records that come twice, as a spool sends them after a crash, change no reader's mind.

Every reader of `events` is run over a log in which each group came once and over one in which each
came twice: banners, impressions, clicks, orders and erasures alike.
"""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import msgspec
from prometheus_client import CollectorRegistry

from console.audit import AuditSettings
from console.experiment import Experiment
from projections.history.metrics import HistoryMetrics
from projections.history.projector import HistoryProjector
from projections.history.sqlite import SqliteHistoryStore
from rewards.aggregator import Aggregator, Pace
from rewards.specification import RewardSpecification
from schemas.codec import encode
from schemas.events import (
    Click,
    Event,
    Impression,
    Line,
    Purchase,
    Recommended,
    Refund,
    Tick,
    UserErased,
)
from schemas.identity import ulid
from streams.local import LocalLog
from streams.port import Message, Record
from tests.contracts.logs import everything

START_MS = 1_750_000_000_000
SHOPPERS = [bytes([number]) * 8 for number in range(1, 6)]


class Clock:
    now_ms = START_MS

    def __call__(self) -> int:
        return self.now_ms


def banner(number: int, key: bytes, at_ms: int) -> Recommended:
    name = f"{ulid(at_ms, number.to_bytes(10, 'big'))}-{key.hex()}"
    return Recommended(
        event_id=name,
        occurred_at_ms=at_ms,
        recommendation_id=name,
        user_key=key,
        unit=f"u-{number % 7}",
        arm="control" if number % 4 == 0 else "policy",
        source="policy",
        trainable=True,
        policy_version=1,
        catalogue_version=9,
        candidates=b"all",
        product_ids=("a", "b", "c", "d", "e"),
        rows=(0, 1, 2, 3, 4),
        log_probs=(-1.0,) * 5,
        deferred=number % 3 == 0,
    )


def told_of(number: int, at_ms: int) -> list[tuple[bytes, Event]]:
    """Return what happens around one banner."""
    key = SHOPPERS[number % len(SHOPPERS)]
    shown = banner(number, key, at_ms)
    reported = {
        "occurred_at_ms": at_ms, "received_at_ms": at_ms,
        "recommendation_id": shown.recommendation_id, "user_key": key,
    }  # fmt: skip
    told: list[Event] = [shown]
    if number % 6 == 0:
        told.append(Impression(event_id=f"i{number}", **reported))
    if number % 2 == 0:
        told.append(Click(event_id=f"c{number}", product_id="b", **reported))
    lines = (Line(product_id="a", row=0), Line(product_id="d", row=3, quantity=2))
    if number % 5 in {0, 1, 2}:
        order = None if number % 2 else f"o{number}"
        told.append(Purchase(event_id=f"p{number}", order_id=order, lines=lines, **reported))
    if number % 10 == 0:
        told.append(
            Refund(event_id=f"r{number}", order_id=f"o{number}", lines=lines[:1], **reported)
        )
    if number == 23:
        told.append(UserErased(event_id="gone", occurred_at_ms=at_ms, user_key=key))
    return [(key, event) for event in told]


def written(path: Path, *, times: int) -> tuple[LocalLog, Clock]:
    """Return a log in which every group of ten banners came so many times."""
    clock = Clock()
    log = LocalLog(path, clock=clock)
    for first in range(0, 60, 10):
        group = [
            Message(key, encode(event))
            for number in range(first, first + 10)
            for key, event in told_of(number, clock.now_ms)
        ]
        for _ in range(times):
            log.append("events", group)
        clock.now_ms += 20_000
    log.append("events", [Message(None, encode(Tick(event_id="t", occurred_at_ms=clock.now_ms)))])
    return log, clock


def rewards_of(log: LocalLog, clock: Clock) -> Sequence[bytes | None]:
    aggregator = Aggregator(log, RewardSpecification(), clock=clock, pace=Pace(poll_seconds=0))
    quiet = 0
    while quiet < 3:
        quiet = 0 if aggregator.step() else quiet + 1
    aggregator.close()
    return [record.value for record in everything(log, "rewards")]


def histories_of(log: LocalLog, clock: Clock, path: Path) -> dict[bytes, bytes]:
    with closing(SqliteHistoryStore(path)) as store:
        projector = HistoryProjector(
            log,
            store,
            clock=clock,
            retention_ms=10**10,
            metrics=HistoryMetrics(CollectorRegistry()),
            poll_seconds=0,
        )
        quiet = 0
        while quiet < 3:
            quiet = 0 if projector.step() else quiet + 1
        projector.close()
        return store.load(SHOPPERS)


def report_of(log: LocalLog) -> bytes:
    experiment = Experiment(AuditSettings())
    records: list[Record] = [*everything(log, "events"), *everything(log, "rewards")]
    for record in sorted(records, key=lambda record: record.appended_at_ms):
        experiment.apply(record)
    return msgspec.json.encode(experiment.report())


def test_promise_2_every_reader_says_the_same_of_groups_that_came_twice(tmp_path: Path) -> None:
    once, clock = written(tmp_path / "once.db", times=1)
    twice, _ = written(tmp_path / "twice.db", times=2)
    with closing(once), closing(twice):
        rewards = rewards_of(once, clock)
        histories = histories_of(once, clock, tmp_path / "once-history.db")
        report = msgspec.json.decode(report_of(once))

        assert len(everything(twice, "events")) > 1.9 * len(everything(once, "events"))
        assert rewards_of(twice, clock) == rewards
        assert histories_of(twice, clock, tmp_path / "twice-history.db") == histories
        assert report_of(twice) == report_of(once)
    assert len(rewards) > 50
    assert len(histories) >= 3
    assert report["rewards"]["expected"] > 40
    assert report["arms"]["policy"]["reward"] > 10
