"""`quintet learn`: contenders seed by seed, on the same shoppers with the same random numbers."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any, Final

import numpy as np
from rich.progress import Progress, TaskID

from evaluation.contenders import Start, maker
from evaluation.coverage import COVERED_OVER, covered, outside, pairs
from evaluation.processes import Told, in_processes
from evaluation.recipe import code_digest
from evaluation.results import MOST_BINS, LearnResults, Run, in_bins
from evaluation.shop import Rival, Shop, Situation
from policy.serving import ServingPolicy
from rewards.specification import RewardSpecification
from schemas.identity import user_key
from simulator.world import World
from trainer.learner_settings import LearnerSettings
from trainer.past_orders import PastOrder
from trainer.pretraining import pretrain

BIN_BANNERS: Final = 250
ORACLE_EVERY: Final = 10
_PSEUDONYMS: Final = b"closed loop"
_STEPS: Final = 1000


@dataclass(frozen=True, slots=True)
class Study:
    """What is to be played.

    Attributes:
        world: its name, for people.
        open_world: makes the world of a seed; it travels to other processes.
        seeds: one run of every contender each.
        banners: of each run.
        contenders: names (`evaluation.contenders`), variants too (`evaluation.variants`).
        learner: settings of the ring's learner.
        knobs, households: of the world that `open_world` makes, for the record.
    """

    world: str
    open_world: Callable[[int], World]
    seeds: tuple[int, ...]
    banners: int
    contenders: tuple[str, ...]
    learner: LearnerSettings = field(default_factory=LearnerSettings)
    knobs: str = ""
    households: str = ""


def learn(study: Study, *, processes: int, progress: Progress) -> LearnResults:
    """Play every contender in the shop of every seed.

    Args:
        study: what is to be played.
        processes: seeds played at once, each in a process of its own; 1: in this one.
        progress: where people see how far it is.
    """
    bin_banners = min(BIN_BANNERS, max(ORACLE_EVERY, study.banners // MOST_BINS * ORACLE_EVERY))
    play, told = partial(_play_seed, study, bin_banners), _Shown(progress).tell
    if processes == 1 or len(study.seeds) == 1:
        found = [play(seed, told) for seed in study.seeds]
    else:
        found = in_processes(play, study.seeds, processes=processes, told=told)
    return LearnResults(
        world=study.world,
        products=found[0].products,
        banners=study.banners,
        bin_banners=bin_banners,
        seeds=study.seeds,
        oracle=tuple(each.oracle for each in found),
        runs=tuple(run for each in found for run in each.runs),
        knobs=study.knobs,
        households=study.households,
        settings=str(study.learner),
        code=code_digest(),
        oracle_covered=tuple(each.oracle_covered for each in found),
    )


@dataclass(frozen=True, slots=True)
class _Seed:
    """What one seed found."""

    products: int
    oracle: tuple[float, ...]
    oracle_covered: int
    runs: tuple[Run, ...]


def _play_seed(study: Study, bin_banners: int, seed: int, told: Told) -> _Seed:
    shop = Shop(study.open_world(seed), RewardSpecification())

    def training(done: float, text: str) -> None:
        told(f"seed {seed}: {text}", done)

    weights, _ = pretrain(
        past_orders(shop), shop.features, seed=seed, device="auto", progress=training
    )
    start = Start(
        shop=shop,
        weights=weights,
        foundation=ServingPolicy.compile(weights, shop.features, version=0),
        seed=seed,
        learner=study.learner,
    )
    best = _watched(
        shop.best(seed=seed, banners=study.banners, every=ORACLE_EVERY),
        f"seed {seed}: oracle",
        -(-study.banners // ORACLE_EVERY),
        told,
    )
    runs = []
    for name in study.contenders:
        rival = _Noting(maker(name)(start))
        began = time.perf_counter()
        played = shop.play(rival, seed=seed, banners=study.banners)
        earned = np.array(_watched(played, f"seed {seed}: {name}", study.banners, told))
        seconds = time.perf_counter() - began
        runs.append(
            Run(
                contender=name,
                pairs=pairs(rival.rival, shop.world.products),
                seed=seed,
                earned=in_bins(earned, bin_banners),
                distinct=rival.distinct,
                milliseconds=1000.0 * seconds / study.banners,
                covered=covered(rival.rival, rival.situations),
                outside=outside(rival.rival, rival.situations),
            )
        )
    oracle = in_bins(best, bin_banners // ORACLE_EVERY)
    shown = shop.best_shown(seed=seed, banners=study.banners, last=COVERED_OVER)
    return _Seed(
        products=len(shop.product_ids),
        oracle=oracle[: len(runs[0].earned)],
        oracle_covered=len(set(chain.from_iterable(shown))),
        runs=tuple(runs),
    )


class _Noting:
    """A rival, the last situations it met, and which products it showed there."""

    def __init__(self, rival: Rival) -> None:
        self.name = rival.name
        self.rival = rival
        self._met: deque[Situation] = deque(maxlen=COVERED_OVER)
        self._shown: deque[Any] = deque(maxlen=COVERED_OVER)
        self.learn = rival.learn

    def banner(self, situation: Any) -> Any:  # noqa: ANN401 - as the rival's
        rows = self.rival.banner(situation)
        self._met.append(situation)
        self._shown.append(rows)
        return rows

    @property
    def distinct(self) -> int:
        return len(np.unique(np.concatenate(self._shown)))

    @property
    def situations(self) -> list[Situation]:
        """The last that were not of bots."""
        return [situation for situation in self._met if not situation.visit.is_bot]


def _watched(rewards: Iterator[float], what: str, total: int, told: Told) -> list[float]:
    found = []
    for reward in rewards:
        found.append(reward)
        if len(found) % _STEPS == 0 or len(found) == total:
            told(what, len(found) / total)
    return found


@dataclass(slots=True)
class _Shown:
    """Tasks of a progress display by what they do."""

    progress: Progress
    tasks: dict[str, TaskID] = field(default_factory=dict)

    def tell(self, what: str, done: float) -> None:
        if what not in self.tasks:
            self.tasks[what] = self.progress.add_task(what, total=1.0)
        self.progress.update(self.tasks[what], completed=done)


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
