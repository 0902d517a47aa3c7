"""What is known of one routing key, as sets: facts merge in any order, any number of times.

Every entry remembers the earliest append time at which it was told, so a merge is a minimum and
the ledger a join-semilattice; only `owner`, `impression_ms` and what was emitted are derived from
the sets. Times are milliseconds since 1970 of the log's clock.

Nothing here refers back to what holds it, so the structs are kept out of garbage collection: with a
day of banners in memory a full collection would otherwise stop the loop.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from rewards.errors import LedgerNotReadable

LAYOUT: Final = 1
NEVER: Final = -1
"""Stands for a time that is not known."""
SEEN: Final = ""
"""The mark of an `impression` event; every other mark is the product that was clicked."""

LineKey = tuple[str, str]
"""(order_id or else event_id, product_id) of a bought or refunded line."""
UNHEARD: Final = 1 << 62
Mark = tuple[int, int]
"""(earliest time anyone said so, earliest time one who is no stranger did; UNHEARD: nobody).

A stranger is another user than the routing key's.
"""


def told_at(ms: int, *, stranger: bool) -> Mark:
    """Return the mark of one event."""
    return ms, UNHEARD if stranger else ms


def _merged(marks: dict[str, Mark], product_id: str, told: Mark) -> None:
    known = marks.get(product_id, told)
    marks[product_id] = min(known[0], told[0]), min(known[1], told[1])


class Rating(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One rating event that names a banner; `product_id` empty: the banner as a whole."""

    ms: int
    source: str
    product_id: str
    value: float
    stranger: bool


class Line(msgspec.Struct, array_like=True, gc=False):
    """One bought product of an order."""

    ms: int
    stranger: bool
    named: str | None
    """The recommendation that the purchase names."""
    owner: str | None = None
    """The recommendation that is credited with the line (derived)."""

    def merge(self, ms: int, stranger: bool, named: str | None) -> bool:
        """Take the earlier and more trusted report of the line; return whether it changed."""
        told = (stranger, ms, named is None, named or "")
        if told >= (self.stranger, self.ms, self.named is None, self.named or ""):
            return False
        self.stranger, self.ms, self.named = stranger, ms, named
        return True


class Life(msgspec.Struct, array_like=True, gc=False):
    """A banner's life: what was shown, what named it, and what was said of it so far.

    Attributes:
        product_ids: (K,) products in display order; empty while only others named the banner.
        stamp_ms: the service's stamp, at most the append time; NEVER: not in the log so far.
        deferred: True: only an impression once something confirms it.
        of_user: True: the routing key is a user's, so another user's events are forged.
        impression_ms: the impression's time; NEVER: not an impression so far (derived).
        marks: earliest impression event and click of each product.
        named: earliest purchase of each product that names this banner (it implies an impression).
        ratings: by event id; only of sources that weigh something.
        revision: of the last reward that was emitted; -1: not settled so far.
        points: (K,) points of that reward.
    """

    product_ids: tuple[str, ...] = ()
    stamp_ms: int = NEVER
    deferred: bool = False
    of_user: bool = False
    impression_ms: int = NEVER
    marks: dict[str, Mark] = {}
    named: dict[str, Mark] = {}
    ratings: dict[str, Rating] = {}
    revision: int = -1
    points: tuple[float, ...] = ()

    def mark(self, product_id: str, told: Mark) -> None:
        """Merge a click (or, with SEEN, an impression event)."""
        _merged(self.marks, product_id, told)

    def name(self, product_id: str, told: Mark) -> None:
        """Merge a purchase that names this banner."""
        _merged(self.named, product_id, told)

    def rate(self, event_id: str, rating: Rating) -> None:
        """Merge a rating event."""
        known = self.ratings.get(event_id)
        if known is None or rating.ms < known.ms:
            self.ratings[event_id] = rating

    def heard_ms(self, mark: Mark) -> int:
        """Return when those said so who may speak of this banner; UNHEARD: nobody."""
        return mark[self.of_user]

    def counted_from(self) -> int:
        """Return the time from which this life's window and lateness count."""
        if self.stamp_ms != NEVER:
            return max(self.stamp_ms, self.impression_ms)
        times = [ms for ms, _ in (*self.marks.values(), *self.named.values())]
        times += [rating.ms for rating in self.ratings.values()]
        return min(times, default=0)


class Ledger(msgspec.Struct, array_like=True, gc=False):
    """All sets of one routing key.

    Attributes:
        lives: by recommendation id.
        lines: bought lines. A refund may come before its line.
        refunds: earliest append time of each refunded line.
        seen: event id -> (fingerprint, append time) of the first in the log.
        erased: recommendation id -> when to forget it; of an erased user only these ids stay, so
            that a record delivered again is not rewarded again.
        wake_ms: nothing of the ledger expires before.
    """

    layout: int = LAYOUT
    lives: dict[str, Life] = {}
    lines: dict[LineKey, Line] = {}
    refunds: dict[LineKey, int] = {}
    seen: dict[str, tuple[int, int]] = {}
    erased: dict[str, int] = {}
    wake_ms: int = UNHEARD

    def is_empty(self) -> bool:
        """Return whether nothing is left to remember."""
        return not (self.lives or self.lines or self.refunds or self.seen or self.erased)

    def expires(self, at_ms: int) -> None:
        """Note that an entry expires at `at_ms`."""
        if at_ms < self.wake_ms:
            self.wake_ms = at_ms

    def _forget_lines(self, since: int) -> None:
        # A line outlives the banner it was credited to, or the banner would lose its points.
        gone = [
            key
            for key, line in self.lines.items()
            if line.ms <= since and line.owner not in self.lives
        ]
        for key in gone:
            del self.lines[key]

    def forget(self, now_ms: int, horizon_ms: int) -> list[str]:
        """Drop what is `horizon_ms` old or older at stream time `now_ms`.

        Banners go with all that was said of them; unsettled impressions stay.

        Returns:
            the recommendations that were dropped.
        """
        if now_ms < self.wake_ms:
            return []
        since = now_ms - horizon_ms
        closed = [
            recommendation_id
            for recommendation_id, life in self.lives.items()
            if life.counted_from() <= since and (life.revision >= 0 or life.impression_ms == NEVER)
        ]
        for recommendation_id in closed:
            del self.lives[recommendation_id]
        self._forget_lines(since)
        self.refunds = {
            key: ms for key, ms in self.refunds.items() if ms > since or key in self.lines
        }
        self.seen = {key: told for key, told in self.seen.items() if told[1] > since}
        self.erased = {key: until for key, until in self.erased.items() if until > now_ms}
        self.wake_ms = min(self._expiries(horizon_ms), default=UNHEARD)
        return closed

    def _expiries(self, horizon_ms: int) -> Iterable[int]:
        for life in self.lives.values():
            yield life.counted_from() + horizon_ms
        for line in self.lines.values():
            yield line.ms + horizon_ms
        for ms in self.refunds.values():
            yield ms + horizon_ms
        for _, ms in self.seen.values():
            yield ms + horizon_ms
        yield from self.erased.values()


_DECODER: Final = msgspec.msgpack.Decoder(Ledger)
pack: Final = msgspec.msgpack.Encoder().encode


def unpack(data: bytes) -> Ledger:
    """Return the ledger of bytes that `pack` made.

    Raises:
        LedgerNotReadable: the bytes are cut short or follow another layout.

    Example:
        >>> unpack(pack(Ledger())) == Ledger()
        True
    """
    try:
        ledger = _DECODER.decode(data)
    except (msgspec.DecodeError, msgspec.ValidationError) as problem:
        raise LedgerNotReadable(f"the kept state is not readable: {problem}") from problem
    if ledger.layout != LAYOUT:
        raise LedgerNotReadable(f"layout {ledger.layout}; this version reads {LAYOUT}")
    return ledger
