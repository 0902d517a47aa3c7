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


def _appended(banner: list[int], candidates: int) -> Rows:
    free = np.setdiff1d(np.arange(candidates), banner)
    return np.column_stack([np.tile(np.array(banner, np.int64), (len(free), 1)), free])


def _neighbours(banner: list[int], candidates: int) -> Rows:
    """Return every banner one replacement or one exchange away."""
    free = np.setdiff1d(np.arange(candidates), banner)
    parts = []
    for position in range(len(banner)):
        replaced = np.tile(np.array(banner, np.int64), (len(free), 1))
        replaced[:, position] = free
        parts.append(replaced)
    for left, right in combinations(range(len(banner)), 2):
        exchanged = list(banner)
        exchanged[left], exchanged[right] = exchanged[right], exchanged[left]
        parts.append(np.array([exchanged], np.int64))
    return np.concatenate(parts) if parts else np.empty((0, 0), np.int64)
