"""Past purchases replayed: what was known of a shopper before each of their orders.

Dimensions: M orders.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from projections.orders import with_order
from schemas import history as histories
from schemas.history import History


@dataclass(frozen=True, slots=True)
class PastOrder:
    """One order of a shopper.

    Attributes:
        user_key: the shopper's pseudonym.
        at_ms: when it was placed, milliseconds since 1970.
        rows: rows of the products bought, in the order of its lines.
    """

    user_key: bytes
    at_ms: int
    rows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Replay:
    """Orders by time, each with the history before it.

    Attributes:
        users: (M,) int64, a number for each shopper.
        folds: (M,) int64, a pseudo-random number for each shopper, in [0, 2**32).
        histories: M packed histories as they were before each order.
        baskets: M arrays of the distinct rows of each order.
    """

    users: npt.NDArray[np.int64]
    folds: npt.NDArray[np.int64]
    histories: list[bytes]
    baskets: list[npt.NDArray[np.int64]]

    def __len__(self) -> int:
        return len(self.baskets)


def replay(orders: Sequence[PastOrder], progress: Callable[[float], None]) -> Replay:
    """Return every order with the history before it, by time (orders of one instant as given).

    Args:
        orders: in any order; those without rows are left out.
        progress: told the share done, in [0, 1].
    """
    timely = sorted((order for order in orders if order.rows), key=lambda order: order.at_ms)
    known: dict[bytes, History] = {}
    packed: dict[bytes, bytes] = {}
    numbers: dict[bytes, int] = {}
    before: list[bytes] = []
    for place, order in enumerate(timely):
        numbers.setdefault(order.user_key, len(numbers))
        before.append(packed.get(order.user_key, b""))
        history = with_order(known.get(order.user_key, histories.EMPTY), order.rows)
        known[order.user_key] = history
        packed[order.user_key] = histories.pack(history)
        if place % 1024 == 0:
            progress(place / len(timely))
    keys = [order.user_key for order in timely]
    return Replay(
        users=np.array([numbers[key] for key in keys], np.int64),
        folds=np.array([zlib.crc32(key) for key in keys], np.int64),
        histories=before,
        baskets=[np.array(list(dict.fromkeys(order.rows)), np.int64) for order in timely],
    )
