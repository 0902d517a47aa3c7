"""Requests from context to banner: the two functions that serving calls.

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
from policy.kernels.scan import multiply
from policy.kernels.scoring import SCORES_NOT_FINITE, finish_scores, prepare_scores
from policy.kernels.scratch import BITS_AT, CANDIDATES_AT, DRAWN_AT, MASS, VALUES, WEIGHTS_AT
from policy.kernels.sources import FINGERPRINT
from schemas.limits import BANNER_SIZE

VIEWED, WORDS, EXCLUDED, SIZE = range(4)
ASKED: Final = 4
"""Columns of what is asked: row of the product viewed (-1: none), how many words of the histories
and how many excluded rows are this request's, how many positions."""
CANDIDATES, POSITIONS, PACKED_END = range(3)
FOUND: Final = 3
"""Columns of what is found: candidates (below 0 when it cannot be done, see `scoring`), positions
drawn, where in `packed` this request's candidates end."""

_INPUTS: Final = (
    readonly(types.int64, 2),  # asked
    readonly(types.uint32, 1),  # words of the packed histories, one after another
    readonly(types.int32, 1),  # excluded rows of all, one after another
    readonly(types.uint8, 1),  # eligible
)
_COMPILED: Final = (
    readonly(types.float32, 1),  # small tensors
    readonly(types.float32, 1),  # tiles
    readonly(types.float32, 2),  # table
    readonly(types.int32, 1),  # categories
    readonly(types.int32, 2),  # neighbour rows
    readonly(types.float32, 2),  # neighbour weights
)
_SCRATCH: Final = (
    writable(types.float32, 2),  # scores
    writable(types.float32, 2),  # terms
    writable(types.float32, 2),  # users
    writable(types.int32, 2),  # touched
    writable(types.int64, 2),  # prepared
    writable(types.float32, 2),  # planes
    writable(types.uint8, 1),  # flags
    writable(types.int32, 1),  # rows
    writable(types.int32, 1),  # counts
    writable(types.int32, 1),  # integers
    writable(types.float32, 1),  # floats
)
_RESULTS: Final = (
    writable(types.float64, 1),  # sums
    writable(types.uint8, 1),  # packed
    writable(types.int64, 2),  # found
    writable(types.int32, 2),  # banner
    writable(types.float32, 2),  # log_probs
)


@njit()
def _score_all(
    asked: Longs, words: UInts, excluded: Ints, eligible: Bytes, small: Floats, tiles: Floats,
    table: Floats, categories: Ints, neighbour_rows: Ints, neighbour_weights: Floats,
    scores: Floats, terms: Floats, users: Floats, touched: Ints, prepared: Longs, planes: Floats,
    integers: Ints, floats: Floats,
) -> None:  # pragma: no cover  # fmt: skip
    """Prepare each request and scan for all."""
    word, row = 0, 0
    for number in range(len(asked)):
        words_end, row_end = word + asked[number, WORDS], row + asked[number, EXCLUDED]
        neighbours, hit = prepare_scores(
            asked[number, VIEWED], words[word:words_end], eligible, excluded[row:row_end], small,
            table, categories, neighbour_rows, neighbour_weights, planes[MASS], integers, floats,
            users[number], terms[number], touched[number],
        )  # fmt: skip
        prepared[number, 0], prepared[number, 1] = neighbours, hit
        word, row = words_end, row_end
    multiply(tiles, users, terms, scores, len(asked))


@njit()
def _draw_one(
    count: int, history: UInts, products: int, size: int, uniforms: Doubles, scores: Floats,
    planes: Floats, flags: Bytes, rows: Ints, counts: Ints, integers: Ints, floats: Floats,
    sums: Doubles, packed: Bytes, banner: Ints, log_probs: Floats,
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
        planes[VALUES], found, size, uniforms, integers[BITS_AT:DRAWN_AT], floats[WEIGHTS_AT:],
        sums, drawn, log_probs,
    )  # fmt: skip
    if positions < 0:
        return SCORES_NOT_FINITE, 0, 0
    for position in range(positions):
        banner[position] = candidates[drawn[position]]
    return found, positions, packed_bytes


def _entry_points(
    fingerprint: int,
) -> "tuple[Dispatcher[Callable[..., None]], Dispatcher[Callable[..., int]]]":
    """Return the compiled functions, tied to the source they were made from."""

    @njit(cache=True)
    def draw_banners(
        asked: Longs, words: UInts, excluded: Ints, eligible: Bytes, uniforms: Doubles,
        small: Floats, tiles: Floats, table: Floats, categories: Ints, neighbour_rows: Ints,
        neighbour_weights: Floats, scores: Floats, terms: Floats, users: Floats, touched: Ints,
        prepared: Longs, planes: Floats, flags: Bytes, rows: Ints, counts: Ints, integers: Ints,
        floats: Floats, sums: Doubles, packed: Bytes, found: Longs, banner: Ints,
        log_probs: Floats,
    ) -> None:  # pragma: no cover  # fmt: skip
        if fingerprint < 0:  # never: it makes the number part of the cache's key
            return
        _score_all(
            asked, words, excluded, eligible, small, tiles, table, categories, neighbour_rows,
            neighbour_weights, scores, terms, users, touched, prepared, planes, integers, floats,
        )  # fmt: skip
        word, row, end = 0, 0, 0
        for number in range(len(asked)):
            words_end, row_end = word + asked[number, WORDS], row + asked[number, EXCLUDED]
            history = words[word:words_end]
            count = finish_scores(
                asked[number, VIEWED], history, eligible, excluded[row:row_end],
                (prepared[number, 0], prepared[number, 1]), len(categories), counts, floats,
                scores[number], terms[number], touched[number],
            )  # fmt: skip
            candidates, positions, packed_bytes = _draw_one(
                count, history, len(categories), asked[number, SIZE], uniforms[number],
                scores[number], planes, flags, rows, counts, integers, floats, sums, packed[end:],
                banner[number], log_probs[number],
            )  # fmt: skip
            word, row, end = words_end, row_end, end + packed_bytes
            found[number, CANDIDATES], found[number, POSITIONS] = candidates, positions
            found[number, PACKED_END] = end

    @njit(cache=True)
    def rank_banner(
        asked: Longs, words: UInts, excluded: Ints, eligible: Bytes, small: Floats, tiles: Floats,
        table: Floats, categories: Ints, neighbour_rows: Ints, neighbour_weights: Floats,
        scores: Floats, terms: Floats, users: Floats, touched: Ints, prepared: Longs,
        planes: Floats, flags: Bytes, rows: Ints, counts: Ints, integers: Ints, floats: Floats,
        banner: Ints,
    ) -> int:  # pragma: no cover  # fmt: skip
        if fingerprint < 0:
            return 0
        _score_all(
            asked, words, excluded, eligible, small, tiles, table, categories, neighbour_rows,
            neighbour_weights, scores, terms, users, touched, prepared, planes, integers, floats,
        )  # fmt: skip
        count = finish_scores(
            asked[0, VIEWED], words, eligible, excluded, (prepared[0, 0], prepared[0, 1]),
            len(categories), counts, floats, scores[0], terms[0], touched[0],
        )  # fmt: skip
        size = asked[0, SIZE]
        if count <= 0 or size <= 0:
            return min(count, 0)
        found = top_rows(size, scores[0], planes, flags, rows, integers, floats)
        values = planes[VALUES]
        if not highest(values, found) < LARGEST:
            return SCORES_NOT_FINITE
        best_first(rows, values, found, banner[0])
        return int(found)

    return draw_banners, rank_banner


_draw_banners, _rank_banner = _entry_points(FINGERPRINT)

draw_banners: Final[Callable[..., None]] = _draw_banners
"""Draw for at most GROUP requests; the results are in `found`, `banner`, `log_probs`, `packed`."""
rank_banner: Final[Callable[..., int]] = _rank_banner
"""Rank for the first request alone: return how many positions of `banner` were ranked, below 0 when
it cannot be done (`scoring`)."""


def prepare() -> None:
    """Compile both functions, or load them from disk: afterwards no request ever waits for it.

    Arrays of other types are refused from then on, since each would mean seconds of compiling.
    """
    for function, signature in (
        (
            _draw_banners,
            (*_INPUTS, readonly(types.float64, 2), *_COMPILED, *_SCRATCH, *_RESULTS),
        ),
        (_rank_banner, (*_INPUTS, *_COMPILED, *_SCRATCH, writable(types.int32, 2))),
    ):
        if not function.signatures:
            function.compile(signature)
            function.disable_compile()
