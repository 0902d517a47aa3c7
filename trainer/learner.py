"""The learner: rewarded banners in, better weights out.

Two learners, one policy. The reward model (`trainer.reward_model`) hears every batch; its draw is
part of the scores. The policy gradient takes what the batches brought once there are enough: two
epochs over all of it (Schulman et al. 2017, arXiv 1707.06347; decoupled as in Hilton
et al. 2022, arXiv 2110.00641: importance weights correct for the policy that drew, the clip is
around the weights the update starts from):

    A_k   = (r_k - b_k) / sigma                     a correction: delta_k / sigma
    w_k   = min(exp(log pi_prox,k - log mu_k), 2)   held constant
    rho_k = exp(log pi_k - log pi_prox,k)
    L     = - mean_b sum_k w_k min(rho_k A_k, clip(rho_k, .8, 1.2) A_k) + beta KL(pi1 || pi1_ref)

r_k points of position k; pi1 the softmax of the first position over the candidates; pi_ref the
foundation with the same draw of the reward model. What is served is sharper than what is trained:
scores times a focus that falls to 1. Adam is dense: up to some 10,000 products a step of it costs
less than a tenth of a pass, and rows not in a batch keep the momentum they earned.

Dimensions: B records in a batch, C candidates, K = 5 positions.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from policy.features import ProductFeatures
from policy.torch_distribution import (
    entropy,
    first_position_log_prob,
    kl_divergence,
    position_log_prob,
)
from policy.torch_network import TorchPolicy
from schemas.limits import BANNER_SIZE
from schemas.rewards import Reward
from trainer.adam import Adam, Moments
from trainer.baseline import Baseline
from trainer.device import choose_device, compute_deterministically
from trainer.examples import (
    Batch,
    Example,
    batch_of,
    pack_records,
    read_example,
    unpack_records,
)
from trainer.learner_settings import LearnerSettings
from trainer.observations import observations_of
from trainer.reward_model import VALUE, RewardModel

Weights = Mapping[str, npt.NDArray[Any]]
State = dict[str, npt.NDArray[Any]]
_SCALES: Final = ("sharpness", *(name for name in VALUE if name != "value_precision"))
"""Tensors that scores are proportional to."""
_DISTINCT_OVER: Final = 1000
"""Banners over which distinct products are counted."""


@dataclass(frozen=True, slots=True)
class _Scored:
    """A batch, and (B, C) the foundation's logits of its candidates."""

    batch: Batch
    foundation: Tensor


@dataclass(frozen=True, slots=True)
class _Kept:
    """What a refused batch puts back."""

    parameters: list[Tensor]
    moments: Moments
    value: Weights
    baseline: npt.NDArray[np.float64]
    model: State
    pending: list[Example]


class Learner:
    """A policy that learns from rewarded banners; its policy gradient is held near its foundation.

    Equal weights, state and batches give equal bits on the CPU: the reward model's draws come from
    a seed and the number of the batch.
    """

    def __init__(
        self,
        weights: Weights,
        foundation: Weights,
        features: ProductFeatures,
        settings: LearnerSettings | None = None,
    ) -> None:
        self.settings = settings or LearnerSettings()
        device = choose_device(self.settings.device)
        compute_deterministically(device, self.settings.threads)
        learned = _times(weights, float(foundation["sharpness"][0] / weights["sharpness"][0]))
        self._policy = TorchPolicy.from_weights(learned, features, device)
        self._foundation = TorchPolicy.from_weights(foundation, features, device)
        self._optimiser = self._adam()
        self._baseline = Baseline(self.settings.horizon_batches)
        self._model = RewardModel.from_value(learned, self.products, self.settings.reward_model)
        self._pending: list[Example] = []
        self._last: dict[str, float] = {}
        self._shown: deque[tuple[int, ...]] = deque(maxlen=_DISTINCT_OVER)
        self.banners = 0
        self.updates = 0
        self.refused = 0

    def _adam(self) -> Adam:
        return Adam(self._policy.named_parameters(), betas=(0.9, 0.99))

    @property
    def products(self) -> int:
        """Number of products the weights know."""
        return self._policy.products

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        """Return a copy of the weights as they are served, every tensor of a snapshot."""
        return _times(self._policy.weights(), self.focus if self.updates else 1.0)

    @property
    def focus(self) -> float:
        """What every score is multiplied by where it is served; falls to 1."""
        s = self.settings
        if s.reward_model.weight <= 0:
            return 1.0
        return 1.0 + s.focus_gain / (1.0 + self.banners / s.focus_banners)

    @property
    def wanted(self) -> int:
        """How many records the next batch should have: few at first, then `batch_banners`."""
        s = self.settings
        if self.banners < s.early_banners and s.reward_model.weight > 0:
            return min(s.early_batch_banners, s.batch_banners)
        return s.batch_banners - len(self._pending) % s.batch_banners

    def grow(self, features: ProductFeatures) -> None:
        """Take the features of a newer catalogue; rows of new products start at zero."""
        moments = self._optimiser.moments()
        self._policy.grow(features)
        self._foundation.grow(features)
        self._model.grow(self.products)
        self._optimiser = self._adam()
        self._optimiser.load(moments)

    def update(self, batch: Sequence[Reward]) -> dict[str, float]:
        """Learn from trainable rewards; see `learn`.

        Raises:
            RewardNotUsable: a record contradicts itself or the catalogue; nothing was learned.
        """
        return self.learn([read_example(reward, self.products) for reward in batch])

    def learn(self, examples: Sequence[Example]) -> dict[str, float]:
        """Learn from a batch and return its health metrics (explained in `trainer.health`).

        The policy gradient waits until `batch_banners` records are pending; its metrics are missing
        before its first update, then stay those of its last. When a loss, a gradient or a weight is
        not finite, everything stays as it was and `refused` is 1.
        """
        kept = self._kept()
        self._pending = [*self._pending, *examples]
        found, batch = self._last, None
        if len(self._pending) >= self.settings.batch_banners:
            batch = self._prepared(self._pending)
            found = self._gradient(batch)
            batch = batch if len(self._pending) == len(examples) else None
            self._pending = []
        if self.settings.reward_model.weight > 0:
            self._observe(batch or self._prepared(examples))
        if not (np.isfinite(list(found.values())).all() and self._is_finite()):
            self._put_back(kept)
            self.refused += 1
            return {"refused": 1.0}
        self.banners += sum(example.reward.revision == 0 for example in examples)
        self.updates += 1
        self._shown.extend(example.reward.rows for example in examples)
        self._last = {"refused": 0.0, **found, **self._counts(examples)}
        return dict(self._last)

    @torch.no_grad()
    def _prepared(self, examples: Sequence[Example]) -> _Scored:
        """Return examples as tensors, scored by the foundation."""
        batch = batch_of(examples, self._policy)
        return _Scored(batch, self._foundation.network_scores(batch.prepared))

    def _gradient(self, scored: _Scored) -> dict[str, float]:
        """Move the policy gradient by one batch."""
        self._baseline.observe(scored.batch)
        return self._update(scored, torch.from_numpy(self._baseline.advantages(scored.batch)))

    def _observe(self, scored: _Scored) -> None:
        """Let the reward model learn from a batch, and draw from it."""
        logits = scored.foundation / self._foundation.sharpness
        seen = observations_of(scored.batch, logits, self._policy)
        self._model.observe(seen, int(scored.batch.is_settlement.sum()))
        seed = (self.settings.reward_model.seed, self.updates)
        self._policy.take_value(self._model.draw(np.random.default_rng(seed)))

    def _update(self, scored: _Scored, advantages: Tensor) -> dict[str, float]:
        """Do the epochs of one batch: the whole update on one screen."""
        s, n, batch = self.settings, self.banners, scored.batch
        beta = max(s.kl / (1.0 + n / s.kl_decay_banners), s.kl_floor)
        rate = s.learning_rate * max(s.rate_floor, (1.0 + n / s.rate_decay_banners) ** -0.5)
        rate *= min(1.0, len(batch) / s.full_batch) ** 0.5
        eligible, drawn = batch.prepared.candidates.mask, batch.drawn
        advantages = advantages.to(drawn.device)
        with torch.no_grad():
            value = self._policy.value_terms(batch.prepared)
            reference = first_position_log_prob(scored.foundation + value, eligible)
            lifts = self._policy.pair_lifts(batch.prepared, batch.banner, drawn)
        proximal, weight = torch.empty(0), torch.empty(0)
        health: dict[str, float] = {}
        for epoch in range(s.epochs):
            scores = self._policy.network_scores(batch.prepared) + value
            log_prob = position_log_prob(scores, batch.banner, eligible, drawn, lifts)
            if epoch == 0:
                proximal = log_prob.detach()
                weight = (proximal - batch.behaviour_log_prob).exp().clamp(max=s.weight_cap) * drawn
            ratio = (log_prob - proximal).exp()
            clipped = ratio.clamp(1.0 - s.clip, 1.0 + s.clip)
            gain = weight * torch.minimum(ratio * advantages, clipped * advantages)
            first = first_position_log_prob(scores, eligible)
            kl = kl_divergence(first, reference).mean()
            loss = -gain.sum(dim=1).mean() + beta * kl
            self._optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            norm = torch.nn.utils.clip_grad_norm_(self._policy.parameters(), s.gradient_norm)
            if not bool(torch.isfinite(loss + norm)):
                return {"loss": float("nan")}
            self._optimiser.step(rate)
            if epoch == 0:
                served = first_position_log_prob(self.focus * scores.detach(), eligible)
                alone = first_position_log_prob(scored.foundation, eligible)
                health = self._health(batch, weight, served, kl, norm)
                health["foundation_kl_nats"] = float(kl_divergence(served, alone).mean())
        health["clip_share"] = _share((ratio != clipped) & drawn, drawn)
        return {**health, "loss": float(loss.detach()), "kl_weight": beta, "learning_rate": rate}

    def _health(
        self, batch: Batch, weight: Tensor, served: Tensor, kl: Tensor, norm: Tensor
    ) -> dict[str, float]:
        used = weight[batch.drawn]
        return {
            "entropy_nats": float(entropy(served).mean()),
            "kl_nats": float(kl.detach()),
            "gradient_norm": float(norm),
            "cap_share": _share(used >= self.settings.weight_cap, batch.drawn),
            "effective_share": float(used.sum() ** 2 / (len(used) * (used**2).sum() + 1e-12)),
            "reward_per_banner": float(self._baseline.means.sum()),
            "reward_spread": self._baseline.spread,
        }

    def _counts(self, examples: Sequence[Example]) -> dict[str, float]:
        shown = {row for rows in self._shown for row in rows}
        corrections = sum(example.reward.revision > 0 for example in examples)
        return {
            "distinct_products": float(len(shown)),
            "corrections": float(corrections),
            "records": float(len(examples)),
            "focus_weight": self.focus,
        }

    def _kept(self) -> _Kept:
        return _Kept(
            parameters=[value.detach().clone() for value in self._policy.parameters()],
            moments=self._optimiser.moments(),
            value={name: getattr(self._policy, name).cpu().numpy().copy() for name in VALUE},
            baseline=self._baseline.sums,
            model=self._model.state(),
            pending=self._pending,
        )

    @torch.no_grad()
    def _put_back(self, kept: _Kept) -> None:
        for parameter, value in zip(self._policy.parameters(), kept.parameters, strict=True):
            parameter.copy_(value)
        self._optimiser.load(kept.moments)
        self._policy.take_value(kept.value)
        self._baseline.sums = kept.baseline
        self._model.restore(kept.model)
        self._pending = kept.pending

    def _is_finite(self) -> bool:
        learned = [*self._policy.parameters(), *(getattr(self._policy, name) for name in VALUE)]
        return all(bool(torch.isfinite(value.sum())) for value in learned)

    def state(self) -> State:
        """Return everything the next update depends on, beside foundation, features and settings.

        Returns:
            "weights/NAME", Adam's moments, and what `restore` needs of the baseline and counters.
        """
        shown = np.full((len(self._shown), BANNER_SIZE), -1, np.int32)
        for place, rows in enumerate(self._shown):
            shown[place, : len(rows)] = rows
        return {
            **{f"weights/{name}": value for name, value in self._policy.weights().items()},
            **{f"moments/{name}": value for name, value in self._optimiser.moments().items()},
            "baseline": self._baseline.sums.copy(),
            "shown": shown,
            "pending": pack_records(self._pending),
            **{f"last/{name}": np.array(value) for name, value in self._last.items()},
            **{f"model/{name}": value for name, value in self._model.state().items()},
            "counters": np.array([self.banners, self.updates, self.refused], np.int64),
        }

    def restore(self, state: State) -> None:
        """Continue where `state` was taken, over as many products or fewer."""

        def part(prefix: str) -> State:
            size = len(prefix)
            return {name[size:]: state[name] for name in state if name.startswith(prefix)}

        features, device = self._policy.features, self._policy.device
        self._policy = TorchPolicy.from_weights(part("weights/"), features, device)
        self._optimiser = self._adam()
        self._optimiser.load(part("moments/"))
        self._baseline.sums = state["baseline"].copy()
        self._model.restore(part("model/"))
        self._model.grow(self.products)
        self._pending = [
            read_example(reward, self.products) for reward in unpack_records(state["pending"])
        ]
        self._last = {name: float(value) for name, value in part("last/").items()}
        self._shown.clear()
        self._shown.extend(tuple(int(row) for row in rows if row >= 0) for rows in state["shown"])
        self.banners, self.updates, self.refused = (int(count) for count in state["counters"])


def _times(weights: Weights, factor: float) -> dict[str, npt.NDArray[Any]]:
    """Return weights whose every score is `factor` times as large."""
    return {
        name: (factor * value).astype(value.dtype) if name in _SCALES else value
        for name, value in weights.items()
    }


def _share(part: Tensor, of: Tensor) -> float:
    return float(part.sum()) / max(float(of.sum()), 1.0)
