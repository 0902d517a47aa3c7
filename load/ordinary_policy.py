"""The policy as an ordinary team serves it: torch, product vectors made once, a batch of one.

The same network as everywhere else (a test holds its scores against the float64 reference); every
eligible product is a candidate; five are drawn one by one by the Gumbel trick.

Dimensions: N products, d vector size, m repeats, M neighbours.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from load.shop import Weights
from policy.architecture import COPURCHASE_FLOOR, REPEAT_INPUTS, TENSORS, VECTOR
from policy.features import ProductFeatures, pair_groups
from policy.torch_batch import feature_matrix
from schemas.history import HALF_LIFE_ORDERS, History

_SCALE: Final = 2.0 / math.sqrt(VECTOR)


@dataclass(frozen=True, slots=True)
class OrdinaryDraw:
    """A banner.

    Attributes:
        rows: (K,) rows in display order.
        log_probs: (K,) log-probability of each position given those before.
    """

    rows: list[int]
    log_probs: list[float]


def _long(values: npt.NDArray[Any]) -> Tensor:
    return torch.from_numpy(values.astype(np.int64))


class OrdinaryPolicy:
    """One snapshot; `draw` is a request's forward pass and draw."""

    def __init__(self, weights: Weights, features: ProductFeatures) -> None:
        matrix = feature_matrix(features)
        self._w = {name: torch.from_numpy(np.array(weights[name])) for name in TENSORS}

        def made(rows: str, table: str) -> Tensor:
            bag: npt.NDArray[Any] = matrix @ weights[table]
            return torch.from_numpy((weights[rows] + bag).astype(np.float32))

        self._context = made("context_rows", "context_features")
        self._output = made("output_rows", "output_features")
        self._bias = made("bias_rows", "bias_features")
        self._projected = (matrix @ weights["repeat_projection"]).astype(np.float32)
        self._traits = made("trait_rows", "trait_features")
        self._value = self._traits @ self._w["value_context"].T + self._w["value_rows"]
        self._value_bias = self._traits @ self._w["value_main"] + self._w["value_bias"]
        self._categories = features.categories
        neighbours = self._w["neighbour_rows"].long()
        self._neighbours = neighbours.clamp(min=0)
        self._shares = self._w["neighbour_weights"] * (neighbours >= 0)
        self._sharpness = float(weights["sharpness"][0])
        self._groups = _long(pair_groups(features.categories))
        self._pairs = torch.nn.functional.pad(self._w["value_pairs"], (0, 1, 0, 1))

    @torch.inference_mode()
    def draw(self, viewed: int, history: History, available: Tensor, *, size: int) -> OrdinaryDraw:
        """Draw a banner, each position by the Gumbel trick (Maddison et al. 2014, arXiv 1411.0030).

        Args:
            viewed: row of the product viewed; -1: none.
            history: the shopper's.
            available: (N,) bool.
            size: positions.
        """
        scores = self.scores(viewed, history).masked_fill(~available, -math.inf)
        if viewed >= 0:
            scores[viewed] = -math.inf
        rows: list[int] = []
        log_probs: list[float] = []
        for _ in range(size):
            noise = -torch.empty_like(scores).exponential_().log()
            row = int((scores + noise).argmax())
            rows.append(row)
            log_probs.append(float(scores[row] - scores.logsumexp(dim=0)))
            scores += self._pairs[self._groups[row]][self._groups]
            scores[row] = -math.inf
        return OrdinaryDraw(rows, log_probs)

    @torch.inference_mode()
    def scores(self, viewed: int, history: History) -> Tensor:
        """Return (N,) float32: the logit of every product."""
        recent = _long(history.recent)
        u = self._user_vector(viewed, recent)
        scores = torch.addmv(self._bias, self._output, u, alpha=_SCALE)
        self._add_copurchases(scores, recent, 0)
        if viewed >= 0:
            self._add_copurchases(scores, torch.tensor([viewed]), 1)
        self._add_repeats(scores, viewed, history)
        z = torch.zeros(2, self._traits.shape[1])
        if len(recent):
            z[0] = self._traits[recent].mean(dim=0)
        if viewed >= 0:
            z[1] = self._traits[viewed]
        return scores * self._sharpness + torch.addmv(self._value_bias, self._value, z.ravel())

    def _user_vector(self, viewed: int, recent: Tensor) -> Tensor:
        w = self._w
        view = self._context[viewed] if viewed >= 0 else w["no_view"]
        attended = mean = torch.zeros(VECTOR)
        if len(recent):
            bought = self._context[recent]
            logits = bought @ (view @ w["attention_query"]) / math.sqrt(VECTOR)
            logits = logits + w["attention_position"][: len(recent)].flip(0)  # 0 is the newest
            attended = logits.softmax(dim=0) @ bought
            mean = bought.mean(dim=0)
        inputs = torch.cat([view, attended, mean])
        hidden = torch.addmv(w["hidden_bias"], w["hidden_weight"].T, inputs).relu()
        return torch.addmv(w["user_bias"], w["user_weight"].T, hidden)

    def _add_copurchases(self, scores: Tensor, rows: Tensor, scale: int) -> None:
        touched = self._neighbours[rows].ravel()
        mass = torch.zeros_like(scores).index_add_(0, touched, self._shares[rows].ravel())
        terms = self._w["copurchase_scale"][scale] * (mass[touched] / COPURCHASE_FLOOR).log1p()
        scores[touched] = scores[touched] + terms  # a row that stands twice gets the same twice

    def _add_repeats(self, scores: Tensor, viewed: int, history: History) -> None:
        if not len(history.rows):
            return
        w, rows = self._w, _long(history.rows)
        inputs = self._repeat_inputs(viewed, history)
        hidden = (inputs @ w["repeat_hidden_weight"] + w["repeat_hidden_bias"]).relu()
        terms = hidden @ w["repeat_out_weight"] + w["repeat_out_bias"]
        scores.index_add_(0, rows, terms + w["repeat_rows"][rows] * inputs[:, 0])

    def _repeat_inputs(self, viewed: int, history: History) -> Tensor:
        """Return (m, 15 + P), as `policy.reference.repeat_inputs` defines them, made by numpy."""
        rows = history.rows
        counts, first, last = (
            part.astype(np.float32) for part in (history.counts, history.first, history.last)
        )
        gap = history.orders - last
        decayed = history.decayed * np.exp2(-gap / np.float32(HALF_LIFE_ORDERS))
        rate = counts / np.float32(history.orders + 5.0)
        category = self._categories[viewed] if viewed >= 0 else -1
        inputs = np.empty((len(rows), REPEAT_INPUTS), np.float32)
        columns = (
            np.log1p(decayed), np.exp(-gap / 0.4), np.exp(-gap / 1.8), np.exp(-gap / 7.0),
            np.log1p(gap), np.sqrt(rate), np.log(rate),
            decayed / max(decayed.sum(), 1e-9), decayed / max(decayed.max(), 1e-9),
            np.minimum(counts * gap / np.maximum(last - first, 1.0), 5.0),
            counts == 1, np.isin(rows, history.recent),
            (self._categories[rows] == category) & (category >= 0),
            float(viewed >= 0), math.log1p(history.orders),
        )  # fmt: skip
        for place, column in enumerate(columns):
            inputs[:, place] = column
        inputs[:, len(columns) :] = self._projected[rows]
        return torch.from_numpy(inputs)
