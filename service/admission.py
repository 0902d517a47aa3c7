"""Which requests are let in while others are under way, decided before a body is read.

A request that has come waits for all that came before it, so what is under way is the queue, and
its length is the delay. Banners, events, large bodies and all other requests are bounded apart from
each other: a slow log must not cost anybody a banner, nor who reads the documentation slowly an
event. Only what operators watch is unbounded, spelt just so. The bounds, but for that of large
bodies, shrink while banners take longer than a target and grow back when they do not, because what
a banner costs depends on the catalogue and the machine.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_SHRINKS_AT_MOST: Final = 0.5
_GROWS: Final = 1.1
_SMALLEST_SHARE: Final = 1 / 8
_OPERATORS: Final = frozenset({b"/livez", b"/readyz", b"/metrics"})


@dataclass(frozen=True, slots=True)
class AdmissionSettings:
    """How much may be under way in one process, and for how long a client is waited for.

    Attributes:
        target_seconds: banners shall take no longer, on average, from request to answer.
        look_seconds: how often that is looked at.
        banners: requests for a banner under way at most.
        events: requests with events under way at most; they wait for the log too.
        others: all other requests under way at most.
        large_bodies: requests under way at most whose body is, or may become, larger than
            `large_bytes`: what bounds the memory that bodies take.
        large_bodies_each: of these from one network address, but for a trusted proxy's own.
        large_bytes: bodies up to this size are small.
        refusal_seconds: a refusal is sent so much later. A client that comes again at once would
            otherwise cost the others a fifth of their capacity.
        request_seconds: a request must have come whole within so long; 408 where it has not.
        answer_seconds: an answer must have been taken within so long, or the connection is cut.
        idle_seconds: a connection without a request is kept so long; longer than the pools of usual
            clients keep theirs.
        watch_seconds: how often connections are looked at.
    """

    target_seconds: float = 0.1
    look_seconds: float = 0.2
    banners: int = 512
    events: int = 1_024
    others: int = 128
    large_bodies: int = 32
    large_bodies_each: int = 4
    large_bytes: int = 65_536
    refusal_seconds: float = 0.1
    request_seconds: float = 10.0
    answer_seconds: float = 10.0
    idle_seconds: float = 20.0
    watch_seconds: float = 1.0


def next_share(share: float, *, mean_seconds: float, target_seconds: float, refused: bool) -> float:
    """Return the share of the bounds that is let in from now on, between 1/8 and 1.

    Args:
        share: let in so far.
        mean_seconds: that banners took meanwhile.
        target_seconds: that they may take.
        refused: whether anybody was refused: only then would a larger share change anything.

    Example:
        >>> next_share(1.0, mean_seconds=0.08, target_seconds=0.05, refused=True)
        0.625
        >>> next_share(0.5, mean_seconds=0.04, target_seconds=0.05, refused=False)
        0.5
    """
    if mean_seconds > target_seconds:
        return max(_SMALLEST_SHARE, share * max(_SHRINKS_AT_MOST, target_seconds / mean_seconds))
    return min(1.0, share * _GROWS) if refused else share


class Lane:
    """Requests of one kind; for one event loop.

    Attributes:
        reason: named where one is refused.
        waits_for_body: True: a request counts from its head on, False: once its body is there, so
            that clients who send slowly take nobody's place.
        under_way: how many are counted now.
        limit: no more are let in.
        each: nor more of one guest; for a lane that waits for bodies.
        is_timed: True: `took` is to be told how long some of them took, in seconds.
        only_answers: True: a request is for its answer alone, so one whose client has left is not
            looked at.
    """

    __slots__ = (
        "_guests", "each", "is_timed", "limit", "only_answers", "reason", "took", "under_way",
        "waits_for_body",
    )  # fmt: skip

    def __init__(
        self,
        reason: str,
        limit: int,
        *,
        each: int = 0,
        took: Callable[[float], None] | None = None,
        only_answers: bool = False,
    ) -> None:
        self.reason, self.limit, self.each = reason, limit, each
        self.only_answers = only_answers
        self.waits_for_body = each > 0
        self.under_way = 0
        self._guests: Counter[str] = Counter()
        self.is_timed = took is not None
        self.took = took or (lambda _: None)

    def has_place(self, guest: str) -> bool:
        """Whether one more of a guest's is let in; "" is whoever may take every place."""
        return self.under_way < self.limit and (not guest or self._guests[guest] < self.each)

    def enter(self, guest: str) -> None:
        """Count a guest's."""
        self.under_way += 1
        self._guests[guest] += 1

    def leave(self, guest: str) -> None:
        """Count it no more."""
        self.under_way -= 1
        self._guests[guest] -= 1
        if not self._guests[guest]:
            del self._guests[guest]


class Admission:
    """The lanes of one process.

    Args:
        settings: the bounds.
        refused: told the reason of every refusal.
        monotonic: seconds.
        left: told of every banner that was not looked at, since who asked had left.
    """

    def __init__(
        self,
        settings: AdmissionSettings,
        *,
        refused: Callable[[str], None],
        monotonic: Callable[[], float],
        left: Callable[[], None] = lambda: None,
    ) -> None:
        self.settings = settings
        self.left = left
        self.monotonic = monotonic
        self._tell = refused
        self._share = 1.0
        self._looked_at = monotonic()
        self._answered, self._seconds, self._refused = 0, 0.0, False
        self._banners = Lane("banners", settings.banners, took=self._banner_took, only_answers=True)
        self._events = Lane("events", settings.events)
        self._others = Lane("others", settings.others)
        self._large = Lane("large_bodies", settings.large_bodies, each=settings.large_bodies_each)

    def lane(self, url: bytes, headers: list[tuple[bytes, bytes]]) -> Lane | None:
        """Return where a request belongs by its head; None: it is let in whatever happens.

        Args:
            url: as sent.
            headers: names in lower case.
        """
        if url == b"/recommend" or url.partition(b"?")[0] == b"/recommend":
            return self._banners
        if url in _OPERATORS:
            return None
        for name, value in headers:
            if name == b"content-length":
                # What is no number is the route's to refuse; nor does it take long numbers.
                if len(value) > 9 or (value.isdigit() and int(value) > self.settings.large_bytes):
                    return self._large
            elif name == b"transfer-encoding":
                return self._large
        is_events = url == b"/events" or url.partition(b"?")[0] == b"/events"
        return self._events if is_events else self._others

    def refuse(self, reason: str) -> None:
        """Count a refusal."""
        self._refused = True
        self._tell(reason)

    def look(self) -> None:
        """Look whether more or less is to be let in, where nothing was timed lately."""
        if not self._answered and self._refused:
            self._adjust()

    def _banner_took(self, seconds: float) -> None:
        self._answered += 1
        self._seconds += seconds
        self._adjust()

    def _adjust(self) -> None:
        now = self.monotonic()
        if now - self._looked_at < self.settings.look_seconds:
            return
        share = next_share(
            self._share,
            mean_seconds=self._seconds / max(self._answered, 1),
            target_seconds=self.settings.target_seconds,
            refused=self._refused,
        )
        if share != self._share:
            self._share = share
            self._banners.limit = max(1, int(self.settings.banners * share))
            self._events.limit = max(1, int(self.settings.events * share))
            self._others.limit = max(1, int(self.settings.others * share))
        self._looked_at = now
        self._answered, self._seconds, self._refused = 0, 0.0, False
