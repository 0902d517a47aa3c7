"""A circuit breaker: after some failures in a row, leave the other side alone for a while."""

from collections.abc import Callable


class Breaker:
    """Says whether to try.

    Closed until `failures` in a row; then open for `rest_ms`; then one try is let through, whose
    success closes it and whose failure opens it again. A try that never reports counts as failed.

    Args:
        clock: milliseconds, from any origin, never going back.
        failures: so many in a row open it.
        rest_ms: how long it stays open, milliseconds.

    Example:
        >>> breaker = Breaker(lambda: 0, failures=1)
        >>> breaker.failed()
        >>> breaker.lets_through()
        False
    """

    def __init__(self, clock: Callable[[], int], *, failures: int = 3, rest_ms: int = 1000) -> None:
        self._clock = clock
        self._limit = failures
        self._rest_ms = rest_ms
        self._failures = 0
        self._next_try_ms = 0

    @property
    def is_open(self) -> bool:
        """Whether the other side failed so often that it is left alone."""
        return self._failures >= self._limit

    def lets_through(self) -> bool:
        """Return whether to try now; of an open breaker the one try is taken by this call."""
        if self._failures < self._limit:
            return True
        now = self._clock()
        if now < self._next_try_ms:
            return False
        self._next_try_ms = now + self._rest_ms
        return True

    def succeeded(self) -> None:
        """Report that the other side answered."""
        self._failures = 0

    def failed(self) -> None:
        """Report that the other side did not answer."""
        self._failures += 1
        if self._failures >= self._limit:
            self._next_try_ms = self._clock() + self._rest_ms
