"""Who can be played, by name: the ring's policy, what it is made of, and its rivals."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from evaluation import rivals
from evaluation.errors import NotationNotReadable
from evaluation.shop import Rival, Shop
from evaluation.variants import read_variant
from policy.architecture import FULL_CANDIDATES
from policy.serving import ServingPolicy
from trainer.learner import Learner
from trainer.learner_settings import LearnerSettings

_FEW_CANDIDATES: Final = 200
"""Of the linear rivals in large catalogues, the foundation's best."""


@dataclass(frozen=True, slots=True)
class Start:
    """What every contender begins with.

    Attributes:
        shop: where it is played.
        weights: of the foundation.
        foundation: the same, compiled.
        seed: of its own randomness.
        learner: settings of the ring's learner.
    """

    shop: Shop
    weights: Mapping[str, npt.NDArray[Any]]
    foundation: ServingPolicy
    seed: int
    learner: LearnerSettings

    def rng(self, number: int) -> np.random.Generator:
        """Return a generator of its own for each contender."""
        return np.random.default_rng((self.seed, number))

    @property
    def products(self) -> int:
        """Number of products N."""
        return len(self.shop.product_ids)

    @property
    def popular(self) -> npt.NDArray[np.intp]:
        """(N,) rows, most bought first."""
        return np.argsort(-self.weights["popularity"], kind="stable")


def _varied(start: Start, name: str) -> Rival:
    variant = read_variant(name)
    features = start.shop.features
    made = Learner(start.weights, start.weights, features, variant.settings(start.learner))
    return rivals.Learning(
        made,
        features,
        rng=start.rng(1),
        name=name,
        ring=variant.ring,
        specification=start.shop.specification,
    )


def _linucb(start: Start, name: str, settings: rivals.LinUCBSettings) -> Rival:
    if start.products > FULL_CANDIDATES:
        settings = replace(settings, candidates=_FEW_CANDIDATES)
    dense = rivals.dense_features(start.weights, start.shop.features)
    return rivals.LinUCB(start.foundation, dense, settings, rng=start.rng(3), name=name)


def _supervised(start: Start) -> Rival:
    return rivals.Supervised(start.weights, start.shop.features, rng=start.rng(4))


def _reinforce(start: Start) -> Rival:
    return rivals.Reinforce(start.weights, start.shop.features, rng=start.rng(5))


CONTENDERS: Final[dict[str, Callable[[Start], Rival]]] = {
    "random": lambda start: rivals.Random(start.products, start.rng(2)),
    "popular": lambda start: rivals.Popular(start.popular),
    "own_frequent": lambda start: rivals.OwnFrequent(start.popular),
    "foundation": lambda start: rivals.Foundation(start.foundation, start.products),
    "reinforce": _reinforce,
    "vowpal_wabbit": lambda start: rivals.VowpalWabbit(
        start.foundation, start.shop.features, seed=start.seed
    ),
    "linucb": partial(_linucb, name="linucb", settings=rivals.LinUCBSettings(own=0.0)),
    "linucb_hybrid": partial(_linucb, name="linucb_hybrid", settings=rivals.LinUCBSettings()),
    "supervised": _supervised,
    "base": partial(_varied, name="base"),
    "policy": partial(_varied, name="policy"),
    "ceiling": lambda start: rivals.ceiling(start.shop, start.weights, seed=start.seed),
}
"""How each contender is made. `base` is the policy without its reward model: the policy gradient
alone. `linucb` shares one linear model between products, `linucb_hybrid` adds an intercept each."""

USUAL: Final = (
    "random", "popular", "own_frequent", "foundation", "reinforce", "linucb", "linucb_hybrid",
    "supervised", "base", "policy",
)  # fmt: skip
"""Played unless others are named."""


def maker(name: str) -> Callable[[Start], Rival]:
    """Return how a contender, or a variant of one (`evaluation.variants`), is made.

    Raises:
        NotationNotReadable: nobody is called that, or it cannot be varied so.
    """
    if name in CONTENDERS:
        return CONTENDERS[name]
    if name.partition(":")[0] not in CONTENDERS:
        raise NotationNotReadable(f"{name} is unknown: choose among {', '.join(CONTENDERS)}")
    read_variant(name)
    return partial(_varied, name=name)
