"""From a request to the policy's context: ids to rows, the purchases given put over the history."""

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from schemas.history import HEADER_BYTES, LAYOUT, packed_size
from schemas.limits import RECENT_PURCHASES

_HEADER: Final = struct.Struct("<4I")
_EMPTY: Final = _HEADER.pack(LAYOUT, 0, 0, 0)


def known_rows(row_of: Mapping[str, int], product_ids: Iterable[str]) -> tuple[list[int], int]:
    """Return the rows of the ids that the catalogue knows, in order, and how many it does not.

    Example:
        >>> known_rows({"p1": 0, "p2": 1}, ["p2", "gone"])
        ([1], 1)
    """
    rows: list[int] = []
    unknown = 0
    for product_id in product_ids:
        row = row_of.get(product_id)
        if row is None:
            unknown += 1
        else:
            rows.append(row)
    return rows, unknown


def with_recent(packed: bytes, rows: Sequence[int]) -> bytes:
    """Return a packed history whose recent purchases are the last ten of `rows`, oldest first.

    The repeats stay: they are the shopper's, the recent purchases are what the storefront says.

    Args:
        packed: the shopper's history (`schemas.history`), or empty.
        rows: rows of the purchases, oldest first.

    Raises:
        HistoryNotReadable: `packed` is of another layout.
    """
    packed = packed or _EMPTY
    size = packed_size(packed)
    layout, recent, repeats, orders = _HEADER.unpack_from(packed)
    kept = rows[-RECENT_PURCHASES:]
    return b"".join(
        (
            _HEADER.pack(layout, len(kept), repeats, orders),
            struct.pack(f"<{len(kept)}I", *kept),
            packed[HEADER_BYTES + 4 * recent : size],
        )
    )
