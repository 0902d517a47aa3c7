"""Which products are candidates: what `policy.candidates` says, without sorting anything."""

from typing import Final

import numpy as np
from numba import njit

from policy.kernels.layout import TILE, Bytes, Doubles, Floats, Ints
from policy.kernels.matvec import highest, lowest

BINS: Final = 256
_NEVER: Final = np.float32(-np.inf)
_LOWEST: Final = np.float32(np.finfo(np.float32).min)


@njit()
def _bin(value: np.float32, low: np.float32, scale: np.float32) -> int:  # pragma: no cover
    """Return the value's bin, which never falls as the value grows."""
    return min(max(int((value - low) * scale), 0), BINS - 1)


@njit()
def _keep_bin(
    values: Floats, count: int, low: np.float32, scale: np.float32, wanted: int
) -> int:  # pragma: no cover
    kept = 0
    for place in range(count):
        value = values[place]
        values[kept] = value
        kept += _bin(value, low, scale) == wanted
    return kept


@njit()
def _keep_higher(values: Floats, count: int, low: np.float32) -> int:  # pragma: no cover
    kept = 0
    for place in range(count):
        value = values[place]
        values[kept] = value
        kept += value > low
    return kept


@njit()
def kth_largest(
    values: Floats, count: int, rank: int, bins: Ints
) -> np.float32:  # pragma: no cover
    """Return the rank-th largest of values[:count] (rank from 1); -inf when there are fewer.

    A histogram finds the bin that holds it, then only that bin is looked at. Every pass leaves at
    least one value behind, since the lowest and the highest never share a bin.

    Args:
        values: numbers or -inf, never NaN; what they hold afterwards is of no use.
        count: how many of them count.
        rank: from 1.
        bins: (BINS,) scratch space.
    """
    kept = _keep_higher(values, count, _NEVER) if lowest(values, count) == _NEVER else count
    if kept < rank:
        return _NEVER
    while True:
        low, high = lowest(values, kept), highest(values, kept)
        if low == high:
            return low
        scale = np.float32(BINS) / (high - low)
        bins[:] = 0
        for place in range(kept):
            bins[_bin(values[place], low, scale)] += 1
        wanted = BINS - 1
        while bins[wanted] < rank:
            rank -= bins[wanted]
            wanted -= 1
        inside = _keep_bin(values, kept, low, scale, wanted)
        if inside == kept:  # closer together, or farther apart, than float32 can divide
            inside = _keep_higher(values, kept, low)
            if inside < rank:
                return low
        kept = inside


@njit()
def _flag(scores: Floats, floor: np.float32, flags: Bytes) -> None:  # pragma: no cover
    for row in range(len(scores)):
        flags[row] = np.uint8(scores[row] >= floor)


@njit()
def above(
    scores: Floats, floor: np.float32, flags: Bytes, rows: Ints, values: Floats
) -> int:  # pragma: no cover
    """Write rows and scores of the products whose score is above -inf and not below `floor`.

    Args:
        scores: (tiles * TILE,) with -inf where a product is not eligible.
        floor: lowest score wanted; -inf: all.
        flags: (tiles * TILE,) scratch space, read eight at a time.
        rows: (tiles * TILE,) the rows, ascending.
        values: (tiles * TILE,) their scores.

    Returns:
        How many there are.
    """
    _flag(scores, max(floor, _LOWEST), flags)
    eights, found = flags.view(np.uint64), 0
    for eight in range(len(eights)):
        if eights[eight] != 0:
            for row in range(eight * 8, eight * 8 + 8):
                rows[found], values[found] = row, scores[row]
                found += flags[row]
    return found


@njit()
def keep_top(
    rows: Ints, values: Floats, count: int, top: int, work: Floats, bins: Ints
) -> int:  # pragma: no cover
    """Keep the `top` highest of ascending rows, in place; of equal scores the lower rows.

    Returns:
        How many were kept: `top`, or all when there are fewer.
    """
    if count <= top:
        return count
    for place in range(count):
        work[place] = values[place]
    threshold = kth_largest(work, count, top, bins)
    ties = top  # how many of those level with the threshold still fit
    for place in range(count):
        ties -= values[place] > threshold
    kept = 0
    for place in range(count):
        row, value = rows[place], values[place]
        rows[kept], values[kept] = row, value
        level = value == threshold
        kept += (value > threshold) | (level & (ties > 0))
        ties -= level
    return kept


@njit()
def uniform_rows(
    scores: Floats, counts: Ints, eligible: int, uniforms: Doubles, rows: Ints
) -> int:  # pragma: no cover
    """Write one eligible row per uniform number, ascending and distinct; return how many.

    Number u takes place floor(u * eligible) among the eligible rows.

    Args:
        scores: (tiles * TILE,) with -inf where a product is not eligible.
        counts: (tiles,) eligible products of each tile; their running sum afterwards.
        eligible: how many are eligible, at least one.
        uniforms: numbers in [0, 1).
        rows: (len(uniforms),) the result.
    """
    for tile in range(1, len(counts)):
        counts[tile] += counts[tile - 1]
    for place in range(len(uniforms)):
        wanted = min(int(uniforms[place] * eligible), eligible - 1)
        tile = int(np.searchsorted(counts, wanted, "right"))
        left = wanted - (counts[tile - 1] if tile > 0 else 0)
        row = tile * TILE
        while left > 0 or scores[row] == _NEVER:
            left -= scores[row] > _NEVER
            row += 1
        rows[place] = row
    return ascending(rows, len(uniforms))


@njit()
def ascending(rows: Ints, count: int) -> int:  # pragma: no cover
    """Sort a few rows in place, drop what is there twice, return how many are left."""
    for place in range(1, count):
        row, before = rows[place], place - 1
        while before >= 0 and rows[before] > row:
            rows[before + 1] = rows[before]
            before -= 1
        rows[before + 1] = row
    kept = 0
    for place in range(count):
        if place == 0 or rows[place] != rows[place - 1]:
            rows[kept] = rows[place]
            kept += 1
    return kept


@njit()
def merge(
    left: Ints, lefts: int, right: Ints, rights: int, merged: Ints
) -> int:  # pragma: no cover
    """Write the union of two ascending lists of distinct rows; return how many there are."""
    a = b = found = 0
    while a < lefts or b < rights:
        take_left = b >= rights or (a < lefts and left[a] <= right[b])
        take_right = a >= lefts or (b < rights and right[b] <= left[a])
        merged[found] = left[a] if take_left else right[b]
        a += take_left
        b += take_right
        found += 1
    return found
