"""The observable ceiling: its losses, and that it sees more than the foundation."""

import numpy as np
import pytest
import torch

from evaluation.rivals import CeilingSettings, Foundation, ceiling
from evaluation.rivals.ceiling import positions_loss, proportional_loss
from evaluation.shop import Shop
from policy.serving import ServingPolicy
from rewards.specification import RewardSpecification
from simulator.synthetic import SyntheticWorld
from tests.policies import weights_of

PRODUCTS = 60


def test_the_proportional_loss_is_least_where_shares_are_those_of_the_points() -> None:
    points = torch.tensor([[0.1, 0.3, 0.6]])
    best = proportional_loss(points.log(), points)

    others = [torch.tensor([[0.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 5.0]]), points.sqrt().log()]

    assert all(proportional_loss(other, points) > best for other in others)


def test_the_positions_loss_is_minus_the_points_expected_one_after_another() -> None:
    points = torch.tensor([[1.0, 2.0, 4.0]])

    loss = positions_loss(torch.zeros(1, 3), points, torch.tensor([[2, 0]]))

    assert float(loss) == pytest.approx(-((1 + 2 + 4) / 3 + (1 + 2) / 2))


def test_a_step_down_the_positions_loss_raises_what_earns_most() -> None:
    scores = torch.zeros(1, 3, requires_grad=True)

    loss = positions_loss(scores, torch.tensor([[0.0, 1.0, 0.2]]), torch.tensor([[0]]))
    loss.backward()  # type: ignore[no-untyped-call]

    assert scores.grad is not None
    assert scores.grad.argmin() == 1


@pytest.fixture(scope="module")
def shop() -> Shop:
    return Shop(SyntheticWorld(PRODUCTS, seed=4, shoppers=20, past=300), RewardSpecification())


def test_who_is_told_everything_earns_far_more_than_the_foundation(shop: Shop) -> None:
    weights = weights_of(PRODUCTS, seed=2)
    settings = CeilingSettings(runs=12, visits=500, batch_visits=64)
    runs: list[tuple[int, float]] = []

    rival = ceiling(shop, weights, seed=9, settings=settings, told=lambda *run: runs.append(run))

    frozen = Foundation(ServingPolicy.compile(weights, shop.features, version=0), PRODUCTS)
    earned, before = (
        np.array(list(shop.play(each, seed=9, banners=600))) for each in (rival, frozen)
    )
    assert rival.name == "ceiling"
    assert earned.mean() > 1.5 * before.mean()
    assert runs[-1][0] < settings.runs, "it goes on although nothing improves"
    assert runs[-1][1] > runs[0][1]
