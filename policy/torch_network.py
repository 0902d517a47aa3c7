"""The network in torch, for training: batches of contexts scored against their candidate rows.

The same definition as `policy.reference`, within 1e-4. Only rows a batch touches get work: product
vectors are made for the union of its candidates and for the products of its contexts.

Dimensions: B contexts, C candidates, U distinct candidate rows, N products, d vector size.
"""

import math
import warnings
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array
from torch import Tensor, nn

from policy.architecture import (
    BUCKETS,
    COPURCHASE_FLOOR,
    NEIGHBOURS,
    PROJECTED,
    TENSORS,
    VECTOR,
)
from policy.features import ProductFeatures
from policy.torch_context import CandidateBatch, ContextBatch
from policy.torch_distribution import NOT_ELIGIBLE

_SCALE = 2.0 / math.sqrt(VECTOR)


class _Bag(torch.autograd.Function):
    """rows @ table for a constant sparse matrix `rows`; its transpose gives the gradient.

    Nine times faster than `embedding_bag` with its backward pass, and bit-identical from run to
    run.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, rows: Tensor, transposed: Tensor) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(transposed)
        return rows @ table

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        (transposed,) = ctx.saved_tensors
        return transposed @ gradients[0], None, None


def _sparse(matrix: csr_array, device: torch.device) -> Tensor:
    with warnings.catch_warnings():  # torch calls its CSR layout beta
        warnings.simplefilter("ignore", UserWarning)
        return torch.sparse_csr_tensor(
            torch.from_numpy(matrix.indptr.astype(np.int32)),
            torch.from_numpy(matrix.indices.astype(np.int32)),
            torch.from_numpy(matrix.data),
            size=matrix.shape,
            check_invariants=False,
        ).to(device)


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
        self.features = features
        self._bags = _feature_matrix(features)
        self._grow_rows(len(features.categories))

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
        self.features = features
        self._bags = _feature_matrix(features)
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

    def scores(self, contexts: ContextBatch, candidates: CandidateBatch) -> Tensor:
        """Return (B, C) float32 logits of the candidates; -1e30 where `candidates.mask` is False.

        Equal to `reference.scores` at the candidate rows, sharpness included.
        """
        union = candidates.union
        tables = [self.output_features, self.bias_features[:, None], self.repeat_projection]
        bag = self._bag(torch.cat(tables, dim=1), union)
        output, bias, projected = bag.split([VECTOR, 1, PROJECTED], dim=1)
        output = output + self.output_rows[union]
        bias = bias[:, 0] + self.bias_rows[union]
        logits = torch.addmm(bias, self.user_vectors(contexts), output.T, alpha=_SCALE)  # (B, U)
        if candidates.place is not None:
            logits = logits.gather(1, candidates.place)
        logits = self._add_repeats(logits, projected, contexts, candidates)
        logits = self._add_copurchases(logits, contexts, candidates)
        return (self.sharpness * logits).masked_fill(~candidates.mask, NOT_ELIGIBLE)

    def user_vectors(self, contexts: ContextBatch) -> Tensor:
        """Return u(x): (B, d) from the view, attention over recent purchases, and their mean."""
        mask = contexts.recent_mask
        rows = torch.cat([contexts.viewed.clamp(min=0)[:, None], contexts.recent], dim=1)
        used, inverse = rows.unique(return_inverse=True)
        vectors = self.context_rows[used] + self._bag(self.context_features, used)
        in_context = vectors[inverse]  # (B, 1 + L, d)
        view = torch.where(contexts.viewed[:, None] >= 0, in_context[:, 0], self.no_view)
        bought = in_context[:, 1:] * mask[:, :, None]  # (B, L, d)
        logits = torch.einsum("bld,bd->bl", bought, view @ self.attention_query)
        logits = logits / math.sqrt(VECTOR) + self.attention_position
        share = logits.masked_fill(~mask, NOT_ELIGIBLE).softmax(dim=1)
        attended = torch.einsum("bl,bld->bd", share, bought)
        mean = bought.sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1)
        hidden = torch.cat([view, attended, mean], dim=1) @ self.hidden_weight + self.hidden_bias
        return hidden.relu() @ self.user_weight + self.user_bias

    def _bag(self, table: Tensor, rows: Tensor) -> Tensor:
        """Return (R, ...): sum_f weight * table[bucket] of `rows`."""
        chosen = self._bags[rows.cpu().numpy()]
        transposed = csr_array(chosen.T.tocsr())
        return cast(
            "Tensor",
            _Bag.apply(table, _sparse(chosen, table.device), _sparse(transposed, table.device)),  # type: ignore[no-untyped-call]
        )

    def _add_repeats(
        self, logits: Tensor, projected: Tensor, contexts: ContextBatch, candidates: CandidateBatch
    ) -> Tensor:
        """Add rep(x, i) to the candidates that the shopper bought before."""
        place = self._places(candidates)[contexts.repeat_rows]  # in the union; -1: not
        kept = place >= 0
        context, place = contexts.repeat_context[kept], place[kept]
        slot = candidates.slot[context, place]
        kept_slot = slot >= 0
        context, place, slot = context[kept_slot], place[kept_slot], slot[kept_slot]
        known = contexts.repeat_inputs[kept][kept_slot]
        rows = contexts.repeat_rows[kept][kept_slot]
        inputs = torch.cat([known, projected[place]], dim=1)
        hidden = (inputs @ self.repeat_hidden_weight + self.repeat_hidden_bias).relu()
        terms = hidden @ self.repeat_out_weight + self.repeat_out_bias
        terms = terms + self.repeat_rows[rows] * known[:, 0]
        return logits.index_put((context, slot), terms, accumulate=True)

    def _places(self, candidates: CandidateBatch) -> Tensor:
        """Return (N,) where in the union a row stands; -1: not."""
        place = torch.full((self.products,), -1, device=self.device)
        place[candidates.union] = torch.arange(len(candidates.union), device=self.device)
        return place

    def _add_copurchases(
        self, logits: Tensor, contexts: ContextBatch, candidates: CandidateBatch
    ) -> Tensor:
        """Add c_0 log(1 + z_recent/.01) + c_1 log(1 + z_viewed/.01)."""
        viewed_mask = contexts.viewed[:, None] >= 0
        sources = (
            (contexts.recent, contexts.recent_mask),
            (contexts.viewed.clamp(min=0)[:, None], viewed_mask),
        )
        places = self._places(candidates)
        for place, (rows, mask) in enumerate(sources):
            mass = self._neighbour_mass(rows, mask, places, candidates)
            logits = logits + self.copurchase_scale[place] * (mass / COPURCHASE_FLOOR).log1p()
        return logits

    @torch.no_grad()
    def _neighbour_mass(
        self, rows: Tensor, mask: Tensor, places: Tensor, candidates: CandidateBatch
    ) -> Tensor:
        """Return z: (B, C) sum of the neighbour weights that (B, L) masked `rows` give."""
        context, column = mask.nonzero(as_tuple=True)
        neighbours = self.neighbour_rows[rows[context, column]].long()  # (P, M)
        weights = self.neighbour_weights[rows[context, column]]
        place = torch.where(neighbours >= 0, places[neighbours.clamp(min=0)], -1)
        context = context[:, None].expand(-1, NEIGHBOURS)
        slot = torch.where(place >= 0, candidates.slot[context, place.clamp(min=0)], -1)
        kept = slot >= 0
        width = candidates.mask.shape[1]
        mass = torch.zeros(len(mask) * width, device=self.device)
        mass.index_add_(0, context[kept] * width + slot[kept], weights[kept])
        return mass.view(len(mask), width)


def _feature_matrix(features: ProductFeatures) -> csr_array:
    """Return the (N, H) sparse matrix of feature weights."""
    used = features.weights != 0
    counts = used.sum(axis=1)
    starts = np.concatenate(([0], np.cumsum(counts)))
    return csr_array(
        (features.weights[used].astype(np.float32), features.buckets[used], starts),
        shape=(len(counts), BUCKETS),
    )
