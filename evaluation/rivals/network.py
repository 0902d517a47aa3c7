"""The foundation's network as a rival moves it: it draws, is trained in torch, is compiled again.

Dimensions: B banners, K positions, C candidates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evaluation.rivals.asking import eligible_rows, excluded_rows
from evaluation.shop import Situation
from policy.features import ProductFeatures
from policy.serving import UNIFORMS, Draw, ServingPolicy
from policy.torch_context import pack_candidates, pack_contexts
from policy.torch_network import TorchPolicy
from schemas.limits import BANNER_SIZE
from trainer.adam import Adam
from trainer.device import compute_deterministically

Rows = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True)
class Shown:
    """A banner and what it earned.

    Attributes:
        candidates: (C,) int32 ascending rows to be scored, those of the banner among them.
        rows: (K,) the banner.
        points: (K,) of each position.
    """

    situation: Situation
    candidates: npt.NDArray[np.int32]
    rows: Rows
    points: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Scored:
    """A batch of banners with the network's scores, gradients attached.

    Attributes:
        scores: (B, C) float32, -1e30 where a context has fewer candidates.
        eligible: (B, C) bool.
        banner: (B, K) int64, where among the candidates the products shown stand.
        points: (B, K) float32.
    """

    scores: Tensor
    eligible: Tensor
    banner: Tensor
    points: Tensor


class Network:
    """The policy network on the CPU with Adam: served as the ring serves it.

    Args:
        weights: where it starts.
        features: of every product.
        rate: learning rate; it may be changed between steps.
    """

    def __init__(
        self, weights: Mapping[str, npt.NDArray[Any]], features: ProductFeatures, *, rate: float
    ) -> None:
        compute_deterministically(torch.device("cpu"), threads=1)
        self._features = features
        self.rate = rate
        self.trained = TorchPolicy.from_weights(weights, features)
        self._adam = Adam(self.trained.named_parameters(), betas=(0.9, 0.99))
        self.compile()

    def compile(self) -> None:
        """Serve the weights as they are now."""
        self.served = ServingPolicy.compile(self.trained.weights(), self._features, version=0)

    def draw(self, situation: Situation, rng: np.random.Generator) -> Draw:
        """Draw five rows by Plackett-Luce."""
        return self.served.draw(
            viewed_row=situation.viewed_row,
            history=situation.history,
            eligible=eligible_rows(situation, self.trained.products),
            excluded=excluded_rows(situation),
            size=BANNER_SIZE,
            uniforms=rng.random(UNIFORMS),
        )

    def greedy(self, situation: Situation) -> Rows:
        """Return the five rows of the highest scores."""
        return self.served.greedy(
            viewed_row=situation.viewed_row,
            history=situation.history,
            eligible=eligible_rows(situation, self.trained.products),
            excluded=excluded_rows(situation),
            size=BANNER_SIZE,
        )

    def score(self, batch: Sequence[Shown]) -> Scored:
        """Return banners of one length with the network's scores of their candidates."""
        contexts = pack_contexts(
            [each.situation.viewed_row for each in batch],
            [each.situation.history for each in batch],
            self._features,
        )
        candidates = pack_candidates([each.candidates for each in batch], self.trained.products)
        banner = [each.candidates.searchsorted(each.rows) for each in batch]
        return Scored(
            scores=self.trained.scores(self.trained.prepare(contexts, candidates)),
            eligible=candidates.mask,
            banner=torch.from_numpy(np.array(banner, np.int64)),
            points=torch.tensor([each.points for each in batch], dtype=torch.float32),
        )

    def step(self, loss: Tensor) -> None:
        """Take one step of Adam down the gradient of `loss`."""
        self._adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._adam.step(self.rate)
