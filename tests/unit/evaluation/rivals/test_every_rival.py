"""What every rival promises, whoever it is."""

from collections.abc import Callable

import numpy as np
import pytest

from evaluation import rivals
from evaluation.shop import Rival, Shop
from policy.serving import ServingPolicy
from rewards.specification import RewardSpecification
from simulator.synthetic import SyntheticWorld
from tests.policies import weights_of
from trainer.learner import Learner
from trainer.learner_settings import LearnerSettings

PRODUCTS = 60
BANNERS = 300


@pytest.fixture(scope="module")
def shop() -> Shop:
    return Shop(SyntheticWorld(PRODUCTS, seed=4, shoppers=20, past=300), RewardSpecification())


WEIGHTS = weights_of(PRODUCTS, seed=2)
POPULAR = np.argsort(-WEIGHTS["popularity"], kind="stable")


def foundation(shop: Shop) -> ServingPolicy:
    return ServingPolicy.compile(WEIGHTS, shop.features, version=0)


def linucb(shop: Shop, settings: rivals.LinUCBSettings) -> rivals.LinUCB:
    dense = rivals.dense_features(WEIGHTS, shop.features)
    return rivals.LinUCB(foundation(shop), dense, settings, rng=np.random.default_rng(1))


def learning(shop: Shop) -> rivals.Learning:
    settings = LearnerSettings(batch_banners=64, device="cpu")
    learner = Learner(WEIGHTS, WEIGHTS, shop.features, settings)
    return rivals.Learning(learner, shop.features, rng=np.random.default_rng(1))


MAKERS: dict[str, Callable[[Shop], Rival]] = {
    "random": lambda _: rivals.Random(PRODUCTS, np.random.default_rng(1)),
    "popular": lambda _: rivals.Popular(POPULAR),
    "own_frequent": lambda _: rivals.OwnFrequent(POPULAR),
    "foundation": lambda shop: rivals.Foundation(foundation(shop), PRODUCTS),
    "oracle": lambda shop: rivals.Oracle(shop.world, shop.row_of),
    "policy": learning,
    "linucb": lambda shop: linucb(shop, rivals.LinUCBSettings(solve_every=64)),
    "linucb, few candidates": lambda shop: linucb(
        shop, rivals.LinUCBSettings(solve_every=64, candidates=12, sampled=0.05)
    ),
    "vowpal_wabbit": lambda shop: rivals.VowpalWabbit(foundation(shop), shop.features, seed=1),
    "reinforce": lambda shop: rivals.Reinforce(
        WEIGHTS,
        shop.features,
        rivals.ReinforceSettings(batch_banners=64),
        rng=np.random.default_rng(1),
    ),
    "supervised": lambda shop: rivals.Supervised(
        WEIGHTS,
        shop.features,
        rivals.SupervisedSettings(batch_banners=64, epochs=2),
        rng=np.random.default_rng(1),
    ),
}


@pytest.mark.parametrize("name", MAKERS)
def test_a_rival_has_its_name(shop: Shop, name: str) -> None:
    assert MAKERS[name](shop).name == name.split(",")[0]


@pytest.mark.parametrize("name", MAKERS)
def test_a_run_can_be_repeated_bit_for_bit(shop: Shop, name: str) -> None:
    runs = [list(shop.play(MAKERS[name](shop), seed=9, banners=BANNERS)) for _ in range(2)]

    # the world itself refuses banners that repeat a product or show the one viewed
    assert runs[0] == runs[1]
    assert len(runs[0]) == BANNERS


@pytest.mark.parametrize("name", MAKERS)
def test_every_banner_has_five_products(shop: Shop, name: str) -> None:
    class Counting:
        name = "counting"

        def __init__(self, rival: Rival) -> None:
            self.banner, self._learn = rival.banner, rival.learn
            self.sizes: set[int] = set()

        def learn(self, situation, banner, outcome):  # type: ignore[no-untyped-def]
            self.sizes.add(len(banner))
            self._learn(situation, banner, outcome)

    counting = Counting(MAKERS[name](shop))

    list(shop.play(counting, seed=9, banners=150))

    assert counting.sizes == {5}
