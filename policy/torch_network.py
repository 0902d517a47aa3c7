"""The network in torch, for training: batches of contexts scored against their candidate rows.

The same definition as `policy.reference`, within 1e-4. Only rows a batch touches get work: product
vectors are made for the union of its candidates and for the products of its contexts.

Dimensions: B contexts, L recent purchases, C candidates, N products, d vector size.
"""

import math
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from policy.architecture import PROJECTED, TENSORS, TRAITS, VECTOR
from policy.features import ProductFeatures, pair_groups
from policy.torch_batch import PreparedBatch, feature_matrix, prepare
from policy.torch_context import CandidateBatch, ContextBatch
from policy.torch_distribution import NOT_ELIGIBLE, PairLifts

_SCALE = 2.0 / math.sqrt(VECTOR)


class TorchPolicy(nn.Module):
    """The policy network; parameters and buffers are named as in `architecture.TENSORS`."""

    context_rows: nn.Parameter
    context_features: nn.Parameter
    output_rows: nn.Parameter
    output_features: nn.Parameter
    bias_rows: nn.Parameter
    bias_features: nn.Parameter
    no_view: nn.Parameter
    attention_query: nn.Parameter
    attention_position: nn.Parameter
    hidden_weight: nn.Parameter
    hidden_bias: nn.Parameter
    user_weight: nn.Parameter
    user_bias: nn.Parameter
    repeat_projection: nn.Parameter
    repeat_hidden_weight: nn.Parameter
    repeat_hidden_bias: nn.Parameter
    repeat_out_weight: nn.Parameter
    repeat_out_bias: nn.Parameter
    repeat_rows: nn.Parameter
    copurchase_scale: nn.Parameter
    value_main: Tensor
    value_context: Tensor
    value_rows: Tensor
    value_bias: Tensor
    value_pairs: Tensor
    value_precision: Tensor
    trait_rows: Tensor
    trait_features: Tensor
    neighbour_rows: Tensor
    neighbour_weights: Tensor
    popularity: Tensor
    sharpness: Tensor

    def __init__(self, weights: Mapping[str, npt.NDArray[Any]], features: ProductFeatures) -> None:
        super().__init__()
        for name, tensor in TENSORS.items():
            value = torch.from_numpy(np.array(weights[name]))
            if tensor.trained:
                self.register_parameter(name, nn.Parameter(value))
            else:
                self.register_buffer(name, value)
        self._take_features(features)

    @classmethod
    def from_weights(
        cls,
        weights: Mapping[str, npt.NDArray[Any]],
        features: ProductFeatures,
        device: torch.device | str = "cpu",
    ) -> "TorchPolicy":
        """Return a policy with a copy of `weights` on `device`.

        Args:
            weights: every tensor of `architecture.TENSORS`; they may know fewer products than
                `features`, whose rows are then zero.
            features: of every product.
            device: where the tensors lie.
        """
        return cls(weights, features).to(device)

    @property
    def products(self) -> int:
        """Number of products N."""
        return len(self.bias_rows)

    @property
    def device(self) -> torch.device:
        """Where the tensors lie."""
        return self.no_view.device

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        """Return a copy of every tensor of `architecture.TENSORS` as numpy arrays."""
        return {
            name: cast("Tensor", getattr(self, name)).detach().cpu().numpy().copy()
            for name in TENSORS
        }

    def grow(self, features: ProductFeatures) -> None:
        """Take features of more (or changed) products; rows of new products start at zero.

        Parameters keep their identity where the number of products is unchanged; otherwise the
        optimiser has to be told (`trainer.learner` pads its moments).
        """
        self._take_features(features)

    def _take_features(self, features: ProductFeatures) -> None:
        self.features = features
        self._matrix = feature_matrix(features)
        self._groups = torch.from_numpy(pair_groups(features.categories)).long()
        self._grow_rows(len(features.categories))

    def _grow_rows(self, products: int) -> None:
        for name, tensor in TENSORS.items():
            value = cast("Tensor", getattr(self, name))
            if tensor.shape[0] != "N" or len(value) >= products:
                continue
            fill = -1 if name == "neighbour_rows" else 0
            more = value.new_full((products - len(value), *value.shape[1:]), fill)
            grown = torch.cat([value.detach(), more])
            if tensor.trained:
                self.register_parameter(name, nn.Parameter(grown))
            else:
                self.register_buffer(name, grown)

    def prepare(self, contexts: ContextBatch, candidates: CandidateBatch) -> PreparedBatch:
        """Return a batch ready for `scores`; it stays right while features and tables do.

        The foundation of a policy may score it too: both have the same features and tables.
        """
        tables = (self.neighbour_rows, self.neighbour_weights)
        return prepare(contexts, candidates, self._matrix, tables)

    def scores(self, batch: PreparedBatch) -> Tensor:
        """Return (B, C) float32 logits of the candidates; -1e30 where there is none.

        Equal to `reference.scores` at the candidate rows, sharpness and value terms included.
        """
        return self.network_scores(batch) + self.value_terms(batch)

    def network_scores(self, batch: PreparedBatch) -> Tensor:
        """Return (B, C): `scores` without the reward model's value terms."""
        candidates = batch.candidates
        tables = [self.output_features, self.bias_features[:, None], self.repeat_projection]
        bag = batch.candidate_bag(torch.cat(tables, dim=1))
        output, bias, projected = torch.split(bag, [VECTOR, 1, PROJECTED], dim=1)
        output = output + self.output_rows[candidates.union]
        bias = bias[:, 0] + self.bias_rows[candidates.union]
        logits = torch.addmm(bias, self.user_vectors(batch), output.T, alpha=_SCALE)  # (B, U)
        if candidates.place is not None:
            logits = logits.gather(1, candidates.place)
        for scale, mass in zip(self.copurchase_scale, batch.copurchases, strict=True):
            logits = logits.addcmul(scale, mass)
        where = (batch.repeat_context, batch.repeat_slot)
        logits = logits.index_put(where, self._repeat_terms(batch, projected), accumulate=True)
        return (self.sharpness * logits).masked_fill(~candidates.mask, NOT_ELIGIBLE)

    @torch.no_grad()
    def value_terms(self, batch: PreparedBatch) -> Tensor:
        """Return (B, C): what the reward model's draw adds to the score of every candidate."""
        candidates = batch.candidates
        traits, z = self.traits(batch), self.context_traits(batch)
        vectors = traits @ self.value_context.T + self.value_rows[candidates.union]
        bias = traits @ self.value_main + self.value_bias[candidates.union]
        values = torch.addmm(bias, z, vectors.T)  # (B, U)
        return values if candidates.place is None else values.gather(1, candidates.place)

    @torch.no_grad()
    def pair_lifts(self, batch: PreparedBatch, banner: Tensor, drawn: Tensor) -> PairLifts | None:
        """Return what each drawn product, once placed, adds to the scores of those that follow.

        None where the table is all zero, so that nobody works for nothing; arguments as of
        `torch_distribution.position_log_prob`.
        """
        if not bool(self.value_pairs.any()):
            return None
        table = nn.functional.pad(self.value_pairs, (0, 1, 0, 1))  # no group: nothing
        groups = self._groups.to(self.device)[batch.candidates.rows]  # (B, C)
        return PairLifts(groups, table[groups.gather(1, banner)] * drawn[:, :, None])

    @torch.no_grad()
    def traits(self, batch: PreparedBatch) -> Tensor:
        """Return (U, T) t_i of the candidates' union."""
        return batch.candidate_bag(self.trait_features) + self.trait_rows[batch.candidates.union]

    @torch.no_grad()
    def context_traits(self, batch: PreparedBatch) -> Tensor:
        """Return z: (B, 2T) the mean traits of recent purchases, and those of the view."""
        mask = batch.contexts.recent_mask
        known = self.trait_rows[batch.context_rows] + batch.context_bag(self.trait_features)
        in_context = known[batch.context_place]  # (B, 1 + L, T)
        bought = (in_context[:, 1:] * mask[:, :, None]).sum(dim=1)
        mean = bought / mask.sum(dim=1, keepdim=True).clamp(min=1)
        has_view = (batch.contexts.viewed >= 0)[:, None]
        return torch.cat([mean, in_context[:, 0] * has_view], dim=1).view(-1, 2 * TRAITS)

    @torch.no_grad()
    def take_value(self, value: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take the tensors of a reward model's draw; rows it does not know become zero."""
        for name, drawn in value.items():
            tensor = cast("Tensor", getattr(self, name))
            tensor.zero_()
            tensor[: len(drawn)] = torch.from_numpy(drawn).to(tensor)

    def user_vectors(self, batch: PreparedBatch) -> Tensor:
        """Return u(x): (B, d) from the view, attention over recent purchases, and their mean."""
        mask = batch.contexts.recent_mask
        vectors = self.context_rows[batch.context_rows] + batch.context_bag(self.context_features)
        in_context = vectors[batch.context_place]  # (B, 1 + L, d)
        view = torch.where(batch.contexts.viewed[:, None] >= 0, in_context[:, 0], self.no_view)
        bought = in_context[:, 1:] * mask[:, :, None]  # (B, L, d)
        logits = torch.einsum("bld,bd->bl", bought, view @ self.attention_query)
        logits = logits / math.sqrt(VECTOR) + self.attention_position
        share = logits.masked_fill(~mask, NOT_ELIGIBLE).softmax(dim=1)
        attended = torch.einsum("bl,bld->bd", share, bought)
        mean = bought.sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1)
        hidden = torch.cat([view, attended, mean], dim=1) @ self.hidden_weight + self.hidden_bias
        return hidden.relu() @ self.user_weight + self.user_bias

    def _repeat_terms(self, batch: PreparedBatch, projected: Tensor) -> Tensor:
        """Return (T,) rep(x, i) of the repeats that are candidates."""
        inputs = torch.cat([batch.repeat_inputs, projected[batch.repeat_place]], dim=1)
        hidden = (inputs @ self.repeat_hidden_weight + self.repeat_hidden_bias).relu()
        terms = hidden @ self.repeat_out_weight + self.repeat_out_bias
        return terms + self.repeat_rows[batch.repeat_rows] * batch.repeat_inputs[:, 0]
