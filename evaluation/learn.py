"""`quintet learn`: the policy against its rivals, seed by seed, on the same shoppers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.progress import Progress

from evaluation.rivals import Foundation, Learning, Oracle, Popular, Random
from evaluation.shop import Rival, Shop
from policy.serving import ServingPolicy
from rewards.specification import RewardSpecification
from schemas.identity import user_key
from simulator.world import World
from trainer.learner import Learner, LearnerSettings
from trainer.past_orders import PastOrder
from trainer.pretraining import pretrain

CURVE_POINTS = 40
_PSEUDONYMS = b"closed loop"


@dataclass(frozen=True, slots=True)
class LearnResults:
    """What every rival earned.

    Attributes:
        banners: of each run.
        seeds: one run of every rival each.
        reward_per_banner: by rival, one number a seed: expected reward over the whole run.
        last_quarter: the same over the last quarter of the run.
        marks: banners after which the curves are taken.
        curves: by rival, expected reward per banner since the mark before, mean over seeds.
    """

    banners: int
    seeds: tuple[int, ...]
    reward_per_banner: dict[str, tuple[float, ...]]
    last_quarter: dict[str, tuple[float, ...]]
    marks: tuple[int, ...]
    curves: dict[str, tuple[float, ...]]

    def rows(self) -> list[dict[str, object]]:
        """Return one row a rival for people, best last."""
        foundation = np.array(self.last_quarter["foundation"])
        ordered = sorted(
            self.last_quarter, key=lambda name: float(np.mean(self.last_quarter[name]))
        )
        return [
            {
                "rival": name,
                "reward_per_banner": f"{np.mean(self.reward_per_banner[name]):.4f}",
                "last_quarter": f"{np.mean(self.last_quarter[name]):.4f}",
                "over_foundation_by_seed": " ".join(
                    f"{ratio:.2f}" for ratio in np.array(self.last_quarter[name]) / foundation
                ),
            }
            for name in ordered
        ]


def learn(
    open_world: Callable[[int], World],
    *,
    seeds: Sequence[int],
    banners: int,
    batch_banners: int,
    progress: Progress,
) -> LearnResults:
    """Play every rival in the world of every seed.

    Args:
        open_world: makes the world of a seed.
        seeds: worlds, visits and draws follow from them.
        banners: visits of each run.
        batch_banners: rewarded banners of one update.
        progress: where people see how far it is.
    """
    found: dict[str, list[npt.NDArray[np.float64]]] = {}
    for seed in seeds:
        world = open_world(seed)
        shop = Shop(world, RewardSpecification())
        task = progress.add_task(f"seed {seed}: pretraining", total=1.0)

        def pretrained(done: float, text: str, seed: int = seed, task: Any = task) -> None:  # noqa: ANN401 - rich's id
            progress.update(task, completed=done, description=f"seed {seed}: {text}")

        for rival in _rivals(shop, seed=seed, batch_banners=batch_banners, told=pretrained):
            task = progress.add_task(f"seed {seed}: {rival.name}", total=banners)
            earned = np.empty(banners)
            for number, reward in enumerate(shop.play(rival, seed=seed, banners=banners)):
                earned[number] = reward
                progress.update(task, completed=number + 1)
            found.setdefault(rival.name, []).append(earned)
    return _summed_up(found, seeds=seeds, banners=banners)


def _rivals(
    shop: Shop, *, seed: int, batch_banners: int, told: Callable[[float, str], None]
) -> list[Rival]:
    """Return every rival, from the same foundation."""
    weights, _ = pretrain(past_orders(shop), shop.features, seed=seed, device="auto", progress=told)
    products = len(shop.product_ids)
    policy = ServingPolicy.compile(weights, shop.features, version=0)
    settings = LearnerSettings(batch_banners=batch_banners)
    learner = Learner(weights, weights, shop.features, settings)
    learning = Learning(learner, shop.features, rng=np.random.default_rng((seed, 1)))
    return [
        Random(products, np.random.default_rng((seed, 2))),
        Popular(np.argsort(-weights["popularity"], kind="stable")),
        Foundation(policy, products),
        learning,
        Oracle(shop.world, shop.row_of),
    ]


def past_orders(shop: Shop) -> list[PastOrder]:
    """Return a world's past as pretraining takes it."""
    return [
        PastOrder(
            user_key=user_key(_PSEUDONYMS, order.user_id),
            at_ms=int(order.occurred_at.timestamp() * 1000),
            rows=tuple(shop.row_of[product_id] for product_id in order.product_ids),
        )
        for order in shop.world.past_orders()
    ]


def _summed_up(
    found: dict[str, list[npt.NDArray[np.float64]]], *, seeds: Sequence[int], banners: int
) -> LearnResults:
    edges = np.unique(np.linspace(0, banners, min(CURVE_POINTS, banners) + 1).astype(int))
    quarter = banners - max(1, banners // 4)
    return LearnResults(
        banners=banners,
        seeds=tuple(seeds),
        reward_per_banner={
            name: tuple(float(run.mean()) for run in runs) for name, runs in found.items()
        },
        last_quarter={
            name: tuple(float(run[quarter:].mean()) for run in runs) for name, runs in found.items()
        },
        marks=tuple(int(edge) for edge in edges[1:]),
        curves={
            name: tuple(
                float(np.mean([run[start:end].mean() for run in runs]))
                for start, end in pairwise(edges)
            )
            for name, runs in found.items()
        },
    )
