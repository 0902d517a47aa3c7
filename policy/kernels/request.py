"""Requests from context to banner: what serving calls before and after the scan.

Scratch space comes from the caller and belongs to one call at a time.
"""

from collections.abc import Callable
from typing import Final

from numba import njit, types
from numba.core.dispatcher import Dispatcher

from policy.architecture import UNIFORM_CANDIDATES
from policy.kernels.choosing import best_first, choose, top_rows
from policy.kernels.layout import Bytes, Doubles, Floats, Ints, Longs, UInts, readonly, writable
from policy.kernels.matvec import highest
from policy.kernels.packing import pack_rows
from policy.kernels.plackett_luce import LARGEST, draw_positions
from policy.kernels.scoring import SCORES_NOT_FINITE, finish_scores, prepare_scores
from policy.kernels.scratch import (
    BITS_AT,
    CANDIDATES,
    CANDIDATES_AT,
    DRAWN_AT,
    EXCLUDED,
    MASS,
    PACKED_END,
    POSITIONS,
    SIZE,
    VALUES,
    VIEWED,
    WEIGHTS_AT,
    WORDS,
)
from policy.kernels.sources import FINGERPRINT
from schemas.limits import BANNER_SIZE

_ASKED: Final = (
    readonly(types.int64, 2),  # asked
    readonly(types.uint32, 1),  # words of the packed histories, one after another
    readonly(types.int32, 1),  # excluded rows of all, one after another
    readonly(types.uint8, 1),  # eligible
)
_COMPILED: Final = (
    readonly(types.float32, 1),  # small tensors
    readonly(types.float32, 2),  # table
    readonly(types.int32, 1),  # categories
    readonly(types.int32, 2),  # neighbour rows
    readonly(types.float32, 2),  # neighbour weights
)
_PREPARED: Final = (
    writable(types.float32, 2),  # terms
    writable(types.float32, 2),  # users
    writable(types.int32, 2),  # touched
    writable(types.int64, 2),  # prepared
)
_SCORED: Final = (
    types.int64,  # products
    writable(types.float32, 2),  # scores
    writable(types.float32, 2),  # terms
    writable(types.int32, 2),  # touched
    writable(types.int64, 2),  # prepared
)
_SHARED: Final = (
    writable(types.float32, 2),  # planes
    writable(types.int32, 1),  # integers
    writable(types.float32, 1),  # floats
)
_CHOSEN: Final = (
    writable(types.uint8, 1),  # flags
    writable(types.int32, 1),  # rows
    writable(types.int32, 1),  # counts
)
_DRAWN: Final = (
    readonly(types.int32, 1),  # pair groups
    readonly(types.float32, 3),  # pair lines
    *_CHOSEN,
    writable(types.float64, 1),  # sums
    writable(types.uint8, 1),  # packed
    writable(types.int64, 2),  # found
    writable(types.int32, 2),  # banner
    writable(types.float32, 2),  # log_probs
)
_RANKED: Final = (
    *_CHOSEN,
    writable(types.int64, 2),  # found
    writable(types.int32, 2),  # banner
)


@njit()
def _draw_one(
    count: int, history: UInts, products: int, size: int, uniforms: Doubles, scores: Floats,
    planes: Floats, integers: Ints, floats: Floats, groups: Ints, pairs: Floats, flags: Bytes,
    rows: Ints, counts: Ints, sums: Doubles, packed: Bytes, banner: Ints, log_probs: Floats,
) -> tuple[int, int, int]:  # pragma: no cover  # fmt: skip
    """Choose candidates and draw; return how many candidates, positions and packed bytes."""
    if count <= 0:
        return count, 0, 0
    found = choose(
        count, history, products, uniforms[BANNER_SIZE : BANNER_SIZE + UNIFORM_CANDIDATES],
        scores, planes, flags, counts, rows, integers, floats,
    )  # fmt: skip
    candidates, drawn = integers[CANDIDATES_AT:], integers[DRAWN_AT:CANDIDATES_AT]
    packed_bytes = pack_rows(candidates, found, packed)
    positions = draw_positions(
        planes[VALUES], found, size, uniforms, candidates, groups, pairs,
        integers[BITS_AT:DRAWN_AT], floats[WEIGHTS_AT:], sums, drawn, log_probs,
    )  # fmt: skip
    if positions < 0:
        return SCORES_NOT_FINITE, 0, 0
    for position in range(positions):
        banner[position] = candidates[drawn[position]]
    return found, positions, packed_bytes


def _preparing(fingerprint: int) -> "Dispatcher[Callable[..., None]]":
    """Return `prepare_group`, tied to the source it was made from."""

    @njit(cache=True)
    def prepare_group(
        asked: Longs, words: UInts, excluded: Ints, eligible: Bytes, small: Floats, table: Floats,
        categories: Ints, neighbour_rows: Ints, neighbour_weights: Floats, terms: Floats,
        users: Floats, touched: Ints, prepared: Longs, planes: Floats, integers: Ints,
        floats: Floats,
    ) -> None:  # pragma: no cover  # fmt: skip
        if fingerprint < 0:  # never: it makes the number part of the cache's key
            return
        word, row = 0, 0
        for number in range(len(asked)):
            words_end, row_end = word + asked[number, WORDS], row + asked[number, EXCLUDED]
            neighbours, hit = prepare_scores(
                asked[number, VIEWED], words[word:words_end], eligible, excluded[row:row_end],
                small, table, categories, neighbour_rows, neighbour_weights, planes[MASS],
                integers, floats, users[number], terms[number], touched[number],
            )  # fmt: skip
            prepared[number, 0], prepared[number, 1] = neighbours, hit
            word, row = words_end, row_end

    return prepare_group


def _drawing(fingerprint: int) -> "Dispatcher[Callable[..., None]]":
    """Return `draw_group`, tied to the source it was made from."""

    @njit(cache=True)
    def draw_group(
        asked: Longs, words: UInts, excluded: Ints, eligible: Bytes, uniforms: Doubles,
        products: int, scores: Floats, terms: Floats, touched: Ints, prepared: Longs,
        planes: Floats, integers: Ints, floats: Floats, groups: Ints, pairs: Floats, flags: Bytes,
        rows: Ints, counts: Ints, sums: Doubles, packed: Bytes, found: Longs, banner: Ints,
        log_probs: Floats,
    ) -> None:  # pragma: no cover  # fmt: skip
        if fingerprint < 0:
            return
        word, row, end = 0, 0, 0
        for number in range(len(asked)):
            words_end, row_end = word + asked[number, WORDS], row + asked[number, EXCLUDED]
            history = words[word:words_end]
            count = finish_scores(
                asked[number, VIEWED], history, eligible, excluded[row:row_end],
                (prepared[number, 0], prepared[number, 1]), products, counts, floats,
                scores[number], terms[number], touched[number],
            )  # fmt: skip
            candidates, positions, packed_bytes = _draw_one(
                count, history, products, asked[number, SIZE], uniforms[number],
                scores[number], planes, integers, floats, groups, pairs, flags, rows, counts, sums,
                packed[end:], banner[number], log_probs[number],
            )  # fmt: skip
            word, row, end = words_end, row_end, end + packed_bytes
            found[number, CANDIDATES], found[number, POSITIONS] = candidates, positions
            found[number, PACKED_END] = end

    return draw_group


def _ranking(fingerprint: int) -> "Dispatcher[Callable[..., None]]":
    """Return `rank_first`, tied to the source it was made from."""

    @njit(cache=True)
    def rank_first(
        asked: Longs, words: UInts, excluded: Ints, eligible: Bytes, products: int,
        scores: Floats, terms: Floats, touched: Ints, prepared: Longs, planes: Floats,
        integers: Ints, floats: Floats, flags: Bytes, rows: Ints, counts: Ints, found: Longs,
        banner: Ints,
    ) -> None:  # pragma: no cover  # fmt: skip
        if fingerprint < 0:
            return
        count = finish_scores(
            asked[0, VIEWED], words, eligible, excluded, (prepared[0, 0], prepared[0, 1]),
            products, counts, floats, scores[0], terms[0], touched[0],
        )  # fmt: skip
        size = asked[0, SIZE]
        ranked = min(count, 0)
        if count > 0 and size > 0:
            ranked = top_rows(size, scores[0], planes, flags, rows, integers, floats)
            values = planes[VALUES]
            if highest(values, ranked) < LARGEST:
                best_first(rows, values, ranked, banner[0])
            else:
                ranked = SCORES_NOT_FINITE
        found[0, CANDIDATES], found[0, POSITIONS] = ranked, ranked

    return rank_first


_prepare_group = _preparing(FINGERPRINT)
_draw_group = _drawing(FINGERPRINT)
_rank_first = _ranking(FINGERPRINT)

prepare_group: Final[Callable[..., None]] = _prepare_group
"""Write the factors and terms of at most GROUP requests; then comes `scan.multiply`."""
draw_group: Final[Callable[..., None]] = _draw_group
"""Draw for each request of the group; results in `found`, `banner`, `log_probs`, `packed`."""
rank_first: Final[Callable[..., None]] = _rank_first
"""Rank for the first request alone, without what products placed do to each other: it serves the
control arm, whose foundation knows no pairs. Results in `found` (positions below 0 when it cannot
be done, see `scoring`) and `banner`."""


def prepare() -> None:
    """Compile all functions, or load them from disk: afterwards no request ever waits for it.

    Arrays of other types are refused from then on, since each would mean seconds of compiling.
    """
    for function, signature in (
        (_prepare_group, (*_ASKED, *_COMPILED, *_PREPARED, *_SHARED)),
        (_draw_group, (*_ASKED, readonly(types.float64, 2), *_SCORED, *_SHARED, *_DRAWN)),
        (_rank_first, (*_ASKED, *_SCORED, *_SHARED, *_RANKED)),
    ):
        if not function.signatures:
            function.compile(signature)
            function.disable_compile()
