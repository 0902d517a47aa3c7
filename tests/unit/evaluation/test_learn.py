"""Contenders are played seed by seed on the same shoppers, and nothing is lost on the way."""

import io
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from rich.console import Console
from rich.progress import Progress

from evaluation.learn import Study, learn
from evaluation.results import LearnResults
from simulator.synthetic import SyntheticWorld
from trainer.learner_settings import LearnerSettings
from trainer.reward_model import RewardModelSettings

CONTENDERS = ("random", "foundation", "policy")


def open_world(seed: int, products: int = 60) -> SyntheticWorld:
    return SyntheticWorld(products, seed=seed, shoppers=40, past=400)


def study(*seeds: int, banners: int = 400) -> Study:
    return Study(
        world="synthetic",
        open_world=partial(open_world, products=60),
        seeds=seeds,
        banners=banners,
        contenders=CONTENDERS,
        learner=LearnerSettings(batch_banners=128, device="cpu"),
    )


def played(wanted: Study, processes: int = 1) -> LearnResults:
    with Progress(console=Console(file=io.StringIO())) as progress:
        return learn(wanted, processes=processes, progress=progress)


@pytest.fixture(scope="module")
def alone() -> LearnResults:
    return played(study(2, 3))


def test_every_contender_is_played_for_every_seed(alone: LearnResults) -> None:
    assert alone.contenders == CONTENDERS
    assert [(run.contender, run.seed) for run in alone.runs] == [
        (name, seed) for seed in (2, 3) for name in CONTENDERS
    ]
    assert all(len(run.earned) == 40 for run in alone.runs)
    assert all(len(best) == 40 for best in alone.oracle)


def test_the_oracle_earns_most_and_chance_least(alone: LearnResults) -> None:
    earned = {name: float(alone.earned(name).mean()) for name in CONTENDERS}

    assert min(earned, key=lambda name: earned[name]) == "random"
    assert float(alone.best().mean()) > 1.5 * earned["random"]
    assert float(alone.best().mean()) > max(earned.values())


def test_seeds_in_processes_of_their_own_earn_the_same(alone: LearnResults) -> None:
    found = played(study(2, 3), processes=2)

    for name in CONTENDERS:
        np.testing.assert_array_equal(found.earned(name), alone.earned(name))
    assert found.oracle == alone.oracle


def test_a_run_ends_with_the_pairs_its_policy_learned(alone: LearnResults) -> None:
    plain = replace(study(2, banners=256), contenders=("random", "policy"))
    learner = replace(plain.learner, reward_model=RewardModelSettings(pair_spread=(0.3, 0.1)))

    found = played(replace(plain, learner=learner))

    sold = {product.category for product in open_world(2).products}
    by_name = {run.contender: run.pairs for run in found.runs}
    assert 0 < len(by_name["policy"]) <= 12
    for pair in by_name["policy"]:
        named = [*pair.first.strip(" …").split(" or "), *pair.second.strip(" …").split(" or ")]
        assert sold.issuperset(named)
    assert not by_name["random"]
    assert not any(run.pairs for run in alone.runs)  # pairs are off unless asked for


def test_a_contender_that_fails_ends_the_study() -> None:
    broken = Study(
        world="synthetic",
        open_world=partial(open_world, products=2),
        seeds=(1, 2),
        banners=256,
        contenders=CONTENDERS,
    )

    with pytest.raises(Exception, match="six products"):
        played(broken, processes=2)
