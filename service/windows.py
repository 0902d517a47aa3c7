"""Counting who did how much in a window of time, in memory that does not grow with who comes."""

from array import array
from collections.abc import Hashable
from typing import Final

_CELLS: Final = 1 << 17


class Window:
    """Counts in fixed windows of time; for one thread.

    A count-min sketch (Cormode and Muthukrishnan 2005) of two rows: a count is never too low, and
    too high only where two strangers share cells in both. Whoever fills it, nobody else is refused
    for want of memory. Python's keyed hash keeps the cells from being chosen.

    Args:
        cap: so much is within the cap, in one window.
        seconds: length of a window.
        cells: of each row; with 1 everybody is counted together.
    """

    def __init__(self, *, cap: int, seconds: int, cells: int = _CELLS) -> None:
        self.cap = cap
        self.seconds = seconds
        self._cells = cells
        self._began = -1
        self._rows = (array("L"), array("L"))

    def count(self, who: Hashable, now_ms: int) -> int:
        """Count one more of `who`, and return how many it is in this window.

        Example:
            >>> window = Window(cap=1, seconds=60)
            >>> [window.count("a", 0), window.count("b", 0), window.count("a", 59_999)]
            [1, 1, 2]
            >>> window.count("a", 60_000)
            1
        """
        began = now_ms // (1000 * self.seconds)
        if began != self._began:
            self._began = began
            empty = bytes(self._cells * self._rows[0].itemsize)
            self._rows = (array("L", empty), array("L", empty))
        mixed = hash((0, who))  # its halves know nothing of each other
        first, second = mixed % self._cells, (mixed >> 32) % self._cells
        one, other = self._rows
        one[first] += 1
        other[second] += 1
        return min(one[first], other[second])

    def is_over(self, who: Hashable, now_ms: int) -> bool:
        """Count one more of `who`, and return whether that is beyond the cap."""
        return self.count(who, now_ms) > self.cap

    def ends_in(self, now_ms: int) -> int:
        """Return the seconds until the present window ends, at least 1."""
        return self.seconds - now_ms // 1000 % self.seconds
