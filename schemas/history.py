"""A shopper's history and its packed form, the bytes that the store keeps and every banner records.

Layout, little-endian, every field 4 bytes so that readers can view it without copying:
    header   u32 layout version (1), u32 n recent, u32 m repeats, u32 orders of the shopper so far
    recent   n x u32 row, oldest first
    repeats  m x u32 row, m x f32 decayed count, m x u32 orders, m x u32 first order, m x u32 last
        order
Rows are ascending among the repeats. Orders are counted from 1 in the shopper's own orders, so no
clock enters.
"""

import struct
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.errors import HistoryNotReadable
from schemas.limits import RECENT_PURCHASES, REPEATS

LAYOUT: Final = 1
HEADER_BYTES: Final = 16
_HEADER: Final = struct.Struct("<4I")
HALF_LIFE_ORDERS: Final = 7.0
"""A repeat's decayed count halves every so many orders of the shopper."""

UInts = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float32]


def _uints() -> UInts:
    return np.empty(0, np.uint32)


@dataclass(frozen=True, slots=True)
class History:
    """The last ten purchases and up to 256 repeats of one shopper.

    Attributes:
        orders: the shopper's orders so far.
        recent: (n,) rows of the last purchases, oldest first, n <= 10.
        rows: (m,) rows of the repeats, ascending, m <= 256.
        decayed: (m,) decayed count as of the product's last order; now it is `decayed *
            2**(-gap/7)`.
        counts: (m,) orders that held the product.
        first, last: (m,) the shopper's first and last order that held it, from 1.
    """

    orders: int = 0
    recent: UInts = field(default_factory=_uints)
    rows: UInts = field(default_factory=_uints)
    decayed: Floats = field(default_factory=lambda: np.empty(0, np.float32))
    counts: UInts = field(default_factory=_uints)
    first: UInts = field(default_factory=_uints)
    last: UInts = field(default_factory=_uints)


EMPTY: Final = History()


def pack(history: History) -> bytes:
    """Return the bytes of a history (see the layout above).

    Example:
        >>> len(pack(EMPTY))
        16
    """
    header = np.array([LAYOUT, len(history.recent), len(history.rows), history.orders], dtype="<u4")
    return b"".join(
        (
            header.tobytes(),
            history.recent.astype("<u4", copy=False).tobytes(),
            history.rows.astype("<u4", copy=False).tobytes(),
            history.decayed.astype("<f4", copy=False).tobytes(),
            history.counts.astype("<u4", copy=False).tobytes(),
            history.first.astype("<u4", copy=False).tobytes(),
            history.last.astype("<u4", copy=False).tobytes(),
        )
    )


def packed_size(data: bytes) -> int:
    """Return how many leading bytes of `data` are the packed history (more may follow).

    Raises:
        HistoryNotReadable: no header, another layout version, or counts beyond the limits.
    """
    if len(data) < HEADER_BYTES:
        raise HistoryNotReadable(
            f"a packed history has {HEADER_BYTES} header bytes, got {len(data)}"
        )
    header: tuple[int, int, int, int] = _HEADER.unpack_from(data)
    layout, recent, repeats, _ = header
    if layout != LAYOUT:
        raise HistoryNotReadable(f"layout version {layout}; this version reads {LAYOUT}")
    if recent > RECENT_PURCHASES or repeats > REPEATS:
        raise HistoryNotReadable(f"{recent} recent purchases and {repeats} repeats are too many")
    return HEADER_BYTES + 4 * recent + 20 * repeats


def unpack(data: bytes) -> History:
    """Return the history of packed bytes; empty bytes are an empty history.

    Raises:
        HistoryNotReadable: the bytes are cut short or follow another layout.

    Example:
        >>> unpack(pack(EMPTY)).orders
        0
    """
    if not data:
        return EMPTY
    size = packed_size(data)
    if len(data) < size:
        raise HistoryNotReadable(f"the header promises {size} bytes, got {len(data)}")
    words = np.frombuffer(data, "<u4", size // 4)
    recent, repeats, orders = int(words[1]), int(words[2]), int(words[3])
    body = words[4 + recent :].reshape(5, repeats)
    return History(
        orders=orders,
        recent=words[4 : 4 + recent],
        rows=body[0],
        decayed=body[1].view("<f4"),
        counts=body[2],
        first=body[3],
        last=body[4],
    )
