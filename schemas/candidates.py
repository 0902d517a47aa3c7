"""Candidate rows in few bytes: every banner records exactly which products the policy chose among.

The first byte names the encoding, whichever is shorter: 0 a bitmap over rows (row r is bit r % 8 of
byte r // 8),
1 the ascending rows as LEB128 varints of the gaps (row minus the row before minus one; the first
gap is the row).
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.errors import CandidatesNotReadable

BITMAP: Final = 0
GAPS: Final = 1

Rows = npt.NDArray[np.int32]


def pack(rows: npt.NDArray[np.integer]) -> bytes:
    """Return the packed form of ascending distinct rows.

    Args:
        rows: (C,) integers >= 0, strictly ascending.

    Raises:
        CandidatesNotReadable: the rows are not strictly ascending.

    Example:
        >>> unpack(pack(np.array([0, 1, 5, 900]))).tolist()
        [0, 1, 5, 900]
    """
    if len(rows) == 0:
        return b""
    before = np.concatenate(([-1], rows[:-1])).astype(np.int64)
    gaps = rows.astype(np.int64) - before - 1
    if gaps.min() < 0:
        raise CandidatesNotReadable("candidate rows must be strictly ascending and >= 0")
    sizes = 1 + (gaps >= 1 << 7) + (gaps >= 1 << 14) + (gaps >= 1 << 21) + (gaps >= 1 << 28)
    bitmap_bytes = int(rows[-1]) // 8 + 1
    if bitmap_bytes <= int(sizes.sum()):
        bits = np.zeros(bitmap_bytes * 8, np.uint8)
        bits[rows] = 1
        return bytes([BITMAP]) + np.packbits(bits, bitorder="little").tobytes()
    out = np.zeros(int(sizes.sum()), np.uint8)
    starts = np.cumsum(sizes) - sizes
    for place in range(int(sizes.max())):
        here = sizes > place
        continued = (sizes[here] > place + 1).astype(np.uint8) << 7
        out[starts[here] + place] = ((gaps[here] >> (7 * place)) & 127).astype(np.uint8) | continued
    return bytes([GAPS]) + out.tobytes()


def unpack(data: bytes) -> Rows:
    """Return the rows: (C,) int32, strictly ascending; empty bytes are no candidates.

    Raises:
        CandidatesNotReadable: an unknown encoding, or varints that are cut short.
    """
    if not data:
        return np.empty(0, np.int32)
    body = np.frombuffer(data, np.uint8, offset=1)
    if data[0] == BITMAP:
        return np.flatnonzero(np.unpackbits(body, bitorder="little")).astype(np.int32)
    if data[0] != GAPS:
        raise CandidatesNotReadable(f"unknown encoding {data[0]}")
    ends = np.flatnonzero(body < 128)
    if len(body) == 0 or len(ends) == 0 or ends[-1] != len(body) - 1:
        raise CandidatesNotReadable("the last row is cut short")
    starts = np.concatenate(([0], ends[:-1] + 1))
    shifts = 7 * (np.arange(len(body)) - np.repeat(starts, ends - starts + 1))
    gaps = np.add.reduceat((body & 127).astype(np.int64) << shifts, starts)
    return (np.cumsum(gaps + 1) - 1).astype(np.int32)
