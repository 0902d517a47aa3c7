"""The scores of every product, with what the choice of candidates needs to know about them.

Each pass is a function over whole arrays, and its loops count from 0 themselves: given an offset
for an argument, numba cannot see that no index is negative, and vectorises nothing (190 us for 35
at 10,000 products).
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from numba import njit, types
from numba.core.dispatcher import Dispatcher

from policy.kernels.layout import (
    FACTORS,
    GROUPS,
    TILE,
    TILE_FLOATS,
    Bytes,
    Floats,
    Ints,
    readonly,
    writable,
)
from policy.kernels.sources import FINGERPRINT

_NEVER: Final = np.float32(-np.inf)
_ZERO: Final = np.float32(0.0)
_ONE: Final = np.float32(1.0)
_BIAS_AT: Final = FACTORS * TILE


@njit(fastmath={"contract", "reassoc"})
def _hide(eligible: Bytes, scores: Floats) -> int:  # pragma: no cover
    """Put -inf in place of the scores of products that may not be shown; return how many may."""
    marked = 0
    for row in range(len(eligible)):
        scores[row] = scores[row] if eligible[row] != 0 else _NEVER
    for row in range(len(eligible)):
        marked += eligible[row] != 0
    return marked


@njit(fastmath={"contract", "reassoc"})
def _count(scores: Floats, counts: Ints) -> int:  # pragma: no cover
    """Write how many scores of each tile are above -inf; return how many are in all."""
    scored = 0
    for tile in range(len(counts)):
        at, found = tile * TILE, _ZERO
        for x in range(TILE):
            found += _ONE if scores[at + x] > _NEVER else _ZERO
        counts[tile] = np.int32(found)
        scored += int(found)
    return scored


@njit()
def _raise(scores: Floats, before: Floats, after: Floats) -> None:  # pragma: no cover
    # Into another array: in place, the store would depend on the comparison (5 us for 1).
    for group in range(len(scores)):
        score, highest = scores[group], before[group]
        after[group] = score if score > highest else highest


@njit()
def _maxima(scores: Floats, maxima: Floats, other: Floats) -> None:  # pragma: no cover
    """Write the highest score of each group."""
    maxima[:] = _NEVER
    before, after = maxima, other
    for start in range(0, len(scores), GROUPS):
        block = scores[start : start + GROUPS]
        _raise(block, before, after)
        after[len(block) :] = before[len(block) :]
        before, after = after, before
    maxima[:] = before


@njit()
def review(
    eligible: Bytes, scores: Floats, counts: Ints, maxima: Floats, other: Floats
) -> tuple[int, int]:  # pragma: no cover
    """Hide what may not be shown; return how many the mask lets through, how many have a score.

    The two numbers differ by the products that terms excluded, unless scores are not numbers.

    Args:
        eligible: (N,) 0 keeps a product out.
        scores: (tiles * TILE,) from `multiply`; -inf where a product is not eligible, afterwards.
        counts: (tiles,) the result: eligible products of each tile.
        maxima: (GROUPS,) the result: the highest score of each group.
        other: (GROUPS,) scratch space.
    """
    marked = _hide(eligible, scores)
    _maxima(scores, maxima, other)
    return marked, _count(scores, counts)


def _entry_point(fingerprint: int) -> "Dispatcher[Callable[..., None]]":
    """Return the compiled scan, tied to the source it was made from.

    Called from Python, never from another kernel: code that is kept on disk holds its own copy of
    every function it calls, optimised a second time, and of this one that made twice the time.
    """

    @njit(cache=True, fastmath={"contract", "reassoc"})
    def multiply(
        tiles: Floats, users: Floats, terms: Floats, scores: Floats, group: int
    ) -> None:  # pragma: no cover
        # The number is never below 0; being used makes it part of the cache's key.
        tiles_used = scores.shape[1] // TILE if fingerprint >= 0 else 0
        for tile in range(tiles_used):
            at, start = tile * TILE, tile * TILE_FLOATS
            for request in range(0, group, 2):
                left, right = scores[request], scores[request + 1]
                for x in range(TILE):
                    left[at + x] = tiles[start + _BIAS_AT + x] + terms[request, at + x]
                for x in range(TILE):
                    right[at + x] = tiles[start + _BIAS_AT + x] + terms[request + 1, at + x]
                for line in range(0, FACTORS, 4):
                    y = start + line * TILE
                    a, b = users[request, line], users[request, line + 1]
                    c, d = users[request, line + 2], users[request, line + 3]
                    e, f = users[request + 1, line], users[request + 1, line + 1]
                    g, h = users[request + 1, line + 2], users[request + 1, line + 3]
                    for x in range(TILE):
                        first, second = tiles[y + x], tiles[y + TILE + x]
                        third, fourth = tiles[y + 2 * TILE + x], tiles[y + 3 * TILE + x]
                        left[at + x] += a * first + b * second + c * third + d * fourth
                        right[at + x] += e * first + f * second + g * third + h * fourth

    return multiply


_SIGNATURE: Final = (
    readonly(types.float32, 1),  # tiles
    readonly(types.float32, 2),  # users
    readonly(types.float32, 2),  # terms
    writable(types.float32, 2),  # scores
    types.int64,  # group
)
_multiply = _entry_point(FINGERPRINT)


def multiply(tiles: Floats, users: Floats, terms: Floats, scores: Floats, group: int) -> None:
    """Write u.e_i + b_i + terms of every product for some requests.

    A tile is read once for all of them, and from the registers for two: read from memory again for
    each request it is what most of a scan's time goes for (28 us for 11 at 10,000 products). Four
    lines of a tile at once, so that sums stay in registers too.

    Args:
        tiles: (tiles * TILE_FLOATS,) see `layout`.
        users: (GROUP, FACTORS) the factors of the scan: u times sharpness * 2/sqrt(d), then the
            context's traits.
        terms: (GROUP, tiles * TILE) added to every score; -inf excludes a product.
        scores: (GROUP, tiles * TILE) the result; of an odd group one line more is written.
        group: how many requests.
    """
    _multiply(tiles, users, terms, scores, group)


def prepare() -> None:
    """Compile the scan, or load it from disk."""
    if not _multiply.signatures:
        _multiply.compile(_SIGNATURE)
        _multiply.disable_compile()
