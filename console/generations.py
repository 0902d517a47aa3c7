"""A mapping that forgets what is older than a horizon, in two generations, so memory is bounded."""

from typing import Generic, TypeVar

V = TypeVar("V")


class Generations(Generic[V]):
    """What is known of the banners of the last one to two horizons, by the digest of their id.

    Nothing can happen to a banner later than its attribution window and lateness, so what is older
    need not be remembered. Two dictionaries of which the older is dropped at once need no
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
        self._horizon_ms = horizon_ms
        self._young: dict[int, V] = {}
        self._old: dict[int, V] = {}
        self._since_ms: int | None = None

    def advance(self, now_ms: int) -> None:
        """Let time pass; it never goes back."""
        if self._since_ms is None:
            self._since_ms = now_ms
        elif now_ms - self._since_ms > self._horizon_ms:
            self._old, self._young = self._young, {}
            self._since_ms = now_ms

    def get(self, digest: int) -> V | None:
        """Return the value of a banner; None when it is unknown or forgotten."""
        found = self._young.get(digest)
        return self._old.get(digest) if found is None else found

    def put(self, digest: int, value: V, *, now_ms: int) -> None:
        """Set the value of a banner."""
        self.advance(now_ms)
        self._young[digest] = value

    def __len__(self) -> int:
        return len(self._young) + len(self._old)
