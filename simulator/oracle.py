"""The best banner of a policy that knows the world: greedy, then swaps until nothing improves.

Exact search would try every ordered choice of five. This one starts from the best product alone,
appends what adds most, then replaces one position at a time, or exchanges two, as long as the
expected reward rises. A test compares it with brute force on small shops.
"""

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Final

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]
Expected = Callable[[Rows], npt.NDArray[np.float64]]
"""From (B, K) candidate indices to (B,) expected rewards."""

_ROUNDS: Final = 4
_RISE: Final = 1e-9


def best_banner(
    candidates: int, size: int, expected: Expected, *, beginnings: Sequence[Rows] = ()
) -> list[int]:
    """Return `size` distinct candidate indices in display order, near the best expected reward.

    Args:
        candidates: number of candidates C; indices are 0..C-1.
        size: positions; fewer when there are fewer candidates.
        expected: the expected reward of many banners at once.
        beginnings: (G,) candidate indices each, among which the first banner is sought as well as
            among all: for shops where what is best together is not best alone. Swaps go on from
            the best of these banners.
    """
    banner, value = _greedy(np.arange(candidates), size, expected)
    for among in beginnings:
        other, found = _greedy(among, size, expected)
        if len(other) == len(banner) and found > value:
            banner, value = other, found
    for _ in range(_ROUNDS):
        better, found = _best(_neighbours(banner, candidates), expected)
        if found <= value + _RISE:
            break
        banner, value = better, found
    return banner


def _greedy(among: Rows, size: int, expected: Expected) -> tuple[list[int], float]:
    """Return a banner made of what adds most, product by product, and its value."""
    banner: list[int] = []
    value = 0.0
    for _ in range(min(size, len(among))):
        banner, value = _best(_appended(banner, among), expected)
    return banner, value


def _best(banners: Rows, expected: Expected) -> tuple[list[int], float]:
    if len(banners) == 0:
        return [], -np.inf
    values = expected(banners)
    place = int(np.argmax(values))
    return banners[place].tolist(), float(values[place])


def _appended(banner: list[int], among: Rows) -> Rows:
    free = among[(among[:, None] != np.array(banner, np.int64)).all(axis=1)]
    made = np.empty((len(free), len(banner) + 1), np.int64)
    made[:, :-1] = banner
    made[:, -1] = free
    return made


def _neighbours(banner: list[int], candidates: int) -> Rows:
    """Return every banner one replacement or one exchange away."""
    is_free = np.ones(candidates, bool)
    is_free[banner] = False
    free = np.flatnonzero(is_free)
    size, count = len(banner), len(free)
    exchanges = list(combinations(range(size), 2))
    made = np.empty((size * count + len(exchanges), size), np.int64)
    made[:] = banner
    for position in range(size):
        made[position * count : (position + 1) * count, position] = free
    for place, (left, right) in enumerate(exchanges, start=size * count):
        made[place, left], made[place, right] = banner[right], banner[left]
    return made
