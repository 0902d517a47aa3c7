"""Contexts and candidates of a batch as tensors, built with vectorised numpy from packed forms.

Dimensions: B contexts, L recent purchases, T repeats of all contexts together, C candidates of a
context (padded), U distinct candidate rows of the batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from policy.features import ProductFeatures
from schemas.history import HALF_LIFE_ORDERS, HEADER_BYTES
from schemas.limits import RECENT_PURCHASES

Array = npt.NDArray[Any]
_HEADER_WORDS = HEADER_BYTES // 4
_EMPTY_HEADER = np.array([1, 0, 0, 0], "<u4").tobytes()


def _on(batch: "ContextBatch | CandidateBatch", device: torch.device) -> dict[str, Any]:
    values = ((field.name, getattr(batch, field.name)) for field in fields(batch))
    return {name: None if value is None else value.to(device) for name, value in values}


@dataclass(frozen=True, slots=True)
class ContextBatch:
    """Contexts of a batch.

    Attributes:
        viewed: (B,) int64 rows of the products viewed; -1: none.
        recent: (B, L) int64 rows of the last purchases, newest first; 0 where padded.
        recent_mask: (B, L) bool, True where `recent` holds a purchase.
        repeat_context: (T,) int64, which context a repeat belongs to.
        repeat_rows: (T,) int64.
        repeat_inputs: (T, 15) float32, what `reference.repeat_inputs` gives before the projection.
    """

    viewed: Tensor
    recent: Tensor
    recent_mask: Tensor
    repeat_context: Tensor
    repeat_rows: Tensor
    repeat_inputs: Tensor

    def __len__(self) -> int:
        return len(self.viewed)

    def to(self, device: torch.device) -> Self:
        """Return the batch on `device`."""
        return replace(self, **_on(self, device))


@dataclass(frozen=True, slots=True)
class CandidateBatch:
    """The candidates of every context of a batch.

    Attributes:
        rows: (B, C) int64 candidate rows, 0 where padded.
        mask: (B, C) bool, False where padded.
        union: (U,) int64 ascending distinct rows of the batch.
        place: (B, C) int64, where in `union` a candidate stands; None: C == U, in the union's
            order.
        slot: (B, U) int64, where among a context's candidates a row of the union stands; -1: not.
    """

    rows: Tensor
    mask: Tensor
    union: Tensor
    place: Tensor | None
    slot: Tensor

    def to(self, device: torch.device) -> Self:
        """Return the batch on `device`."""
        return replace(self, **_on(self, device))


def pack_candidates(candidates: Sequence[npt.NDArray[np.int32]], products: int) -> CandidateBatch:
    """Return the candidates of a batch as padded tensors.

    Args:
        candidates: B arrays (C_b,) of ascending distinct rows, each at least one row, < products.
        products: number of products N.
    """
    sizes = np.array([len(rows) for rows in candidates])
    width = int(sizes.max(initial=1))
    mask = np.arange(width) < sizes[:, None]
    rows = np.zeros((len(sizes), width), np.int64)
    rows[mask] = np.concatenate(candidates) if len(candidates) else []
    seen = np.zeros(products, np.bool_)
    seen[rows[mask]] = True
    union = np.flatnonzero(seen)
    position = np.full(products, -1, np.int64)
    position[union] = np.arange(len(union))
    place = np.where(mask, position[rows], 0)
    slot = np.full((len(sizes), len(union)), -1, np.int64)
    context, column = np.nonzero(mask)
    slot[context, place[mask]] = column
    same = width == len(union) and bool(mask.all())
    return CandidateBatch(
        rows=torch.from_numpy(rows),
        mask=torch.from_numpy(mask),
        union=torch.from_numpy(union),
        place=None if same else torch.from_numpy(place),
        slot=torch.from_numpy(slot),
    )


def shared_candidates(contexts: ContextBatch, rows: Tensor) -> CandidateBatch:
    """Return the same candidates for every context, but the product viewed (for pretraining).

    Args:
        contexts: of the batch.
        rows: (U,) int64 ascending distinct rows.
    """
    rows = rows.to(contexts.viewed.device)
    wide = rows.expand(len(contexts), len(rows))
    slot = torch.arange(len(rows), device=rows.device).expand(len(contexts), len(rows))
    mask = wide != contexts.viewed[:, None]
    return CandidateBatch(rows=wide, mask=mask, union=rows, place=None, slot=slot)


def every_product(contexts: ContextBatch, products: int) -> CandidateBatch:
    """Return all products but the one viewed as candidates of every context."""
    return shared_candidates(contexts, torch.arange(products))


def pack_contexts(
    viewed: Sequence[int], histories: Sequence[bytes], features: ProductFeatures
) -> ContextBatch:
    """Return the contexts of a batch as tensors; rows that `features` does not know are ignored.

    Args:
        viewed: B rows of the products viewed; -1: none.
        histories: B packed histories (`schemas.history`); empty bytes are an empty history.
        features: of every product.
    """
    products = len(features.categories)
    words, starts = _words(histories)
    header = words[starts[:, None] + np.arange(_HEADER_WORDS)].astype(np.int64)  # (B, 4)
    seen = np.asarray(viewed, np.int64)
    seen = np.where((seen >= 0) & (seen < products), seen, -1)
    recent, mask, all_recent = _recent(words, starts + _HEADER_WORDS, header[:, 1], products)
    context, body = _repeats(words, starts + _HEADER_WORDS + header[:, 1], header[:, 2])
    known = body[0] < products
    context, body = context[known], body[:, known]
    rows = body[0].astype(np.int64)
    bought_lately = (all_recent[context] == rows[:, None]).any(axis=1)
    inputs = _repeat_inputs(
        context, body, header[:, 3], seen, bought_lately, features.categories[rows], features
    )
    return ContextBatch(
        viewed=torch.from_numpy(seen),
        recent=torch.from_numpy(recent),
        recent_mask=torch.from_numpy(mask),
        repeat_context=torch.from_numpy(context),
        repeat_rows=torch.from_numpy(rows),
        repeat_inputs=torch.from_numpy(inputs),
    )


def _words(histories: Sequence[bytes]) -> tuple[Array, Array]:
    """Return every packed history in one array of words, and (B,) where each begins."""
    filled = [history or _EMPTY_HEADER for history in histories]
    sizes = np.array([len(history) // 4 for history in filled], np.int64)
    return np.frombuffer(b"".join(filled), "<u4"), np.cumsum(sizes) - sizes


def _ragged(counts: Array) -> tuple[Array, Array]:
    """Return (context, place) of each of `counts.sum()` ragged entries."""
    context = np.repeat(np.arange(len(counts)), counts)
    return context, np.arange(len(context)) - np.repeat(np.cumsum(counts) - counts, counts)


def _recent(
    words: Array, starts: Array, counts: Array, products: int
) -> tuple[Array, Array, Array]:
    """Return recent rows newest first (B, L), their mask, and all recent rows (B, L), -1 padded."""
    context, place = _ragged(counts)
    rows = words[starts[context] + place].astype(np.int64)
    every = np.full((len(counts), RECENT_PURCHASES), -1, np.int64)
    every[context, place] = rows
    known = rows < products
    context, rows = context[known], rows[known]
    kept = np.bincount(context, minlength=len(counts))
    _, place = _ragged(kept)
    recent = np.zeros_like(every)
    recent[context, kept[context] - 1 - place] = rows
    return recent, np.arange(RECENT_PURCHASES) < kept[:, None], every


def _repeats(words: Array, starts: Array, counts: Array) -> tuple[Array, Array]:
    """Return (T,) contexts and (5, T) words of the repeats."""
    context, place = _ragged(counts)
    columns = np.arange(5)[:, None] * counts[context] + place
    return context, words[starts[context] + columns]


def _repeat_inputs(
    context: Array,
    body: Array,
    orders_by_context: Array,
    viewed: Array,
    bought_lately: Array,
    categories: Array,
    features: ProductFeatures,
) -> npt.NDArray[np.float32]:
    """Return (T, 15), column by column as `reference.repeat_inputs` has them."""
    size = len(orders_by_context)
    counts, first, last = (body[row].astype(np.float64) for row in (2, 3, 4))
    orders = orders_by_context[context].astype(np.float64)
    gap = orders - last
    decayed = np.ascontiguousarray(body[1]).view("<f4") * np.exp2(-gap / HALF_LIFE_ORDERS)
    total = np.bincount(context, decayed, minlength=size)
    highest = np.zeros(size)
    np.maximum.at(highest, context, decayed)
    rate = counts / (orders + 5.0)
    has_view = viewed >= 0
    view_category = np.where(has_view, features.categories[np.maximum(viewed, 0)], -1)[context]
    columns = (
        np.log1p(decayed),
        np.exp(-gap / 0.4),
        np.exp(-gap / 1.8),
        np.exp(-gap / 7.0),
        np.log1p(gap),
        np.sqrt(rate),
        np.log(rate),
        decayed / np.maximum(total, 1e-9)[context],
        decayed / np.maximum(highest, 1e-9)[context],
        np.minimum(counts * gap / np.maximum(last - first, 1.0), 5.0),
        counts == 1,
        bought_lately,
        (categories == view_category) & (view_category >= 0),
        has_view[context],
        np.log1p(orders),
    )
    out = np.empty((len(context), len(columns)), np.float32)
    for place, column in enumerate(columns):
        out[:, place] = column
    return out
