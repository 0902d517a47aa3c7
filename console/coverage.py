"""How much of the catalogue shoppers get to see: from the newest settled banners of an arm."""

from collections import Counter, deque
from collections.abc import Sequence
from typing import Final, NamedTuple

BANNERS: Final = 1_000
TOP: Final = 10


class Coverage(NamedTuple):
    """What the newest banners of an arm showed.

    Attributes:
        products: how many different products.
        top_share: share of all places that the ten most shown products took, 0 to 1.
    """

    products: int
    top_share: float


class Shown:
    """Remembers the newest banners.

    Args:
        banners: so many.

    Example:
        >>> shown = Shown(banners=2)
        >>> for rows in ([1, 2], [3, 4], [3, 5]):
        ...     shown.add(rows)
        >>> shown.coverage()
        Coverage(products=3, top_share=1.0)
    """

    def __init__(self, banners: int = BANNERS) -> None:
        self._banners: deque[Sequence[int]] = deque()
        self._most = banners
        self._times: Counter[int] = Counter()

    def add(self, rows: Sequence[int]) -> None:
        """Take in the rows of one banner; the oldest is forgotten when there are too many."""
        self._banners.append(rows)
        self._times.update(rows)
        if len(self._banners) > self._most:
            for row in self._banners.popleft():
                self._times[row] -= 1
                if not self._times[row]:
                    del self._times[row]

    def coverage(self) -> Coverage | None:
        """Return what they showed; None: nothing so far."""
        places = self._times.total()
        if not places:
            return None
        most = sum(count for _, count in self._times.most_common(TOP))
        return Coverage(len(self._times), most / places)
