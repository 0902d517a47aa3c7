"""`quintet learn`: contenders seed by seed, on the same shoppers with the same random numbers."""

import multiprocessing
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Empty
from typing import Any, Final, Protocol

import numpy as np
from rich.progress import Progress, TaskID

from evaluation import rivals
from evaluation.contenders import CONTENDERS, Start
from evaluation.results import MOST_BINS, LearnResults, Run, in_bins
from evaluation.shop import Rival, Shop
from policy.pairs import CategoryPair
from policy.serving import ServingPolicy
from rewards.specification import RewardSpecification
from schemas.identity import user_key
from schemas.products import Product
from simulator.world import World
from trainer.learner import LearnerSettings
from trainer.past_orders import PastOrder
from trainer.pretraining import pretrain

BIN_BANNERS: Final = 250
ORACLE_EVERY: Final = 10
_PSEUDONYMS: Final = b"closed loop"
_DISTINCT_OVER: Final = 1000
_PAIRS: Final = 12
_STEPS: Final = 1000
_LISTEN_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Study:
    """What is to be played.

    Attributes:
        world: its name, for people.
        open_world: makes the world of a seed; it travels to other processes.
        seeds: one run of every contender each.
        banners: of each run.
        contenders: names (`evaluation.contenders`).
        learner: settings of the ring's learner.
    """

    world: str
    open_world: Callable[[int], World]
    seeds: tuple[int, ...]
    banners: int
    contenders: tuple[str, ...]
    learner: LearnerSettings = field(default_factory=LearnerSettings)


class Told(Protocol):
    """Takes progress: what is being done, and the share done in [0, 1]."""

    def __call__(self, what: str, done: float) -> None:
        """Take it."""


def learn(study: Study, *, processes: int, progress: Progress) -> LearnResults:
    """Play every contender in the shop of every seed.

    Args:
        study: what is to be played.
        processes: seeds played at once, each in a process of its own; 1: in this one.
        progress: where people see how far it is.
    """
    bin_banners = min(BIN_BANNERS, max(ORACLE_EVERY, study.banners // MOST_BINS * ORACLE_EVERY))
    if processes == 1 or len(study.seeds) == 1:
        shown = _Shown(progress)
        found = [_play_seed(study, seed, bin_banners, shown.tell) for seed in study.seeds]
    else:
        found = _in_processes(study, bin_banners, processes, progress)
    return LearnResults(
        world=study.world,
        products=found[0].products,
        banners=study.banners,
        bin_banners=bin_banners,
        seeds=study.seeds,
        oracle=tuple(each.oracle for each in found),
        runs=tuple(run for each in found for run in each.runs),
    )


@dataclass(frozen=True, slots=True)
class _Seed:
    """What one seed found."""

    products: int
    oracle: tuple[float, ...]
    runs: tuple[Run, ...]


def _play_seed(study: Study, seed: int, bin_banners: int, told: Told) -> _Seed:
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
        rival = _Noting(CONTENDERS[name](start))
        began = time.perf_counter()
        played = shop.play(rival, seed=seed, banners=study.banners)
        earned = np.array(_watched(played, f"seed {seed}: {name}", study.banners, told))
        runs.append(
            Run(
                contender=name,
                seed=seed,
                earned=in_bins(earned, bin_banners),
                distinct=rival.distinct,
                milliseconds=1000.0 * (time.perf_counter() - began) / study.banners,
                pairs=rival.pairs(shop.world.products),
            )
        )
    oracle = in_bins(best, bin_banners // ORACLE_EVERY)
    return _Seed(len(shop.product_ids), oracle[: len(runs[0].earned)], tuple(runs))


class _Noting:
    """A rival, and which products it showed last."""

    def __init__(self, rival: Rival) -> None:
        self.name = rival.name
        self._rival = rival
        self._shown: deque[Any] = deque(maxlen=_DISTINCT_OVER)
        self.learn = rival.learn

    def banner(self, situation: Any) -> Any:  # noqa: ANN401 - as the rival's
        rows = self._rival.banner(situation)
        self._shown.append(rows)
        return rows

    @property
    def distinct(self) -> int:
        return len(np.unique(np.concatenate(self._shown)))

    def pairs(self, products: Sequence[Product]) -> tuple[CategoryPair, ...]:
        if not isinstance(self._rival, rivals.Learning):
            return ()
        return self._rival.pairs(products, count=_PAIRS)


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


def _in_processes(
    study: Study, bin_banners: int, processes: int, progress: Progress
) -> list[_Seed]:
    context, shown = multiprocessing.get_context("spawn"), _Shown(progress)
    with context.Manager() as manager, _pool(processes, context) as pool:
        news = manager.Queue()
        futures = [
            pool.submit(_play_seed, study, seed, bin_banners, _Telling(news))
            for seed in study.seeds
        ]
        while not _all_over(futures):
            try:
                shown.tell(*news.get(timeout=_LISTEN_SECONDS))
            except Empty:
                continue
        return [future.result() for future in futures]


@contextmanager
def _pool(processes: int, context: Any) -> Iterator[ProcessPoolExecutor]:  # noqa: ANN401
    pool = ProcessPoolExecutor(processes, mp_context=context)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _all_over(futures: Sequence[Future[_Seed]]) -> bool:
    return all(each.done() for each in futures) or any(
        each.done() and each.exception() is not None for each in futures
    )


@dataclass(frozen=True, slots=True)
class _Telling:
    """Sends progress to the process that shows it."""

    news: Any

    def __call__(self, what: str, done: float) -> None:
        self.news.put((what, done))


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
