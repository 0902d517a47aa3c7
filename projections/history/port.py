"""The history as its users see it: read by the service, written by one projector per partition.

Promises every adapter keeps (`tests/contracts/test_history.py` runs them over all):
    freshness   a read after `apply` returned sees what was applied, from any process
    atomic      `apply` moves histories and positions together or not at all; a `clear` that is cut
        short leaves no positions and is finished by the next `apply`, which is refused
    positions   how far the log has been read lives in the store itself, so a store that was emptied
        or put back to an older copy says so and is filled again from the log
    fenced      `apply` is refused unless the store still is where the changes were made from; of
        two projectors of one partition only one gets through
    blocking    a read answers or raises within a tenth of a second, whatever happens to the store;
        a store's calls may block for seconds
    threads     a reader belongs to one event loop, a store to one thread
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from projections.errors import HistoryUnavailable
from streams.port import Partition


class HistoryReader(Protocol):
    """What the service asks on every request."""

    async def read(self, user_key: bytes) -> bytes | None:
        """Return the packed history (`schemas.history`) of a shopper; None: nothing bought yet.

        Args:
            user_key: the shopper's pseudonym, 8 bytes.

        Raises:
            HistoryUnavailable: the store cannot be read now; do without the history.
        """
        ...

    async def read_many(
        self, user_keys: Sequence[bytes]
    ) -> Sequence[bytes | HistoryUnavailable | None]:
        """Return what `read` returns for each of the shoppers, in one go: a fraction of the cost.

        Where one shopper's value alone cannot be read, the exception stands in its place.

        Raises:
            HistoryUnavailable: the store cannot be read now, for nobody.
        """
        ...

    async def close(self) -> None:
        """Release connections."""
        ...


class HistoryStore(Protocol):
    """What the projector keeps: a value per shopper (`projections.history.kept`) and positions.

    Every method raises HistoryUnavailable when the store cannot be reached; whether an `apply`
    happened is then not known: ask `positions`.
    """

    def load(self, user_keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return the values of those shoppers that have one."""
        ...

    def apply(
        self,
        changes: Mapping[bytes, bytes | None],
        positions: Mapping[Partition, int],
        *,
        since: Mapping[Partition, int],
    ) -> None:
        """Keep new values (None forgets the shopper) and move positions forward, together.

        Args:
            changes: values by user key.
            positions: offset next to read of every partition the changes come from.
            since: the positions they were made from; a partition not yet read is at 0.

        Raises:
            PositionsMoved: the store is not at `since`, or a position would go back; nothing moved.
        """
        ...

    def positions(self) -> dict[Partition, int]:
        """Return the offset next to read of every partition; empty for an empty store."""
        ...

    def clear(self) -> None:
        """Forget every shopper and every position."""
        ...

    def expire(self, before_ms: int) -> int:
        """Forget shoppers whose newest purchase was appended before `before_ms`; return how many.

        Args:
            before_ms: milliseconds since 1970, UTC.
        """
        ...

    def close(self) -> None:
        """Release connections."""
        ...


def moved(
    stored: Mapping[Partition, int],
    positions: Mapping[Partition, int],
    since: Mapping[Partition, int],
) -> str | None:
    """Return why an `apply` must be refused, in words; None: it may go on.

    Example:
        >>> events = Partition("events", 0)
        >>> moved({events: 5}, {events: 7}, {events: 5}) is None
        True
        >>> moved({}, {events: 7}, {events: 5})
        'events/0 is at 0, not at 5'
    """
    for partition, position in positions.items():
        at, before = stored.get(partition, 0), since.get(partition, 0)
        name = f"{partition.topic}/{partition.number}"
        if at != before:
            return f"{name} is at {at}, not at {before}"
        if position < at:
            return f"{name} would go back from {at} to {position}"
    return None
