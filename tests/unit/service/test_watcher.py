"""Swaps: what the live pointer names serves, unless it is rejected."""

from collections.abc import Sequence
from contextlib import suppress
from types import SimpleNamespace

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from policy.architecture import expected_shapes
from policy.errors import RegistryHeld, SnapshotRejected, SnapshotUnreadable
from policy.registry import Registry
from projections.catalogue import CatalogueProjection
from projections.kept_products import KeptProducts
from schemas.codec import decode_announcement, encode
from schemas.policies import Live
from schemas.products import Product, ProductRemoved, ProductUpserted
from service.behaviour import Behaviour, ServingState
from service.metrics import Metrics
from service.watcher import Watcher
from service.weights import Weights
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


@pytest.fixture
def ring(tmp_path):
    made = Ring(tmp_path)
    made.sell(0, 6)
    yield made
    made.watcher.stop()
    made.log.close()


def test_what_the_pointer_names_is_loaded_warm_and_announced(ring):
    ring.shelf.put(1)
    ring.shelf.put(2, learned=(NOW_MS - 1500,))
    ring.shelf.point(2)

    assert ring.watcher.step()

    assert ring.behaviour.ready
    assert (ring.state.behaviour.version, ring.state.foundation.version) == (2, 1)
    assert ring.state.behaviour.policy.products == len(ring.state.catalogue) == 6
    assert sorted(ring.state.popular.tolist()) == list(range(6))
    (served,) = ring.told()
    assert (served.kind, served.version, served.at_ms) == ("served", 2, NOW_MS)
    assert served.learned_events_ms == (NOW_MS - 1500,)
    sample = ring.metrics.registry.get_sample_value
    assert sample("service_policy_version") == 2
    assert sample("service_freshness_seconds_sum") == 1.5
    assert ring.swaps == 1


def test_nothing_moves_while_the_pointer_and_the_catalogue_stand_still(ring):
    ring.shelf.put(1)
    ring.shelf.point(1)
    ring.watcher.step()
    before = ring.state

    assert not ring.watcher.step()
    assert ring.state is before
    assert ring.shelf.loads == [1]
    assert len(ring.told()) == 1


def test_promise_5_a_rejected_snapshot_never_serves_and_is_not_tried_again(ring):
    ring.shelf.put(1)
    ring.shelf.point(1)
    ring.watcher.step()
    before = ring.state

    ring.shelf.point(2, previous=(1,))
    ring.watcher.step()
    ring.watcher.step()

    assert ring.state is before
    assert ring.shelf.loads == [1, 2]
    rejected = ring.told()[-1]
    assert (rejected.kind, rejected.version, rejected.reason) == ("rejected", 2, "sha256 differs")
    assert (
        ring.metrics.registry.get_sample_value("service_swaps_total", {"result": "rejected"}) == 1
    )

    ring.shelf.put(3)
    ring.shelf.point(3, previous=(1, 2))
    ring.watcher.step()
    assert ring.state.policy_version == 3


@pytest.mark.parametrize("spoiled", ["output_rows", "sharpness"])
def test_promise_5_weights_that_are_not_finite_never_serve(ring, spoiled):
    ring.shelf.put(1)
    ring.shelf.point(1)
    ring.watcher.step()
    ring.shelf.put(2)
    ring.shelf.snapshots[2].weights[spoiled][:] = np.nan

    ring.shelf.point(2, previous=(1,))
    ring.watcher.step()

    assert ring.state.policy_version == 1
    assert ring.told()[-1].kind == "rejected"


def test_promise_5_a_roll_back_is_followed(ring):
    for version in (1, 2, 3):
        ring.shelf.put(version)
        ring.shelf.point(version)
        ring.watcher.step()

    ring.shelf.point(2, hold=True)
    ring.watcher.step()

    assert ring.state.policy_version == 2
    assert [told.version for told in ring.told()] == [1, 2, 3, 2]


def test_at_the_start_the_newest_snapshot_that_may_serve_does(ring):
    ring.shelf.put(1)
    ring.shelf.put(4)
    ring.shelf.point(6, previous=(4, 5))

    ring.watcher.step()

    assert ring.state.policy_version == 4
    assert [told.kind for told in ring.told()] == ["rejected", "rejected", "served"]


def test_the_first_look_waits_until_a_broker_has_given_the_whole_catalogue(ring):
    ring.polls_before_the_first = 3

    ring.watcher.step()

    assert len(ring.state.catalogue) == 6


def test_a_product_put_while_the_catalogue_is_first_read_is_not_lost(ring):
    ring.after_end_offsets = lambda: ring.sell(6, 7)

    ring.watcher.step()
    ring.sell(7, 8)
    ring.watcher.step()

    assert list(ring.state.catalogue.row_of) == [f"p{row}" for row in range(8)]


def test_a_snapshot_that_cannot_be_read_just_now_is_not_rejected_but_tried_again(ring):
    ring.shelf.put(1)
    ring.shelf.point(1)
    ring.shelf.unreadable.add(1)
    ring.watcher.step()
    assert not ring.behaviour.ready
    assert len(ring.state.catalogue) == 6

    ring.shelf.unreadable.clear()
    ring.watcher.step()

    assert ring.state.policy_version == 1
    assert [told.kind for told in ring.told()] == ["served"]


@pytest.mark.parametrize("bug", [MemoryError(), OSError(28, "No space left on device")])
def test_a_look_that_failed_is_made_again_though_the_pointer_stands_still(ring, bug):
    ring.shelf.put(1)
    ring.shelf.point(1)
    ring.shelf.bug = bug
    with suppress(MemoryError):
        ring.watcher.step()
    assert not ring.behaviour.ready

    ring.shelf.bug = None
    ring.watcher.step()

    assert ring.state.policy_version == 1
    assert [told.kind for told in ring.told()] == ["served"]


def test_a_swap_that_failed_is_made_at_the_next_look_though_the_pointer_stands_still(
    ring, monkeypatch
):
    for version in (1, 2):
        ring.shelf.put(version)
        ring.shelf.point(version)
        ring.watcher.step()
    fit, failures = Weights.fit, [MemoryError()]

    def fit_but_once(*given) -> None:
        if failures:
            raise failures.pop()
        fit(*given)

    monkeypatch.setattr(Weights, "fit", fit_but_once)
    ring.shelf.point(1, hold=True)
    with pytest.raises(MemoryError):
        ring.watcher.step()
    assert ring.state.policy_version == 2

    assert ring.watcher.step()
    assert ring.state.policy_version == 1
    assert [told.version for told in ring.told()] == [1, 2, 1]
    assert not ring.watcher.step()


def test_at_the_start_an_earlier_snapshot_serves_until_the_live_one_can_be_read(ring):
    ring.shelf.put(1)
    ring.shelf.put(3)
    ring.shelf.point(3, previous=(1, 2))
    ring.shelf.unreadable.add(3)
    for _ in range(5):
        ring.watcher.step()
    assert ring.state.policy_version == 1

    ring.shelf.unreadable.clear()
    ring.watcher.step()

    assert ring.state.policy_version == 3
    told = [(told.kind, told.version) for told in ring.told()]
    assert told == [("rejected", 2), ("served", 1), ("served", 3)]


def test_without_any_snapshot_the_catalogue_still_serves(ring):
    ring.shelf.point(6)

    ring.watcher.step()

    assert len(ring.state.catalogue) == 6
    assert not ring.behaviour.ready


def test_a_new_product_is_compiled_in_and_can_be_drawn(ring):
    ring.shelf.put(1)
    ring.shelf.point(1)
    ring.watcher.step()
    ring.sell(6, 9)

    assert ring.watcher.step()

    policy = ring.state.behaviour.policy
    assert policy.products == len(ring.state.catalogue) == 9
    rows = policy.greedy(
        viewed_row=-1, history=b"", eligible=ring.state.catalogue.available,
        excluded=np.arange(6, dtype=np.int32), size=5,
    )  # fmt: skip
    assert sorted(rows.tolist()) == [6, 7, 8]
    assert ring.swaps == 1
    assert len(ring.told()) == 1


def test_compiling_for_a_changed_catalogue_waits_while_it_keeps_changing(ring):
    ring.shelf.put(1)
    ring.shelf.point(1)
    ring.watcher.step()
    ring.sell(6, 7)
    assert ring.watcher.step()
    ring.sell(7, 8)

    assert not ring.watcher.step()
    ring.seconds += 1.0
    assert ring.watcher.step()
    assert len(ring.state.catalogue) == 8


def test_availability_is_followed_at_once_without_compiling(ring):
    ring.shelf.put(1)
    ring.shelf.point(1)
    ring.watcher.step()
    policy = ring.state.behaviour.policy

    for product_id in ("p0", "p1"):
        ring.log.append("products", [Message(None, encode(ProductRemoved(product_id=product_id)))])
        assert ring.watcher.step()

    assert ring.state.catalogue.available.tolist() == [0, 0, 1, 1, 1, 1]
    assert ring.state.behaviour.policy is policy


def test_a_snapshot_that_knows_more_products_waits_for_the_catalogue(ring):
    ring.watcher.step()
    ring.shelf.put(1, products=8)
    ring.shelf.point(1)

    assert not ring.watcher.step()
    assert ring.told() == []
    ring.sell(6, 8)
    assert ring.watcher.step()
    assert ring.state.policy_version == 1


def test_weights_are_swapped_while_the_log_is_away_and_announced_when_it_is_back(ring):
    ring.watcher.step()
    ring.watcher.stop()
    ring.reachable = False
    ring.shelf.put(1)
    ring.shelf.point(1)

    assert ring.watcher.step()
    assert ring.behaviour.ready
    assert ring.told() == []

    ring.reachable = True
    ring.watcher.step()
    assert [told.kind for told in ring.told()] == ["served"]


def restarted(ring, folder, **options):
    """Return a ring whose watcher begins again with the same folder and shelf."""
    ring.watcher.stop()
    again = Ring(folder, **options)
    again.shelf = ring.shelf
    again.watcher = Watcher(
        again.behaviour,
        ring.shelf,
        again,
        clock=lambda: NOW_MS,
        metrics=again.metrics,
        kept=KeptProducts(folder / "catalogue.db"),
    )
    return again


def test_promise_6_a_server_that_starts_without_the_log_serves_what_it_knew_last(ring, tmp_path):
    ring.shelf.put(1)
    ring.shelf.point(1)
    ring.watcher.step()
    ring.sell(6, 9)
    ring.watcher.step()

    again = restarted(ring, tmp_path)
    again.reachable = False
    again.watcher.step()

    assert again.behaviour.ready
    assert again.state.catalogue.row_of == ring.state.catalogue.row_of
    assert again.state.catalogue.fragments == ring.state.catalogue.fragments
    again.watcher.step()
    assert len(again.state.catalogue) == 9

    ring.sell(9, 12)
    again.reachable = True
    again.watcher.step()
    assert len(again.watcher._followed.current) == 12
    again.watcher.stop()
    again.log.close()


def test_a_server_that_starts_with_the_log_shows_nobody_an_old_catalogue(ring, tmp_path):
    ring.watcher.step()

    again = restarted(ring, tmp_path)
    again.sell(6, 9)
    again.watcher.start()
    again.watcher.wait_first_look()

    assert len(again.state.catalogue) == 9
    again.watcher.stop()
    again.log.close()


def test_what_this_machine_knew_is_dropped_where_the_log_holds_other_products(ring, tmp_path):
    ring.shelf.put(1)
    ring.shelf.point(1)
    ring.watcher.step()

    other = restarted(ring, tmp_path, log="another.sqlite")
    other.sell(20, 26)
    other.watcher.step()
    assert list(other.state.catalogue.row_of) == [f"p{n}" for n in range(6)]
    assert other.watcher.step()

    assert list(other.state.catalogue.row_of) == [f"p{n}" for n in range(20, 26)]
    assert other.state.behaviour.policy.products == 6
    kept = KeptProducts(tmp_path / "catalogue.db")
    assert len(kept.load()) == 6
    assert b"p20" in kept.load()[0].value
    other.watcher.stop()
    other.log.close()


def test_what_this_machine_knew_is_dropped_where_the_log_is_empty(ring, tmp_path):
    ring.shelf.put(1)
    ring.shelf.point(1)
    ring.watcher.step()

    other = restarted(ring, tmp_path, log="another.sqlite")
    other.watcher.step()
    assert other.behaviour.ready
    other.watcher.step()

    assert len(other.state.catalogue) == 0
    assert not other.behaviour.ready
    other.watcher.stop()
    other.log.close()


@pytest.fixture
def shelved(ring, tmp_path):
    """Return a real registry, watched, with one foundation live."""
    registry = Registry(tmp_path / "registry", clock=lambda: NOW_MS)
    ring.watcher = Watcher(
        ring.behaviour,
        registry,
        ring,
        clock=lambda: NOW_MS,
        metrics=ring.metrics,
        monotonic=lambda: ring.seconds,
    )
    manifest = registry.publish_foundation(weights(6, 1), catalogue_version=6)
    registry.promote(manifest.version, reason="pretrained")
    ring.watcher.step()
    assert ring.state.policy_version == manifest.version
    return registry


def trained(registry: Registry, seed: int):
    return registry.publish(
        weights(6, seed), parent=1, foundation=1, catalogue_version=6, updates=1, banners=256
    )


def test_promise_5_a_snapshot_damaged_on_disk_never_serves(ring, shelved, tmp_path):
    manifest = trained(shelved, 2)
    shelved.promote(manifest.version, reason="trained")
    (file,) = (tmp_path / "registry").rglob(f"*{manifest.version}/weights.safetensors")
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)

    ring.watcher.step()

    assert ring.state.policy_version == 1
    assert [told.kind for told in ring.told()] == ["served", "rejected"]


def test_promise_5_a_held_registry_serves_what_was_rolled_back_to(ring, shelved):
    for seed in (2, 3):
        shelved.promote(trained(shelved, seed).version, reason="trained")
        ring.watcher.step()
    shelved.rollback(reason="worse")
    ring.watcher.step()

    with pytest.raises(RegistryHeld):
        shelved.promote(trained(shelved, 4).version, reason="trained")
    ring.watcher.step()
    assert ring.state.policy_version == 2


def test_a_live_pointer_that_cannot_be_read_changes_nothing(ring, shelved, tmp_path):
    (tmp_path / "registry" / "live.json").write_bytes(b"{")
    ring.sell(0, 1, available=False)

    assert ring.watcher.step()

    assert ring.state.policy_version == 1
    assert ring.state.catalogue.available[0] == 0
