"""What one more order makes of a shopper's history: pure, so that every reader agrees.

The projector applies it to the log, pretraining to past purchases; both see the same numbers.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from projections.errors import NoOrderYet
from schemas.history import HALF_LIFE_ORDERS, History
from schemas.limits import RECENT_PURCHASES, REPEATS


def with_order(history: History, rows: Sequence[int]) -> History:
    """Return the history after one more order.

    Args:
        history: the shopper's history before it.
        rows: rows of the products bought, in the order of the lines; repeated rows count once.
            Without rows nothing changes: an order of unknown products alone is not counted.

    Returns:
        `orders` is one more; `recent` ends with the distinct rows; each repeat that was bought has
        `decayed * 2**(-gap/7) + 1` with gap in the shopper's orders since its last. Beyond 256
        repeats those with the smallest decayed count now are forgotten (of equal ones the longest
        not bought, then the higher row).

    Example:
        >>> from schemas.history import EMPTY
        >>> twice = with_order(with_order(EMPTY, [7, 3]), [3, 3])
        >>> twice.orders, twice.recent.tolist(), twice.rows.tolist(), twice.counts.tolist()
        (2, [7, 3, 3], [3, 7], [2, 1])
        >>> [f"{decayed:.3f}" for decayed in twice.decayed]
        ['1.906', '1.000']
    """
    distinct = list(dict.fromkeys(rows))
    return _with_rows(history, distinct, history.orders + 1) if distinct else history


def with_lines_added(history: History, rows: Sequence[int]) -> History:
    """Return the history after more lines of the shopper's latest order.

    Rows already counted in that order change nothing, so the same lines may come twice.

    Raises:
        NoOrderYet: the history has no order.

    Example:
        >>> from schemas.history import EMPTY
        >>> order = with_lines_added(with_order(EMPTY, [7]), [7, 3])
        >>> order.orders, order.recent.tolist(), order.counts.tolist()
        (1, [7, 3], [1, 1])
    """
    if history.orders == 0:
        raise NoOrderYet("no order to add lines to")
    counted = set(history.rows[history.last == history.orders].tolist())
    added = [row for row in dict.fromkeys(rows) if row not in counted]
    return _with_rows(history, added, history.orders) if added else history


def _with_rows(history: History, rows: list[int], order: int) -> History:
    """Return the history after `rows`, distinct, were bought in `order`."""
    recent = np.concatenate([history.recent, np.array(rows, np.uint32)])[-RECENT_PURCHASES:]
    all_rows = np.union1d(history.rows, np.array(rows, np.uint32))  # (m,) ascending
    known, bought = (np.searchsorted(all_rows, part) for part in (history.rows, sorted(rows)))
    decayed = np.zeros(len(all_rows), np.float64)
    counts = np.zeros(len(all_rows), np.int64)
    first = np.full(len(all_rows), order, np.int64)
    last = first.copy()
    decayed[known], counts[known] = history.decayed, history.counts
    first[known], last[known] = history.first, history.last
    decayed[bought] = decayed[bought] * 2.0 ** ((last[bought] - order) / HALF_LIFE_ORDERS) + 1.0
    counts[bought] += 1
    last[bought] = order
    decayed = decayed.astype(np.float32).astype(np.float64)
    kept: slice | npt.NDArray[np.intp] = slice(None)
    if len(all_rows) > REPEATS:
        now = decayed * 2.0 ** ((last - order) / HALF_LIFE_ORDERS)
        # lexsort's last key leads: the greatest decayed count now, then the newest, the lower row
        kept = np.sort(np.lexsort((all_rows, -last, -now))[:REPEATS])
    return History(
        orders=order,
        recent=recent,
        rows=all_rows[kept],
        decayed=decayed[kept].astype(np.float32),
        counts=counts[kept].astype(np.uint32),
        first=first[kept].astype(np.uint32),
        last=last[kept].astype(np.uint32),
    )
