"""The ring that was never killed: the same events read once more in peace."""

import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from itertools import groupby
from pathlib import Path

from prometheus_client import CollectorRegistry

from cli.settings import Settings
from cli.wiring import history_store, retention_ms, reward_specification
from policy.registry import Registry
from projections.history.metrics import HistoryMetrics
from projections.history.port import HistoryStore
from projections.history.projector import HistoryProjector
from projections.history.sqlite import SqliteHistoryStore
from rewards.aggregator import Aggregator, Pace
from schemas.codec import decode_event
from schemas.errors import SchemaError
from schemas.events import Purchase
from streams.local import LocalLog
from streams.port import Message, Record
from tests.rings import Ring, until

_NO_TICKS = Pace(poll_seconds=0.0, silence_ms=1 << 60)
_MEMORY = Path("/dev/shm")
Table = dict[bytes | None, list[bytes | None]]


def table(records: Iterable[Record]) -> Table:
    """Return the values of each key in their order."""
    found: Table = defaultdict(list)
    for record in records:
        found[record.key].append(record.value)
    return dict(found)


class Peace:
    """The events of a log in a log of its own, each at the time at which it was appended."""

    def __init__(self, events: Sequence[Record], partitions: int) -> None:
        place = _MEMORY if os.access(_MEMORY, os.W_OK) else None
        self._folder = tempfile.TemporaryDirectory(dir=place)
        self._now_ms = 0
        self.path = Path(self._folder.name)
        self.log = LocalLog(
            self.path / "log.db", clock=lambda: self._now_ms, partitions={"events": partitions}
        )
        for at_ms, group in groupby(
            sorted(events, key=lambda r: (r.partition, r.offset)),
            key=lambda r: (r.partition, r.appended_at_ms),
        ):
            self._now_ms = at_ms[1]
            self.log.append("events", [Message(r.key, r.value) for r in group])

    def rewards(self, settings: Settings) -> Table:
        """Return the table of rewards of an aggregator that nobody disturbed."""
        running = Aggregator(
            self.log, reward_specification(settings), clock=lambda: 0, pace=_NO_TICKS
        )
        _to_the_end(running.step)
        running.close()
        with closing(self.log.consumer(["rewards"], group=None)) as reader:
            found = []
            while records := reader.poll(max_records=10_000, timeout_seconds=0.0):
                found += records
        return table(found)

    def histories(self, settings: Settings, shoppers: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return what a history store holds that was filled from these events alone."""
        with closing(SqliteHistoryStore(self.path / "history.db")) as store:
            projector = HistoryProjector(
                self.log, store, clock=lambda: self._now_ms, retention_ms=retention_ms(settings),
                metrics=HistoryMetrics(CollectorRegistry()), poll_seconds=0.0,
            )  # fmt: skip
            _to_the_end(projector.step)
            projector.close()
            return store.load(shoppers)

    def close(self) -> None:
        """Forget everything."""
        self.log.close()
        self._folder.cleanup()


def _to_the_end(step: Callable[[], int]) -> None:
    quiet = 0
    while quiet < 3:
        quiet = 0 if step() else quiet + 1


def shoppers_of(events: Iterable[Record]) -> set[bytes]:
    """Return the shoppers who bought something."""
    found = set()
    for record in events:
        try:
            event = decode_event(record.value)
        except SchemaError:
            continue
        if isinstance(event, Purchase) and event.user_key:
            found.add(event.user_key)
    return found


def kept_histories(settings: Settings, shoppers: Iterable[bytes]) -> dict[bytes, bytes]:
    """Return what the ring's own store holds of these shoppers."""
    store: HistoryStore = history_store(settings)
    with closing(store):
        return store.load(shoppers)


def shelf(registry: Registry) -> dict[int, str]:
    """Return the digest of every snapshot by version."""
    return {manifest.version: manifest.sha256 for manifest in registry.manifests()}


def weights_in_peace(of: Ring, folder: Path, **settings: str) -> dict[int, str]:
    """Return the digests of a trainer that was never stopped over a ring's rewards.

    The ring must have ended. The peaceful trainer gets its log and its foundation, nothing else.
    """
    ring = Ring(folder, **settings)
    ring.copy_log(of.data_dir)
    foundation = of.registry().load(1)
    ring.registry().publish_foundation(
        foundation.weights, catalogue_version=foundation.manifest.catalogue_version
    )
    ring.registry().promote(1, reason="the foundation")
    goal = max(shelf(of.registry()))
    try:
        ring.start("train", "--device", "cpu")
        until(lambda: goal in shelf(ring.registry()), f"version {goal} in peace", seconds=120)
    finally:
        ring.end()
    return shelf(ring.registry())
