"""The catalogue a batch is learned with: as far as its rewards name it, so that replays agree."""

from collections import deque
from typing import Final

from projections.catalogue import Catalogue, CatalogueProjection
from streams.errors import LogUnavailable
from streams.port import Consumer, Log, Record
from streams.topics import PRODUCTS
from trainer.errors import RewardNotUsable

_RECORDS: Final = 5000
_POLL_SECONDS: Final = 1.0
_MOST_POLLS: Final = 10_000


class FollowedCatalogue:
    """The topic `products`, read up to a version at a time; versions only grow.

    Args:
        products: the log.
    """

    def __init__(self, products: Log) -> None:
        self._log = products
        self._projection = CatalogueProjection()
        self._waiting: deque[Record] = deque()
        self._consumer: Consumer | None = None

    @property
    def current(self) -> Catalogue:
        """The catalogue at the highest version asked for."""
        return self._projection.current

    def reach(self, version: int) -> Catalogue:
        """Return the catalogue at `version`, or the current one when that is newer.

        Raises:
            RewardNotUsable: the log does not reach that version.
            LogUnavailable: the log cannot be reached.
        """
        if version <= self.current.version:
            return self.current
        ends = self._log.end_offsets(PRODUCTS.name)
        if version > max(ends.values(), default=0):
            raise RewardNotUsable(f"catalogue version {version} is beyond the log of products")
        if self._consumer is None:
            self._consumer = self._log.consumer([PRODUCTS.name], group=None)
        for _ in range(_MOST_POLLS):
            fresh = []
            while self._waiting and self._waiting[0].offset < version:
                fresh.append(self._waiting.popleft())
            self._projection.apply(fresh)
            if self.current.version >= version or self._waiting:
                return self.current
            self._waiting.extend(
                self._consumer.poll(max_records=_RECORDS, timeout_seconds=_POLL_SECONDS)
            )
        raise LogUnavailable(f"catalogue version {version} could not be read")

    def close(self) -> None:
        """Give the consumer back."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None
