"""The catalogue as a serving process follows it: from this machine's disk first, then the log."""

from typing import Final

import structlog

from projections.catalogue import Catalogue, CatalogueProjection, read_up_to
from projections.errors import CatalogueNotReadable
from projections.kept_products import KeptProducts
from streams.errors import LogUnavailable
from streams.port import Consumer, Log, Partition
from streams.topics import PRODUCTS

log = structlog.get_logger(__name__)
_PARTITION: Final = Partition(PRODUCTS.name, 0)
_RECORDS: Final = 10_000
_POLL_SECONDS: Final = 1.0
_EMPTY_POLLS: Final = 30


class FollowedCatalogue:
    """Follows the topic `products`; `look` is its whole work. For one thread.

    Args:
        products: the log.
        kept: what this machine saw last; None: nothing is kept.

    Attributes:
        beginnings: how often it began from nothing, the first time included.
    """

    def __init__(self, products: Log, kept: KeptProducts | None = None) -> None:
        self.beginnings = 0
        self._log = products
        self._kept = kept
        self._consumer: Consumer | None = None
        self._doubted = kept is not None
        self._begin()
        if kept is not None:
            # Not through `apply`'s callback: it is on disk already.
            self._projection.restore(kept.load())
            self._whole = self._projection.current

    def _begin(self) -> None:
        self.beginnings += 1
        self._projection = CatalogueProjection(
            on_records=self._kept.keep if self._kept is not None else None
        )
        self._whole = self._projection.current

    @property
    def current(self) -> Catalogue:
        """The catalogue after the last look; before the first one, what this machine saw last."""
        return self._whole

    @property
    def is_confirmed(self) -> bool:
        """Whether the last look read the log; else this is what was known before."""
        return self._consumer is not None

    def look(self) -> Catalogue:
        """Return the catalogue after everything the log holds now; the last one without a log.

        A new consumer is first read up to the log's end: nobody is shown half a catalogue.
        """
        try:
            if self._consumer is None:
                self._consumer = self._caught_up()
            while records := self._consumer.poll(max_records=_RECORDS, timeout_seconds=0.0):
                self._projection.apply(records)
            self._whole = self._projection.current
        except LogUnavailable:
            self.close()
        except CatalogueNotReadable as problem:
            log.warning("catalogue_not_readable", problem=str(problem))
            self.close()
        return self._whole

    def _caught_up(self) -> Consumer:
        """Return a consumer that stands at the log's end, and so does the projection."""
        consumer = self._log.consumer([PRODUCTS.name], group=None)
        try:
            end = self._log.end_offsets(PRODUCTS.name)[_PARTITION]
            if self._doubted and not self._is_known(consumer, end):
                log.error("kept_catalogue_dropped", why="the log holds other products")
                if self._kept is not None:
                    self._kept.clear()
                self._begin()
            self._doubted = False
            consumer.seek(_PARTITION, self._projection.current.version)
            read_up_to(self._projection, consumer, end)
        except BaseException:
            consumer.close()
            raise
        return consumer

    def _is_known(self, consumer: Consumer, end: int) -> bool:
        """Whether the log holds the last record that this machine kept, at the same offset."""
        last = None if self._kept is None else self._kept.last
        if last is None:
            return True
        if last.offset >= end:
            return False
        consumer.seek(_PARTITION, last.offset)
        for _ in range(_EMPTY_POLLS):
            if found := consumer.poll(max_records=1, timeout_seconds=_POLL_SECONDS):
                return (found[0].offset, found[0].value) == (last.offset, last.value)
        raise CatalogueNotReadable(f"nothing can be read at offset {last.offset}, before {end}")

    def close(self) -> None:
        """Let go of the log; the next look asks it anew."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None
