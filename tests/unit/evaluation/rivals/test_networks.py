"""REINFORCE and supervised fine-tuning: the sign of a step, and what it leads to."""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pytest
import torch

from evaluation.rivals import Reinforce, ReinforceSettings, Supervised, SupervisedSettings
from evaluation.rivals.network import Scored
from evaluation.rivals.reinforce import reinforce_loss
from evaluation.rivals.supervised import logistic_loss, softmax_loss
from evaluation.shop import Outcome, Rival, Situation
from simulator.world import Visit
from tests.policies import features_of, weights_of

PRODUCTS = 30
PAYING = 17
FEATURES = features_of(PRODUCTS, seed=1)
WEIGHTS = weights_of(PRODUCTS, seed=2, sharpness=0.3)


def scored(points: list[float]) -> Scored:
    """Return one banner of the first five of eight candidates, all scores zero."""
    return Scored(
        scores=torch.zeros(1, 8, requires_grad=True),
        eligible=torch.ones(1, 8, dtype=torch.bool),
        banner=torch.arange(5)[None],
        points=torch.tensor([points]),
    )


def descent(batch: Scored, loss: torch.Tensor) -> np.ndarray:
    """Return (8,) where a step down the loss moves the scores."""
    loss.backward()
    assert batch.scores.grad is not None
    return -batch.scores.grad[0].numpy()


def test_reinforce_raises_a_whole_banner_that_earned_more_than_usual() -> None:
    batch = scored([0.0, 1.0, 0.0, 0.0, 0.0])

    moved = descent(batch, reinforce_loss(batch, 0.2))

    assert moved[:5].min() > 0 > moved[5:].max()


def test_reinforce_lowers_a_banner_that_earned_less_than_usual() -> None:
    batch = scored([0.0] * 5)

    moved = descent(batch, reinforce_loss(batch, 0.2))

    assert moved[:5].max() < 0 < moved[5:].min()


def test_reinforce_follows_the_gradient_of_the_log_probability() -> None:
    batch = scored([0.7, 0.0, 0.0, 0.0, 0.0])

    moved = descent(batch, reinforce_loss(batch, 0.2))

    # d log pi / d s_j = sum over positions of (is drawn there - probability there)
    still = 1.0 / np.arange(8, 3, -1)
    before = np.cumsum(still)
    expected = 0.5 * np.concatenate([1.0 - before, np.full(3, -before[-1])])
    np.testing.assert_allclose(moved, expected, atol=1e-6)


def test_the_logistic_loss_raises_what_earned_and_lowers_what_was_shown_in_vain() -> None:
    batch = scored([0.0, 1.0, 0.0, 0.0, 0.1])

    moved = descent(batch, logistic_loss(batch, 0.0))

    assert (np.sign(moved) == [-1, 1, -1, -1, 1, 0, 0, 0]).all()
    assert moved[1] == pytest.approx(10 * moved[4])


def test_the_logistic_loss_is_least_at_the_log_of_the_points_expected() -> None:
    earned, level = torch.tensor([[0.0], [0.0], [0.0], [0.5]]), -1.0  # mean points 1/8, zero 3/4

    def loss(score: float) -> float:
        batch = Scored(
            scores=torch.full((4, 2), score),
            eligible=torch.ones(4, 2, dtype=torch.bool),
            banner=torch.zeros(4, 1, dtype=torch.int64),
            points=earned,
        )
        return float(logistic_loss(batch, level))

    grid = np.linspace(-6, 2, 801)
    best = grid[np.argmin([loss(float(score)) for score in grid])]
    assert best == pytest.approx(np.log(0.125 / 0.75) + level, abs=0.02)


def test_the_softmax_loss_raises_what_earned_above_all_others() -> None:
    batch = scored([0.0, 1.0, 0.0, 0.0, 0.0])

    moved = descent(batch, softmax_loss(batch))

    assert moved[1] > 0 > np.delete(moved, 1).max()


@dataclass
class OneProductPays:
    """A shop in which one product earns a point wherever it stands, and nothing else does."""

    rival: Rival

    def earned(self, banners: int) -> np.ndarray:
        """Return (banners,) points."""
        visit = Visit(0, 0, None, None, (), datetime(2026, 1, 1, tzinfo=UTC), {})
        found = []
        for number in range(banners):
            situation = Situation(number, visit, -1, b"")
            rows = self.rival.banner(situation)
            points = tuple(float(row == PAYING) for row in rows.tolist())
            self.rival.learn(situation, rows, Outcome(points, (), ()))
            found.append(sum(points))
        return np.array(found)


def rivals() -> list[Rival]:
    rng = np.random.default_rng
    return [
        Reinforce(WEIGHTS, FEATURES, ReinforceSettings(batch_banners=32, rate=1e-2), rng=rng(1)),
        *(
            Supervised(
                WEIGHTS,
                FEATURES,
                SupervisedSettings(
                    objective=objective,
                    rate=1e-2,
                    epochs=2,
                    batch_banners=32,
                    explored=0.3,
                    kept=kept,
                ),
                rng=rng(1),
            )
            for objective in ("logistic", "softmax")
            for kept in (0, 500)
        ),
    ]


@pytest.mark.parametrize("which", range(5))
def test_what_pays_comes_to_be_shown(which: int) -> None:
    earned = OneProductPays(rivals()[which]).earned(1_500)

    assert earned[:32].mean() < 0.6  # before the first update
    assert earned[-100:].mean() > 0.9


def test_the_same_generator_gives_the_same_run() -> None:
    for first, again in zip(rivals(), rivals(), strict=True):
        np.testing.assert_array_equal(
            OneProductPays(first).earned(200), OneProductPays(again).earned(200)
        )


def test_a_reward_for_a_banner_that_was_not_drawn_is_refused() -> None:
    visit = Visit(0, 0, None, None, (), datetime(2026, 1, 1, tzinfo=UTC), {})

    with pytest.raises(ValueError, match="not the last one drawn"):
        rivals()[0].learn(Situation(0, visit, -1, b""), np.arange(5), Outcome((0.0,) * 5, (), ()))
