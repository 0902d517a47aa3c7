"""Candidate rows in few bytes, the same bytes as `schemas.candidates.pack`."""

from typing import Final

import numpy as np
import numpy.typing as npt
from numba import njit

from policy.kernels.layout import Bytes, Ints
from schemas.candidates import BITMAP, GAPS

_MORE: Final = 128
_SEVEN_BITS: Final = 127


def packed_bytes(products: int) -> int:
    """Return the most bytes that candidates of so many products can take."""
    return products // 8 + 2


@njit()
def _gap_bytes(rows: Ints, count: int) -> int:  # pragma: no cover
    total, before = 0, -1
    for place in range(count):
        gap = rows[place] - before - 1
        total += 1 + (gap >= 1 << 7) + (gap >= 1 << 14) + (gap >= 1 << 21) + (gap >= 1 << 28)
        before = rows[place]
    return total


@njit()
def _write_bitmap(rows: Ints, count: int, packed: Bytes) -> None:  # pragma: no cover
    packed[:] = 0
    packed[0] = BITMAP
    at, bits = 1, 0
    for place in range(count):
        row = rows[place]
        if 1 + (row >> 3) != at:
            packed[at] = np.uint8(bits)
            at, bits = 1 + (row >> 3), 0
        bits |= 1 << (row & 7)
    packed[at] = np.uint8(bits)


@njit()
def pack_rows(rows: Ints, count: int, packed: Bytes) -> int:  # pragma: no cover
    """Write the packed form of ascending distinct rows and return how many bytes it has.

    Args:
        rows: at least (count,), strictly ascending, >= 0.
        count: how many rows.
        packed: (packed_bytes(products),) the result.
    """
    if count == 0:
        return 0
    bitmap_bytes = rows[count - 1] // 8 + 1
    if bitmap_bytes <= count or bitmap_bytes <= _gap_bytes(rows, count):  # a gap is a byte or more
        _write_bitmap(rows, count, packed[: bitmap_bytes + 1])
        return int(bitmap_bytes) + 1
    packed[0] = GAPS
    end, before = 1, -1
    for place in range(count):
        gap = rows[place] - before - 1
        before = rows[place]
        while gap >= _MORE:
            packed[end] = np.uint8((gap & _SEVEN_BITS) | _MORE)
            gap >>= 7
            end += 1
        packed[end] = np.uint8(gap)
        end += 1
    return end


def pack(rows: npt.NDArray[np.int32]) -> bytes:
    """Return the packed form of ascending distinct rows, as `schemas.candidates.pack` does.

    Args:
        rows: (C,) int32 >= 0, strictly ascending.
    """
    packed = np.empty(packed_bytes(int(rows[-1]) + 1 if len(rows) else 0), np.uint8)
    return packed[: pack_rows(rows, len(rows), packed)].tobytes()
