"""One request from context to banner: the two functions that serving calls.

Scratch space comes from the caller and belongs to one request at a time.
"""

from collections.abc import Callable
from typing import Final

from numba import njit, types
from numba.core.dispatcher import Dispatcher

from policy.architecture import UNIFORM_CANDIDATES
from policy.kernels.choosing import best_first, choose, top_rows
from policy.kernels.layout import Bytes, Doubles, Floats, Ints, UInts, readonly, writable
from policy.kernels.matvec import highest
from policy.kernels.packing import pack_rows
from policy.kernels.plackett_luce import LARGEST, draw_positions
from policy.kernels.scoring import SCORES_NOT_FINITE, score_products
from policy.kernels.scratch import (
    BANNER_AT,
    BITS_AT,
    CANDIDATES_AT,
    DRAWN_AT,
    LOG_PROBS_AT,
    VALUES,
    WEIGHTS_AT,
)
from policy.kernels.sources import FINGERPRINT
from schemas.limits import BANNER_SIZE

Counts = tuple[int, int, int]

_INPUTS: Final = (
    types.int64,  # viewed row
    readonly(types.uint32, 1),  # words of the packed history
    readonly(types.uint8, 1),  # eligible
    readonly(types.int32, 1),  # excluded
    types.int64,  # size
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
    writable(types.float32, 2),  # planes
    writable(types.uint8, 1),  # flags
    writable(types.int32, 1),  # rows
    writable(types.int32, 1),  # counts
    writable(types.int32, 1),  # integers
    writable(types.float32, 1),  # floats
)
_DRAW: Final = (
    *_INPUTS,
    readonly(types.float64, 1),  # uniforms
    *_COMPILED,
    *_SCRATCH,
    writable(types.float64, 1),  # sums
    writable(types.uint8, 1),  # packed
)


def _entry_points(
    fingerprint: int,
) -> "tuple[Dispatcher[Callable[..., Counts]], Dispatcher[Callable[..., int]]]":
    """Return the compiled functions, tied to the source they were made from."""

    @njit(cache=True)
    def draw_banner(
        viewed: int, history: UInts, eligible: Bytes, excluded: Ints, size: int, uniforms: Doubles,
        small: Floats, tiles: Floats, table: Floats, categories: Ints, neighbour_rows: Ints,
        neighbour_weights: Floats, planes: Floats, flags: Bytes, rows: Ints, counts: Ints,
        integers: Ints, floats: Floats, sums: Doubles, packed: Bytes,
    ) -> Counts:  # pragma: no cover  # fmt: skip
        count = score_products(
            viewed, history, eligible, excluded, small, tiles, table, categories, neighbour_rows,
            neighbour_weights, planes, counts, integers, floats,
        )  # fmt: skip
        if count <= 0 or fingerprint < 0:  # the number is never below 0
            return count, 0, 0
        found = choose(
            count, history, len(categories),
            uniforms[BANNER_SIZE : BANNER_SIZE + UNIFORM_CANDIDATES],
            planes, flags, counts, rows, integers, floats,
        )  # fmt: skip
        candidates, drawn = integers[CANDIDATES_AT:], integers[DRAWN_AT:BANNER_AT]
        packed_bytes = pack_rows(candidates, found, packed)
        positions = draw_positions(
            planes[VALUES], found, size, uniforms, integers[BITS_AT:DRAWN_AT],
            floats[WEIGHTS_AT:LOG_PROBS_AT], sums, drawn, floats[LOG_PROBS_AT:],
        )  # fmt: skip
        if positions < 0:
            return SCORES_NOT_FINITE, 0, 0
        for position in range(positions):
            integers[BANNER_AT + position] = candidates[drawn[position]]
        return found, positions, packed_bytes

    @njit(cache=True)
    def rank_banner(
        viewed: int, history: UInts, eligible: Bytes, excluded: Ints, size: int,
        small: Floats, tiles: Floats, table: Floats, categories: Ints, neighbour_rows: Ints,
        neighbour_weights: Floats, planes: Floats, flags: Bytes, rows: Ints, counts: Ints,
        integers: Ints, floats: Floats,
    ) -> int:  # pragma: no cover  # fmt: skip
        count = score_products(
            viewed, history, eligible, excluded, small, tiles, table, categories, neighbour_rows,
            neighbour_weights, planes, counts, integers, floats,
        )  # fmt: skip
        if count <= 0 or size <= 0 or fingerprint < 0:
            return min(count, 0)
        found = top_rows(size, planes, flags, rows, integers, floats)
        values = planes[VALUES]
        if not highest(values, found) < LARGEST:
            return SCORES_NOT_FINITE
        best_first(rows, values, found, integers[BANNER_AT:CANDIDATES_AT])
        return int(found)

    return draw_banner, rank_banner


_draw_banner, _rank_banner = _entry_points(FINGERPRINT)

draw_banner: Final[Callable[..., Counts]] = _draw_banner
"""Return (candidates, positions drawn, bytes of packed candidates); the first is below 0 when it
cannot be done (`scoring`). The results are in the scratch space."""
rank_banner: Final[Callable[..., int]] = _rank_banner
"""Return how many positions were ranked; below 0 when it cannot be done (`scoring`)."""


def prepare() -> None:
    """Compile both functions, or load them from disk: afterwards no request ever waits for it.

    Arrays of other types are refused from then on, since each would mean seconds of compiling.
    """
    for function, signature in (
        (_draw_banner, _DRAW),
        (_rank_banner, (*_INPUTS, *_COMPILED, *_SCRATCH)),
    ):
        if not function.signatures:
            function.compile(signature)
            function.disable_compile()
