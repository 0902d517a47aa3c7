"""A trainer that is stopped or killed at any point continues to the same weights."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.unit.trainer.learning_ring import BATCH, Ring, drain, good


class Crashed(RuntimeError):
    """The process died here."""


CRASH_POINTS = ("learned", "published", "promoted", "announced", "saved")


def crash_at(point: str, occurrence: int) -> Callable[[str], None]:
    left = [occurrence]

    def reached(name: str) -> None:
        left[0] -= name == point
        if name == point and left[0] == 0:
            raise Crashed(name)

    return reached


@pytest.mark.parametrize("point", CRASH_POINTS)
def test_promise_3_a_trainer_stopped_at_any_point_continues_to_the_same_weights(
    ring_of: Callable[[str], Ring], shop: Any, point: str
) -> None:
    rewards = [
        msgspec.structs.replace(reward, recommendation_id=f"{reward.recommendation_id}-{batch}")
        for batch in range(4)
        for reward in shop.rewards(BATCH, seed=batch, points=good)
    ]
    unbroken, broken = ring_of("unbroken"), ring_of("broken")
    unbroken.reward(*rewards)
    broken.reward(*rewards)
    drain(unbroken.trainer())

    for occurrence in (1, 2, 1):
        trainer = broken.trainer(crash_at(point, occurrence))
        with pytest.raises(Crashed):
            drain(trainer)
    drain(broken.trainer())

    assert len(unbroken.digests()) == 5
    assert broken.digests() == unbroken.digests()
    assert broken.live().version == unbroken.live().version == 5
    assert broken.live().previous == unbroken.live().previous  # never back, never twice


def test_promise_3_holds_for_batches_that_close_by_time(
    ring_of: Callable[[str], Ring], shop: Any
) -> None:
    unbroken, broken = ring_of("unbroken"), ring_of("broken")
    for ring in (unbroken, broken):
        for batch in range(4):
            ring.reward(*shop.rewards(5, seed=batch, points=good))
            ring.now_ms += 2500
    drain(unbroken.trainer())

    for _ in range(2):
        trainer = broken.trainer(crash_at("promoted", 1))
        with pytest.raises(Crashed):
            drain(trainer)
    drain(broken.trainer())

    assert len(unbroken.digests()) == 4
    assert broken.digests() == unbroken.digests()


def test_promise_3_a_killed_trainer_continues_to_the_same_weights(
    ring_of: Callable[[str], Ring], shop: Any
) -> None:
    killed, unbroken = ring_of("killed"), ring_of("unbroken")
    for ring in (killed, unbroken):
        for batch in range(3):
            ring.reward(*shop.rewards(BATCH, seed=batch, points=good))
    script = Path(__file__).with_name("killed_trainer.py")

    def run(ring: Ring, point: str, times: int) -> int:
        command = [sys.executable, str(script), str(ring.root), point, str(times)]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
        return subprocess.run(command, check=False, env=environment).returncode

    assert run(unbroken, "never", 1) == 0
    assert run(killed, "promoted", 2) == -signal.SIGKILL
    assert run(killed, "published", 1) == -signal.SIGKILL
    assert run(killed, "never", 1) == 0

    assert len(unbroken.digests()) == 4
    assert killed.digests() == unbroken.digests()
