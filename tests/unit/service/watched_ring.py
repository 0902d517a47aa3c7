"""A watcher over an embedded log and a shelf of snapshots, and what goes wrong with them."""

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
from prometheus_client import CollectorRegistry

from policy.architecture import expected_shapes
from policy.errors import SnapshotRejected, SnapshotUnreadable
from projections.catalogue import CatalogueProjection
from projections.kept_products import KeptProducts
from schemas.codec import decode_announcement, encode
from schemas.policies import Live
from schemas.products import Product, ProductUpserted
from service.behaviour import Behaviour, ServingState
from service.metrics import Metrics
from service.watcher import Watcher
from streams.errors import LogUnavailable
from streams.local import LocalLog
from streams.port import Consumer, Message, Record

NOW_MS = 1_700_000_000_000


def weights(products: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    made = {
        name: (0.1 * rng.standard_normal(shape)).astype(dtype)
        for name, (shape, dtype) in expected_shapes(products).items()
    }
    made["neighbour_rows"] = np.full_like(made["neighbour_rows"], -1)
    made["neighbour_weights"][:] = 0
    made["popularity"] = np.abs(made["popularity"])
    made["sharpness"][:] = 1
    return made


class Shelf:
    """Snapshots by version and a pointer; a version may be one that is rejected."""

    def __init__(self) -> None:
        self.snapshots: dict[int, SimpleNamespace] = {}
        self.pointer: Live | None = None
        self.loads: list[int] = []
        self.unreadable: set[int] = set()
        self.bug: Exception | None = None

    def put(self, version: int, *, products: int = 6, learned: tuple[int, ...] = ()) -> None:
        manifest = SimpleNamespace(version=version, products=products, learned_events_ms=learned)
        self.snapshots[version] = SimpleNamespace(
            manifest=manifest, weights=weights(products, version)
        )

    def spoil(self, version: int) -> None:
        self.snapshots.pop(version, None)

    def point(self, version: int, *, previous: tuple[int, ...] = (), hold: bool = False) -> None:
        self.pointer = Live(
            version=version, foundation=1, previous=previous, hold=hold,
            changed_at_ms=NOW_MS, reason="a test",
        )  # fmt: skip

    def live(self) -> Live | None:
        return self.pointer

    def load(self, version: int) -> SimpleNamespace:
        self.loads.append(version)
        if self.bug is not None:
            raise self.bug
        if version in self.unreadable:
            raise SnapshotUnreadable("Too many open files")
        if version not in self.snapshots:
            raise SnapshotRejected("sha256 differs")
        return self.snapshots[version]


class Waking:
    """A consumer of a broker: its first polls find nothing; what waits for nothing never finds."""

    def __init__(self, consumer: Consumer, polls: int) -> None:
        self._consumer = consumer
        self._polls = polls
        self.seek, self.close = consumer.seek, consumer.close

    def poll(self, *, max_records: int, timeout_seconds: float) -> Sequence[Record]:
        self._polls -= 1
        if self._polls >= 0 or timeout_seconds == 0:
            return []
        return self._consumer.poll(max_records=max_records, timeout_seconds=0.0)


class Ring:
    """A watcher over an embedded log and a shelf of snapshots."""

    def __init__(self, folder, *, log: str = "log.sqlite") -> None:
        self.reachable = True
        self.polls_before_the_first = 0
        self.after_end_offsets = lambda: None
        self.log = LocalLog(folder / log, clock=lambda: NOW_MS)
        self.shelf = Shelf()
        self.metrics = Metrics(CollectorRegistry())
        self.swaps = 0
        self.seconds = 0.0
        empty = CatalogueProjection().current
        self.behaviour = Behaviour(ServingState(empty, None, None, np.empty(0, np.int32)))
        self.watcher = Watcher(
            self.behaviour,
            self.shelf,
            self,
            clock=lambda: NOW_MS,
            metrics=self.metrics,
            kept=KeptProducts(folder / "catalogue.db"),
            after_swap=self._swapped,
            monotonic=lambda: self.seconds,
        )

    def _swapped(self) -> None:
        self.swaps += 1

    def append(self, topic, messages) -> None:
        if not self.reachable:
            raise LogUnavailable("away")
        self.log.append(topic, messages)

    def consumer(self, topics, *, group):
        if not self.reachable:
            raise LogUnavailable("away")
        consumer = self.log.consumer(topics, group=group)
        polls = self.polls_before_the_first
        return Waking(consumer, polls) if polls else consumer

    def end_offsets(self, topic):
        ends = self.log.end_offsets(topic)
        self.after_end_offsets()
        return ends

    def sell(self, first: int, last: int, **changes) -> None:
        self.log.append(
            "products",
            [
                Message(None, encode(ProductUpserted(product=Product(
                    product_id=f"p{n}", title=changes.get("title", f"Title {n}"),
                    available=changes.get("available", True),
                ))))
                for n in range(first, last)
            ],
        )  # fmt: skip

    @property
    def state(self) -> ServingState:
        return self.behaviour.state

    def told(self) -> list:
        reader = self.log.consumer(["policies"], group=None)
        found = reader.poll(max_records=100, timeout_seconds=0.0)
        reader.close()
        return [decode_announcement(record.value) for record in found]
