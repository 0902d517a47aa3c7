"""What stays the same while a batch is scored again and again: sparse features, places, masses.

A learner scores one batch several times (each epoch, and by the foundation); all that does not
depend on trained weights is computed once, here.

Dimensions: B contexts, L recent purchases, C candidates, U distinct candidate rows, R distinct rows
of the contexts, T repeats that are candidates, H feature buckets, M neighbours.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from policy.architecture import BUCKETS, COPURCHASE_FLOOR, NEIGHBOURS
from policy.features import ProductFeatures
from policy.torch_context import CandidateBatch, ContextBatch


class _SparseProduct(torch.autograd.Function):
    """matrix @ table for a constant sparse matrix; its transpose gives the gradient."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, matrix: Tensor, transposed: Tensor) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(transposed)
        return matrix @ table

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        (transposed,) = ctx.saved_tensors
        return transposed @ gradients[0], None, None


@dataclass(frozen=True, slots=True)
class FeatureBag:
    """The features of some products as a constant sparse matrix and its transpose.

    Products of sparse matrices cost a ninth of `embedding_bag` with its backward pass, and are
    bit-identical from run to run.
    """

    matrix: Tensor
    transposed: Tensor

    def __call__(self, table: Tensor) -> Tensor:
        """Return (R, D): the sum over features of weight * table[bucket], for `table` (H, D)."""
        found: Tensor = _SparseProduct.apply(table, self.matrix, self.transposed)
        return found


@dataclass(frozen=True, slots=True)
class PreparedBatch:
    """A batch ready to be scored.

    Attributes:
        contexts: as they were given.
        candidates: as they were given.
        context_rows: (R,) int64 distinct rows of the contexts.
        context_place: (B, 1 + L) int64 where in `context_rows` the view and the purchases stand.
        context_bag: features of `context_rows`.
        candidate_bag: features of `candidates.union`.
        repeat_context: (T,) int64, which context a repeat belongs to; only repeats that are
            candidates.
        repeat_slot: (T,) int64, where among the candidates it stands.
        repeat_place: (T,) int64, where in the union it stands.
        repeat_rows: (T,) int64.
        repeat_inputs: (T, 15) float32.
        copurchases: (2, B, C) float32 log(1 + z/.01), of recent purchases and of the product
            viewed.
    """

    contexts: ContextBatch
    candidates: CandidateBatch
    context_rows: Tensor
    context_place: Tensor
    context_bag: FeatureBag
    candidate_bag: FeatureBag
    repeat_context: Tensor
    repeat_slot: Tensor
    repeat_place: Tensor
    repeat_rows: Tensor
    repeat_inputs: Tensor
    copurchases: Tensor


def feature_matrix(features: ProductFeatures) -> csr_array:
    """Return the (N, H) sparse matrix of feature weights."""
    used = features.weights != 0
    starts = np.concatenate(([0], np.cumsum(used.sum(axis=1))))
    return csr_array(
        (features.weights[used].astype(np.float32), features.buckets[used], starts),
        shape=(len(features.weights), BUCKETS),
    )


def prepare(
    contexts: ContextBatch,
    candidates: CandidateBatch,
    matrix: csr_array,
    neighbours: tuple[Tensor, Tensor],
) -> PreparedBatch:
    """Return a batch ready to be scored, on the device of `neighbours`.

    Args:
        contexts: of the batch.
        candidates: of every context.
        matrix: (N, H) of every product, from `feature_matrix`.
        neighbours: co-purchase rows (N, M) int32 and weights (N, M) float32.
    """
    device = neighbours[0].device
    contexts, candidates = contexts.to(device), candidates.to(device)
    rows = torch.cat([contexts.viewed.clamp(min=0)[:, None], contexts.recent], dim=1)
    context_rows, context_place = torch.unique(rows, return_inverse=True)
    places = _places(candidates, matrix.shape[0])
    place = places[contexts.repeat_rows]
    slot = torch.where(place >= 0, candidates.slot[contexts.repeat_context, place.clamp(min=0)], -1)
    kept = slot >= 0
    return PreparedBatch(
        contexts=contexts,
        candidates=candidates,
        context_rows=context_rows,
        context_place=context_place,
        context_bag=_bag(matrix, context_rows),
        candidate_bag=_bag(matrix, candidates.union),
        repeat_context=contexts.repeat_context[kept],
        repeat_slot=slot[kept],
        repeat_place=place[kept],
        repeat_rows=contexts.repeat_rows[kept],
        repeat_inputs=contexts.repeat_inputs[kept],
        copurchases=_copurchases(contexts, candidates, places, neighbours),
    )


def _bag(matrix: csr_array, rows: Tensor) -> FeatureBag:
    chosen = matrix[rows.cpu().numpy()]
    return FeatureBag(_sparse(chosen, rows.device), _sparse(chosen.T.tocsr(), rows.device))


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


def _places(candidates: CandidateBatch, products: int) -> Tensor:
    """Return (N,) where in the union a row stands; -1: not."""
    union = candidates.union
    places = torch.full((products,), -1, device=union.device)
    places[union] = torch.arange(len(union), device=union.device)
    return places


def _copurchases(
    contexts: ContextBatch,
    candidates: CandidateBatch,
    places: Tensor,
    neighbours: tuple[Tensor, Tensor],
) -> Tensor:
    viewed = contexts.viewed[:, None]
    masses = [
        _mass(contexts.recent, contexts.recent_mask, candidates, places, neighbours),
        _mass(viewed.clamp(min=0), viewed >= 0, candidates, places, neighbours),
    ]
    return (torch.stack(masses) / COPURCHASE_FLOOR).log1p()


def _mass(
    rows: Tensor,
    mask: Tensor,
    candidates: CandidateBatch,
    places: Tensor,
    neighbours: tuple[Tensor, Tensor],
) -> Tensor:
    """Return z: (B, C) the sum of the neighbour weights that (B, L) masked `rows` give."""
    context, column = mask.nonzero(as_tuple=True)
    found = neighbours[0][rows[context, column]].long()  # (P, M)
    weights = neighbours[1][rows[context, column]]
    place = torch.where(found >= 0, places[found.clamp(min=0)], -1)
    context = context[:, None].expand(-1, NEIGHBOURS)
    slot = torch.where(place >= 0, candidates.slot[context, place.clamp(min=0)], -1)
    kept = slot >= 0
    width = candidates.mask.shape[1]
    mass = torch.zeros(len(mask) * width, device=mask.device)
    mass.index_add_(0, context[kept] * width + slot[kept], weights[kept])
    return mass.view(len(mask), width)
