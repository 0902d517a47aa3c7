"""The trainer goes on from what is live, whoever made it so."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.trainer.learning_ring import BATCH, Ring, drain, good


def test_promise_5_after_a_rollback_training_goes_on_from_what_is_live_and_waits_for_resume(
    ring: Ring, shop: Any
) -> None:
    trainer = ring.trainer()
    ring.reward(*shop.rewards(3 * BATCH, points=good))
    drain(trainer)

    ring.registry.rollback(reason="worse", to=2)
    ring.reward(*shop.rewards(BATCH, seed=1, points=good))
    drain(trainer)
    held = ring.live().version
    first_held = ring.registry.load(5).manifest
    ring.reward(*shop.rewards(BATCH, seed=2, points=good))
    drain(trainer)
    second_held = ring.registry.load(6).manifest
    ring.registry.resume()
    ring.reward(*shop.rewards(BATCH, seed=3, points=good))
    drain(trainer)

    assert held == 2
    assert (first_held.parent, first_held.updates) == (2, 2)  # version 2 had one update
    assert second_held.parent == 5
    assert ring.live().version == 7
    assert ring.registry.load(7).manifest.parent == 6


def test_a_rollback_while_the_trainer_is_down_is_seen_when_it_starts(ring: Ring, shop: Any) -> None:
    ring.reward(*shop.rewards(2 * BATCH, points=good))
    drain(ring.trainer())
    ring.registry.rollback(reason="worse", to=1)
    ring.reward(*shop.rewards(BATCH, seed=1, points=good))

    drain(ring.trainer())

    assert ring.live().version == 1
    assert ring.registry.load(4).manifest.parent == 1
    assert ring.registry.load(4).manifest.rewards_offset == 3 * BATCH


def test_a_new_foundation_becomes_the_reference(ring: Ring, shop: Any) -> None:
    trainer = ring.trainer()
    ring.reward(*shop.rewards(BATCH, points=good))
    drain(trainer)

    newer = {name: values.copy() for name, values in shop.weights.items()}
    newer["user_bias"] += np.float32(0.1)
    ring.registry.publish_foundation(newer, catalogue_version=shop.size)
    ring.registry.promote(3, reason="pretrained")
    ring.reward(*shop.rewards(BATCH, seed=1, points=good))
    drain(trainer)

    assert ring.registry.load(4).manifest.foundation == 3
    assert ring.registry.load(4).manifest.updates == 1


def test_a_version_taken_by_somebody_else_is_passed_over(ring: Ring, shop: Any) -> None:
    trainer = ring.trainer()
    ring.reward(*shop.rewards(BATCH, points=good))
    drain(trainer)
    ring.registry.publish_foundation(shop.weights, catalogue_version=shop.size)  # not promoted

    ring.reward(*shop.rewards(BATCH, seed=1, points=good))
    drain(trainer)

    assert ring.live().version == 4
    assert ring.registry.load(4).manifest.parent == 2


def test_without_anything_live_the_trainer_waits(shop: Any, tmp_path: Path) -> None:
    ring = Ring(tmp_path / "empty", shop)
    ring.reward(*shop.rewards(BATCH))

    assert ring.trainer().step() == 0


@pytest.mark.parametrize("restarted", [False, True])
def test_what_was_made_live_and_cannot_serve_is_replaced_by_the_next_version(
    ring: Ring, shop: Any, restarted: bool
) -> None:
    trainer = ring.trainer()
    ring.reward(*shop.rewards(BATCH, points=good))
    drain(trainer)
    ring.registry.publish_foundation(shop.weights, catalogue_version=shop.size)
    ring.registry.promote(3, reason="by hand")
    file = ring.root / "registry" / "snapshots" / "00000003" / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    if restarted:
        trainer.close()
        trainer = ring.trainer()

    ring.reward(*shop.rewards(BATCH, seed=1, points=good))
    drain(trainer)

    assert ring.live().version == 4
    assert ring.registry.load(4).manifest.parent == 2
