"""The moving baseline converges to the moments of final rewards."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from trainer.baseline import Baseline
from trainer.examples import Batch


def batch(points: list[list[float]], *, delta: list[list[float]] | None = None) -> Batch:
    settled = delta is None
    shape = (len(points), 5)
    full = np.zeros(shape)
    full[:, : len(points[0])] = points
    changed = full if delta is None else np.pad(delta, ((0, 0), (0, 5 - len(delta[0]))))
    has_position = np.arange(5) < np.full((len(points), 1), len(points[0]))
    found: Any = SimpleNamespace(
        points=full,
        delta=changed,
        is_settlement=np.full(len(points), settled),
        has_position=has_position,
    )
    return cast("Batch", found)


def test_the_first_batch_is_its_own_baseline() -> None:
    baseline = Baseline(horizon=50.0)
    seen = batch([[1.0, 0, 0, 0, 0], [0.0, 0, 0, 0, 1.0]])

    baseline.observe(seen)

    assert baseline.means.tolist() == [0.5, 0, 0, 0, 0.5]
    assert baseline.advantages(seen).sum() == pytest.approx(0.0, abs=1e-6)


def test_a_correction_leaves_the_moments_as_if_the_final_reward_had_come_at_once() -> None:
    late, early = Baseline(horizon=1e12), Baseline(horizon=1e12)

    late.observe(batch([[0.1, 0, 0, 0, 0], [0, 0, 0, 0, 0]]))
    late.observe(batch([[1.1, 0, 0, 0, 0]], delta=[[1.0, 0, 0, 0, 0]]))
    early.observe(batch([[1.1, 0, 0, 0, 0], [0, 0, 0, 0, 0]]))

    np.testing.assert_allclose(late.means, early.means)
    assert late.spread == pytest.approx(early.spread)


def test_a_correction_has_no_baseline_taken_off() -> None:
    baseline = Baseline(horizon=50.0)
    baseline.observe(batch([[1.0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]))
    correction = batch([[0.0, 0, 0, 0, 0]], delta=[[-1.0, 0, 0, 0, 0]])

    advantages = baseline.advantages(correction)

    np.testing.assert_allclose(advantages, [[-1.0 / baseline.spread, 0, 0, 0, 0]])


def test_positions_beyond_a_short_banner_have_no_advantage_and_no_weight_in_the_mean() -> None:
    baseline = Baseline(horizon=50.0)
    baseline.observe(batch([[1.0, 1.0, 1.0, 1.0, 1.0]]))
    short = batch([[0.0, 0.0]])

    baseline.observe(short)

    assert baseline.means[4] == pytest.approx(1.0)
    assert baseline.advantages(short)[0, 2:].tolist() == [0.0, 0.0, 0.0]


def test_without_any_reward_nothing_is_divided_by_zero() -> None:
    baseline = Baseline(horizon=50.0)
    seen = batch([[0.0] * 5])

    baseline.observe(seen)

    assert not baseline.advantages(seen).any()
