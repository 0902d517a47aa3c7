"""The value kept per shopper: the packed history, and a tail that makes duplicates harmless.

Layout: `schemas.history.pack`, then i64 append time of the newest purchase (milliseconds,
little-endian), then up to eight fingerprints of the last orders, 8 bytes each, oldest first.
Readers take the packed history and leave the tail.
"""

import hashlib
import struct
from dataclasses import dataclass
from typing import Final

from projections.errors import HistoryUnavailable
from projections.orders import with_lines_added, with_order
from schemas import history as histories
from schemas.errors import HistoryNotReadable
from schemas.events import Purchase
from schemas.history import History

ORDERS: Final = 8
"""A duplicate is known by the shopper's last so many orders."""
ROWS: Final = 2**31
"""Rows are int32 wherever they are used."""
_FINGERPRINT: Final = 8
_NEWEST: Final = struct.Struct("<q")


@dataclass(frozen=True, slots=True)
class Kept:
    """One shopper.

    Attributes:
        history: what the service reads.
        newest_ms: append time of the newest purchase, milliseconds since 1970.
        orders: fingerprints of the last orders, oldest first, at most eight.
    """

    history: History = histories.EMPTY
    newest_ms: int = 0
    orders: tuple[bytes, ...] = ()


NOTHING: Final = Kept()


def pack(kept: Kept) -> bytes:
    """Return the bytes of a shopper (see the layout above).

    Example:
        >>> unpack(pack(Kept(newest_ms=5, orders=(bytes(8),)))).newest_ms
        5
    """
    return b"".join((histories.pack(kept.history), _NEWEST.pack(kept.newest_ms), *kept.orders))


def unpack(data: bytes) -> Kept:
    """Return the shopper of packed bytes.

    Raises:
        HistoryNotReadable: the bytes are cut short or follow another layout.
    """
    size = histories.packed_size(data)
    tail = data[size:]
    if len(tail) < _NEWEST.size or (len(tail) - _NEWEST.size) % _FINGERPRINT:
        raise HistoryNotReadable(f"the tail has {len(tail)} bytes")
    orders = tuple(
        tail[start : start + _FINGERPRINT] for start in range(_NEWEST.size, len(tail), _FINGERPRINT)
    )
    return Kept(histories.unpack(data), _NEWEST.unpack_from(tail)[0], orders)


def packed_history(data: bytes) -> bytes:
    """Return the packed history alone; raises HistoryNotReadable."""
    return data[: histories.packed_size(data)]


def packed_or_problem(data: bytes | None) -> bytes | HistoryUnavailable | None:
    """Return the packed history alone; None without a value; the exception when it is damaged."""
    if data is None:
        return None
    try:
        return packed_history(data)
    except HistoryNotReadable as problem:
        return HistoryUnavailable(f"a shopper's value: {problem}")


def newest_ms(data: bytes) -> int:
    """Return the append time of the newest purchase; raises HistoryNotReadable."""
    return unpack(data).newest_ms


def order_fingerprint(purchase: Purchase) -> bytes:
    """Return 8 bytes that name the order: of its order_id, else of the event."""
    name = (
        f"event:{purchase.event_id}" if purchase.order_id is None else f"order:{purchase.order_id}"
    )
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=_FINGERPRINT).digest()


def after_purchase(kept: Kept, purchase: Purchase, appended_at_ms: int) -> Kept:
    """Return the shopper after a purchase; the same object when it changes nothing.

    A new order counts as one. More lines of the latest order (a long order comes in several events)
    are added to it. Anything else that names one of the last eight orders is a duplicate, and so is
    a known event without order_id: the first of an event_id in the log wins.

    Args:
        kept: the shopper before it.
        purchase: the event; lines of products that had no row then are left out.
        appended_at_ms: the record's append time, milliseconds since 1970.
    """
    rows = [line.row for line in purchase.lines if line.row is not None and 0 <= line.row < ROWS]
    order = order_fingerprint(purchase)
    newest = max(kept.newest_ms, appended_at_ms)
    if order not in kept.orders:
        history = with_order(kept.history, rows)
        changed = history is not kept.history
        return Kept(history, newest, (*kept.orders, order)[-ORDERS:]) if changed else kept
    if order != kept.orders[-1] or purchase.order_id is None:
        return kept
    history = with_lines_added(kept.history, rows)
    return kept if history is kept.history else Kept(history, newest, kept.orders)
