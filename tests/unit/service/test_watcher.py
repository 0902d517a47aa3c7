"""Swaps: what the live pointer names serves, unless it is rejected."""

from contextlib import suppress

import numpy as np
import pytest

from policy.errors import RegistryHeld
from policy.registry import Registry
from service.watcher import Watcher
from service.weights import Weights
from tests.unit.service.watched_ring import NOW_MS, weights


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
