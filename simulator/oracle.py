"""The best banner of a policy that knows the world: greedy, then swaps until nothing improves.

Exact search would try every ordered choice of five. This one starts from the best product alone,
appends what adds most, then replaces one position at a time, or exchanges two, as long as the
expected reward rises. A test compares it with brute force on small shops.
"""

from collections.abc import Callable
from itertools import combinations
from typing import Final

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]
Expected = Callable[[Rows], npt.NDArray[np.float64]]
"""From (B, K) candidate indices to (B,) expected rewards."""

_ROUNDS: Final = 4
_RISE: Final = 1e-9


def best_banner(candidates: int, size: int, expected: Expected) -> list[int]:
    """Return `size` distinct candidate indices in display order, near the best expected reward.

    Args:
        candidates: number of candidates C; indices are 0..C-1.
        size: positions; fewer when there are fewer candidates.
        expected: the expected reward of many banners at once.
    """
    banner: list[int] = []
    for _ in range(min(size, candidates)):
        banner = _best(_appended(banner, candidates), expected)[0]
    value = float(expected(np.array([banner]))[0]) if banner else 0.0
    for _ in range(_ROUNDS):
        better, found = _best(_neighbours(banner, candidates), expected)
        if found <= value + _RISE:
            break
        banner, value = better, found
    return banner


def _best(banners: Rows, expected: Expected) -> tuple[list[int], float]:
    if len(banners) == 0:
        return [], -np.inf
    values = expected(banners)
    place = int(np.argmax(values))
    return banners[place].tolist(), float(values[place])


def _free(banner: list[int], candidates: int) -> Rows:
    """Return the candidates that are not on the banner, ascending."""
    is_free = np.ones(candidates, bool)
    is_free[banner] = False
    return np.flatnonzero(is_free)


def _appended(banner: list[int], candidates: int) -> Rows:
    free = _free(banner, candidates)
    made = np.empty((len(free), len(banner) + 1), np.int64)
    made[:, :-1] = banner
    made[:, -1] = free
    return made


def _neighbours(banner: list[int], candidates: int) -> Rows:
    """Return every banner one replacement or one exchange away."""
    free = _free(banner, candidates)
    size, count = len(banner), len(free)
    exchanges = list(combinations(range(size), 2))
    made = np.empty((size * count + len(exchanges), size), np.int64)
    made[:] = banner
    for position in range(size):
        made[position * count : (position + 1) * count, position] = free
    for place, (left, right) in enumerate(exchanges, start=size * count):
        made[place, left], made[place, right] = banner[right], banner[left]
    return made
