"""A mapping that forgets what is older than a horizon, span by span, so memory is bounded."""

from typing import Generic, TypeVar

V = TypeVar("V")


class Generations(Generic[V]):
    """What is known of the banners of the last one to two spans, by the digest of their id.

    Nothing can happen to a banner later than its attribution window and lateness, so what is older
    need not be remembered. One dictionary for each span of a horizon, dropped as a whole, needs no
    timestamp per entry.

    Args:
        horizon_ms: an entry lives at least this long after it was last set.

    Example:
        >>> seen = Generations[int](1000)
        >>> seen.put(7, 1, now_ms=0)
        >>> seen.get(7), seen.get(8)
        (1, None)
        >>> seen.advance(1001), seen.get(7), seen.advance(2002), seen.get(7)
        (None, 1, None, None)
    """

    def __init__(self, horizon_ms: int) -> None:
        self._horizon_ms = max(horizon_ms, 1)
        self._spans: dict[int, dict[int, V]] = {}

    def advance(self, now_ms: int) -> None:
        """Forget what was set more than two spans ago."""
        oldest = now_ms // self._horizon_ms - 1
        for span in [span for span in self._spans if span < oldest]:
            del self._spans[span]

    def get(self, digest: int) -> V | None:
        """Return the value of a banner; None when it is unknown or forgotten."""
        for span in sorted(self._spans, reverse=True):
            found = self._spans[span].get(digest)
            if found is not None:
                return found
        return None

    def put(self, digest: int, value: V, *, now_ms: int) -> None:
        """Set the value of a banner, and let time pass."""
        self.keep(digest, value, at_ms=now_ms)
        self.advance(now_ms)

    def keep(self, digest: int, value: V, *, at_ms: int) -> None:
        """Set the value of a banner at its own time; only `advance` forgets."""
        self._spans.setdefault(at_ms // self._horizon_ms, {})[digest] = value

    def __len__(self) -> int:
        return sum(len(span) for span in self._spans.values())
