"""The foundation policy: trained by supervised learning on past orders, judged on the last of them.

The order of work: replay every shopper's history; train on all but the last orders by time; judge
on those, and let them decide whether the second loss helps and how sharply to draw; then train
again, the same way, on everything.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import structlog
import torch

from policy.features import ProductFeatures
from trainer.device import choose_device, compute_deterministically
from trainer.errors import NotEnoughPastOrders
from trainer.held_out import HeldOutReport, Quality, greedy_quality, heuristic_qualities
from trainer.past_orders import PastOrder, Replay, replay
from trainer.sharpness import choose_sharpness, drawn_qualities
from trainer.supervision import Places, Stage, Supervision, SupervisionSettings
from trainer.traits import trait_tensors

log = structlog.get_logger(__name__)
Weights = dict[str, npt.NDArray[Any]]
Progress = Callable[[float, str], None]
Told = Callable[[float], None]

_FEWEST_ORDERS: Final = 20
_STAGES: Final[tuple[Stage, ...]] = ("softmax", "logistic")
_REPLAY, _FIRST, _JUDGED = 0.1, 0.5, 0.55
"""Shares of the work done after the replay, the first training, and the judging."""


@dataclass(frozen=True, slots=True)
class PretrainingSettings:
    """How the foundation is trained.

    Attributes:
        softmax_epochs, softmax_rate: the first stage (Adam's learning rate of the vectors).
        logistic_epochs, logistic_rate: the second stage, kept only where it helps.
        held_out_share: the last orders by time that judge.
        most_orders: only so many, the latest, are learned from (histories count all).
        threads: of torch on the CPU; one: where other work runs beside it, two threads that wait
            for each other took five times as long.
        supervision: how batches are made.
    """

    softmax_epochs: int = 2
    softmax_rate: float = 1e-3
    logistic_epochs: int = 1
    logistic_rate: float = 5e-4
    held_out_share: float = 0.15
    most_orders: int = 300_000
    threads: int = 1
    supervision: SupervisionSettings = field(default_factory=SupervisionSettings)


def pretrain(
    orders: Sequence[PastOrder],
    features: ProductFeatures,
    *,
    seed: int,
    device: str = "auto",
    progress: Progress | None = None,
    settings: PretrainingSettings | None = None,
) -> tuple[Weights, HeldOutReport]:
    """Return the foundation's weights and how well it foretells orders it has not seen.

    Args:
        orders: past orders of known products, in any order.
        features: of every product.
        seed: of all draws; equal orders and seeds give equal weights on the CPU.
        device: "auto", "cpu" or "cuda".
        progress: told the share done, in [0, 1], and what is being done.
        settings: how to train.

    Raises:
        NotEnoughPastOrders: fewer than 20 orders, or no shopper ordered twice.
    """
    settings = settings or PretrainingSettings()
    progress = progress or _unheard
    where = choose_device(device)
    compute_deterministically(where, settings.threads)
    past = replay(orders, lambda done: progress(_REPLAY * done, "replaying past orders"))
    places = np.arange(len(past))[-settings.most_orders :]
    cut = len(past) - max(1, round(len(places) * settings.held_out_share))
    held_out = [place for place in places[places >= cut].tolist() if past.histories[place]]
    if len(past) < _FEWEST_ORDERS or not held_out:
        raise NotEnoughPastOrders(
            f"{len(past)} past orders, {len(held_out)} of them held out with a history; "
            f"import at least {_FEWEST_ORDERS} orders of shoppers who ordered twice"
        )
    workshop = _Workshop(past, features, settings, seed, where)

    def told(start: float, end: float, text: str) -> Told:
        return _part(lambda share: progress(share, text), start, end)

    report = workshop.judge(places[places < cut], held_out, told(_REPLAY, _FIRST, "training"))
    progress(_JUDGED, "judged on the last orders")
    log.info("foundation_judged", recall=report.policy.recall_at_5, sharpness=report.sharpness)
    weights = workshop.finish(places, report, told(_JUDGED, 1.0, "training on all orders"))
    return weights, report


def _unheard(share: float, text: str) -> None:
    """Take progress nobody asked for."""


def _part(told: Told, start: float, end: float) -> Told:
    return lambda done: told(start + (end - start) * done)


@dataclass(frozen=True, slots=True)
class _Workshop:
    past: Replay
    features: ProductFeatures
    settings: PretrainingSettings
    seed: int
    device: torch.device

    def _supervision(self, places: Places) -> Supervision:
        rng = np.random.default_rng(self.seed)
        return Supervision(
            self.past, places, self.features, self.settings.supervision, rng, self.device
        )

    def judge(self, places: Places, held_out: list[int], told: Told) -> HeldOutReport:
        """Train on `places` and return what the orders held out say."""
        supervision = self._supervision(places)
        popularity = supervision.policy.weights()["popularity"]
        own, popular = heuristic_qualities(self.past, held_out, popularity)
        rng = np.random.default_rng(self.seed)
        stages: list[tuple[Quality, float]] = []
        for stage in _STAGES:
            self._train(supervision, stage, told)
            policy = supervision.averaged()
            drawn = drawn_qualities(policy, self.past, held_out, rng)
            found = greedy_quality(policy, self.past, held_out)
            stages.append((found, choose_sharpness(drawn)))
        helps = stages[1][0].hits > stages[0][0].hits
        chosen, sharpness = stages[int(helps)]
        return HeldOutReport(
            policy=chosen,
            own_frequent=own,
            popularity=popular,
            orders_trained=len(places),
            orders_held_out=len(held_out),
            sharpness=sharpness,
            second_stage=helps,
        )

    def finish(self, places: Places, report: HeldOutReport, told: Told) -> Weights:
        """Train on everything and return the weights."""
        supervision = self._supervision(places)
        for stage in _STAGES[: 1 + report.second_stage]:
            self._train(supervision, stage, told)
        weights = supervision.averaged().weights()
        weights["sharpness"][:] = report.sharpness
        weights |= trait_tensors(weights, self.features)
        told(1.0)
        return weights

    def _train(self, supervision: Supervision, stage: Stage, told: Told) -> None:
        settings = self.settings
        first = settings.softmax_epochs / (settings.softmax_epochs + settings.logistic_epochs)
        epochs, rate, part = {
            "softmax": (settings.softmax_epochs, settings.softmax_rate, (0.0, first)),
            "logistic": (settings.logistic_epochs, settings.logistic_rate, (first, 1.0)),
        }[stage]
        supervision.train(stage, epochs=epochs, rate=rate, told=_part(told, *part))
