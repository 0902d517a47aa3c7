"""How long an event takes from the log into weights that serve: quantiles in bounded memory.

Kept as counts in logarithmic bins (DDSketch, Masson et al. 2019, arXiv 1908.10693): any quantile is
right within 1% of its value, whatever the number of events, in some 1,100 counters.
"""

import math
from collections import Counter
from typing import Final

import msgspec

from schemas.policies import Announcement

ACCURACY: Final = 0.01
_LOG_GAMMA: Final = math.log((1 + ACCURACY) / (1 - ACCURACY))
_WAITING_VERSIONS: Final = 1000


class Quantiles(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds from an event's append to the swap to weights that learned from it."""

    p50: float | None = None
    p99: float | None = None


class Sketch:
    """Counts of durations in logarithmic bins.

    Example:
        >>> sketch = Sketch()
        >>> for milliseconds in range(1, 1001):
        ...     sketch.add(milliseconds)
        >>> abs(sketch.quantile(0.5) - 500) <= 6
        True
    """

    def __init__(self) -> None:
        self._bins: Counter[int] = Counter()
        self.count = 0

    def add(self, milliseconds: int) -> None:
        """Count one duration; below one millisecond counts as one."""
        self._bins[math.ceil(math.log(max(milliseconds, 1)) / _LOG_GAMMA)] += 1
        self.count += 1

    def quantile(self, share: float) -> float | None:
        """Return the duration in milliseconds below which `share` of all lie; None without any."""
        rank = share * (self.count - 1)
        below = 0
        for place in sorted(self._bins):
            below += self._bins[place]
            if below > rank:
                return 2 * math.exp(place * _LOG_GAMMA) / (1 + math.exp(_LOG_GAMMA))
        return None


class Freshness:
    """Follows the announcements: which versions served, and how fresh they were.

    An event counts once, when the first server swaps to the first version that learned from it: a
    restarted server or a rollback that serves an old version again says nothing about freshness.
    Of versions that no server took, because a newer one was already there, the events count with
    that newer one.
    """

    def __init__(self) -> None:
        self.sketch = Sketch()
        self.served: set[int] = set()
        self.latest: int | None = None
        self._waiting: dict[int, tuple[int, ...]] = {}

    def apply(self, announcement: Announcement) -> None:
        """Take in one announcement, in the order of the log."""
        version = announcement.version
        if announcement.kind in ("published", "promoted") and announcement.learned_events_ms:
            self._waiting.setdefault(version, announcement.learned_events_ms)
            if len(self._waiting) > _WAITING_VERSIONS:
                del self._waiting[min(self._waiting)]
        elif announcement.kind == "rejected":
            self._waiting.pop(version, None)
        elif announcement.kind == "served":
            self._serve(announcement)

    def _serve(self, announcement: Announcement) -> None:
        self.latest = announcement.version
        if announcement.version in self.served:
            return
        self.served.add(announcement.version)
        self._waiting.setdefault(announcement.version, announcement.learned_events_ms)
        for version in [v for v in self._waiting if v <= announcement.version]:
            for appended_at_ms in self._waiting.pop(version):
                self.sketch.add(announcement.at_ms - appended_at_ms)

    def quantiles(self) -> Quantiles:
        """Return the median and the 99th percentile so far, in seconds."""
        half, high = self.sketch.quantile(0.5), self.sketch.quantile(0.99)
        return Quantiles(
            p50=None if half is None else half / 1000, p99=None if high is None else high / 1000
        )
