"""`quintet train` over the same rewards, once in peace and once killed again and again."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from schemas.codec import decode_announcement, decode_reward
from tests.faults.conftest import KilledRing
from tests.rings import Ring, records_of, until

SEED = 20_261
KILLS = 5
BATCH_BANNERS = "128"


def shelf(ring: Ring) -> list[tuple[int, str]]:
    """Return version and digest of every snapshot."""
    return [(manifest.version, manifest.sha256) for manifest in ring.registry().manifests()]


def train(ring: Ring, *, until_snapshots: int) -> None:
    """Start the trainer and wait until it has published."""
    ring.start("train", "--device", "cpu")
    until(lambda: len(shelf(ring)) >= until_snapshots, f"{until_snapshots} snapshots")


@pytest.fixture
def trained(killed_ring: KilledRing, tmp_path: Path) -> Iterator[list[Ring]]:
    """Two rings that know the same rewards and the same foundation, and have learned nothing."""
    source = killed_ring.ring
    rings = []
    for name in ("in_peace", "killed"):
        ring = Ring(tmp_path / name, batch_banners=BATCH_BANNERS)
        ring.copy_log(source.data_dir)
        foundation = source.registry().load(1)
        ring.registry().publish_foundation(
            foundation.weights, catalogue_version=foundation.manifest.catalogue_version
        )
        ring.registry().promote(1, reason="the foundation")
        rings.append(ring)
    yield rings
    for ring in rings:
        ring.end()


def test_promise_3_a_trainer_killed_at_any_moment_makes_the_same_weights(
    trained: list[Ring],
) -> None:
    in_peace, killed = trained
    rng = np.random.default_rng(SEED)
    with closing(in_peace.log()) as log:
        rewards = [decode_reward(record.value) for record in records_of(log, "rewards")]
    full_batches = sum(reward.trainable for reward in rewards) // int(BATCH_BANNERS)

    train(in_peace, until_snapshots=1 + full_batches)
    in_peace.end()
    goal = shelf(in_peace)
    for kill in range(KILLS):
        train(killed, until_snapshots=2 + (len(goal) - 2) * kill // KILLS)
        moment = time.monotonic() + float(rng.uniform(0.0, 0.15))
        until(lambda moment=moment: time.monotonic() > moment, "the moment of the kill")
        killed.end()
    train(killed, until_snapshots=len(goal))

    assert shelf(killed) == goal
    last = goal[-1][0]
    until(lambda: (live := killed.registry().live()) and live.version == last, "the last is live")
    with closing(killed.log()) as log:
        told = [decode_announcement(record.value) for record in records_of(log, "policies")]
    assert {version for version, _ in goal[1:]} <= {
        announcement.version for announcement in told if announcement.kind == "published"
    }
