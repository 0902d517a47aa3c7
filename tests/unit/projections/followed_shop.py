"""A log, a store of histories, and the projector that reads the one into the other."""

from pathlib import Path

from prometheus_client import CollectorRegistry

from projections.history import kept
from projections.history.metrics import HistoryMetrics
from projections.history.projector import HistoryProjector
from projections.history.sqlite import SqliteHistoryStore
from schemas.codec import encode
from schemas.events import Fact, Line, Purchase, UserErased
from streams.local import LocalLog
from streams.port import Message, Partition

ANN, BOB = b"user ann", b"user bob"
DAY_MS = 86_400_000
EVENTS = Partition("events", 0)


class Clock:
    now = 1_000_000

    def __call__(self) -> int:
        return self.now


class Shop:
    """A log, a store and what reads the one into the other."""

    def __init__(self, folder: Path, *, partitions: int = 1) -> None:
        self.clock = Clock()
        self.folder = folder
        self.log = LocalLog(
            folder / "log.sqlite", clock=self.clock, partitions={"events": partitions}
        )
        self.store = SqliteHistoryStore(folder / "history.sqlite")
        self.registry = CollectorRegistry()
        self.metrics = HistoryMetrics(self.registry)
        self.projector = self.new_projector()

    def new_projector(self, store: SqliteHistoryStore | None = None) -> HistoryProjector:
        return HistoryProjector(
            self.log,
            store or self.store,
            clock=self.clock,
            retention_ms=90 * DAY_MS,
            metrics=self.metrics,
            poll_seconds=0,
        )

    def happens(self, *events: Fact | bytes, key: bytes = ANN) -> None:
        values = [event if isinstance(event, bytes) else encode(event) for event in events]
        self.log.append("events", [Message(key, value) for value in values])

    def follow(self) -> None:
        # The first idle step may only find out that the store is elsewhere, the next seeks there.
        idle = 0
        while idle < 3:
            idle = 0 if self.projector.step() else idle + 1

    def count(self, name: str) -> float:
        return self.registry.get_sample_value(name) or 0.0

    def shoppers(self) -> dict[bytes, bytes]:
        return self.store.load([ANN, BOB])

    def close(self) -> None:
        self.projector.close()
        self.store.close()
        self.log.close()


def purchase(*rows: int | None, order_id: str = "o1", user_key: bytes | None = ANN) -> Purchase:
    return Purchase(
        event_id=f"event of {order_id}",
        occurred_at_ms=0,
        received_at_ms=0,
        user_key=user_key,
        order_id=order_id,
        lines=tuple(Line(product_id="p", row=row) for row in rows),
    )


def erased(user_key: bytes = ANN) -> UserErased:
    return UserErased(event_id="erased", occurred_at_ms=0, user_key=user_key)


def rows_of(shop: Shop, user_key: bytes) -> list[int]:
    return [int(row) for row in kept.unpack(shop.shoppers()[user_key]).history.rows]
