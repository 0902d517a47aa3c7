"""The learner in a simulated shop, without the wire: it leaves its foundation behind."""

import numpy as np
import pytest

from evaluation.learn import past_orders
from evaluation.rivals import Foundation, Learning
from evaluation.shop import Shop
from policy.serving import ServingPolicy
from rewards.specification import RewardSpecification
from simulator.synthetic import SyntheticWorld
from trainer.learner import Learner
from trainer.learner_settings import LearnerSettings
from trainer.pretraining import pretrain

BANNERS = 5_000
JUDGED = 1_500
"""The last banners, of both rivals, on the same visits."""
STANDARD_ERRORS = 4.0


@pytest.mark.parametrize("seed", [11, 12])
def test_after_5000_banners_the_policy_earns_more_than_the_greedy_foundation(seed: int) -> None:
    shop = Shop(SyntheticWorld(300, seed=seed, shoppers=300, past=4_000), RewardSpecification())
    weights, _ = pretrain(past_orders(shop), shop.features, seed=seed, device="cpu")
    learner = Learner(
        weights, weights, shop.features, LearnerSettings(batch_banners=128, device="cpu")
    )
    rng = np.random.default_rng((seed, 1))
    foundation = Foundation(ServingPolicy.compile(weights, shop.features, version=0), 300)
    learning = Learning(learner, shop.features, rng=rng)

    learned = np.fromiter(shop.play(learning, seed=seed, banners=BANNERS), float)[-JUDGED:]
    frozen = np.fromiter(shop.play(foundation, seed=seed, banners=BANNERS), float)[-JUDGED:]

    # the same visits, so differences are paired; histories differ, so a margin is asked for
    difference = learned - frozen
    error = difference.std() / np.sqrt(JUDGED)
    assert difference.mean() > STANDARD_ERRORS * error
    assert learned.mean() > 1.2 * frozen.mean()
