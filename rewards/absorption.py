"""One fact into a ledger: what it changes, and which banners may have earned something by it."""

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

import msgspec

from rewards import attribution
from rewards.ledger import NEVER, SEEN, UNHEARD, Ledger, Life, Line, LineKey, Mark, Rating, told_at
from rewards.specification import RewardSpecification
from schemas.errors import RecommendationIdNotReadable
from schemas.events import (
    AddToCart,
    Click,
    Impression,
    Purchase,
    Recommended,
    Refund,
    ReportedEvent,
)
from schemas.events import Rating as RatingEvent
from schemas.identity import fingerprint, minted_ms

IMPORTED: Final = "import"
"""Source of purchases that make history and earn nothing."""

Outcome = Literal[
    "applied", "ignored", "duplicate", "conflict", "late", "unattributed", "forged", "erased"
]
"""What became of an event; see `metrics.py` for the words."""

_NOBODY: Final[frozenset[str]] = frozenset()
_encode: Final = msgspec.msgpack.Encoder().encode


class Absorbed(NamedTuple):
    """What a fact did.

    Attributes:
        outcome: for the metrics; it never decides a reward.
        touched: recommendations whose reward may have changed.
        changed: False: the ledger is as it was.
    """

    outcome: Outcome
    touched: frozenset[str] = _NOBODY
    changed: bool = True


def payload_fingerprint(event: ReportedEvent) -> int:
    """Return a fingerprint of what the client said.

    Times and rows are left out: intake stamps them anew when the same event is delivered again.
    """
    said: list[object] = [
        type(event).__name__,
        event.recommendation_id,
        event.user_key,
        event.source,
    ]
    if isinstance(event, Purchase | Refund):
        said.append(event.order_id)
        said += [(line.product_id, line.quantity, line.price_cents) for line in event.lines]
    elif isinstance(event, Click | AddToCart):
        said.append(event.product_id)
    elif isinstance(event, RatingEvent):
        said += [event.product_id, event.value]
    return fingerprint(_encode(said))


def _reown(ledger: Ledger, keys: Iterable[LineKey], specification: RewardSpecification) -> set[str]:
    """Credit lines anew; return the banners that gained or lost one."""
    touched: set[str] = set()
    for key in keys:
        line = ledger.lines[key]
        owner = attribution.credited(ledger, key, specification)
        if owner != line.owner:
            touched.update(each for each in (owner, line.owner) if each in ledger.lives)
            line.owner = owner
    return {each for each in touched if each is not None}


def _revisit(
    ledger: Ledger, recommendation_id: str, specification: RewardSpecification
) -> frozenset[str]:
    """Derive a banner's impression time anew; return it and what its lines moved."""
    life = ledger.lives[recommendation_id]
    before = life.impression_ms
    life.impression_ms = attribution.impression(life, specification)
    if life.impression_ms == before or not ledger.lines:
        return frozenset((recommendation_id,))
    # Nothing else about the ledger moved: other lines stay where they are.
    since, shown = life.impression_ms, life.product_ids
    moved = [
        key
        for key, line in ledger.lines.items()
        if (line.ms >= since or line.owner == recommendation_id or line.named == recommendation_id)
        and key[1] in shown
    ]
    return frozenset((recommendation_id, *_reown(ledger, moved, specification)))


class Absorber:
    """Takes facts into ledgers under one specification.

    Every method takes the ledger as it is exactly at stream time (`Ledger.forget` was called), the
    event and its append time, and changes the ledger in place.
    """

    def __init__(self, specification: RewardSpecification) -> None:
        self._specification = specification
        self._window_ms = specification.window_ms
        self._horizon_ms = specification.horizon_ms

    def recommended(self, ledger: Ledger, event: Recommended, ms: int, *, same: bool) -> Absorbed:
        """Take a banner.

        Args:
            ledger: of the routing key.
            event: the banner; its id is the recommendation's.
            ms: append time.
            same: False: another banner is known under this id, which then stays.
        """
        stamp = min(event.occurred_at_ms, ms)
        recommendation_id = event.recommendation_id
        if recommendation_id in ledger.erased:
            return Absorbed("duplicate", changed=False)
        if stamp + self._horizon_ms <= ms:
            return Absorbed("late", changed=False)
        life = ledger.lives.setdefault(recommendation_id, Life())
        if life.stamp_ms != NEVER and (not same or life.stamp_ms <= stamp):
            return Absorbed("duplicate" if same else "conflict", changed=False)
        life.stamp_ms = stamp
        life.product_ids = event.product_ids
        life.deferred = event.deferred
        life.of_user = event.user_key is not None
        if life.marks:
            shown = event.product_ids
            for product_id in [each for each in life.marks if each and each not in shown]:
                del life.marks[product_id]
        ledger.expires(stamp + self._horizon_ms)
        return Absorbed("applied", _revisit(ledger, recommendation_id, self._specification))

    def reported(self, ledger: Ledger, event: ReportedEvent, ms: int, key: bytes) -> Absorbed:
        """Take what a storefront, an order service or a rater reported.

        Args:
            ledger: of the routing key.
            event: with an event id that is looked up, so that it counts once.
            ms: append time.
            key: the routing key.
        """
        named = event.recommendation_id
        if named is not None and not named.endswith("-" + key.hex()):
            for_history = isinstance(event, Purchase) and event.user_key == key
            return Absorbed("ignored" if for_history else "forged", changed=False)
        if event.source == IMPORTED and isinstance(event, Purchase):
            return Absorbed("ignored", changed=False)
        if named is None and isinstance(event, Click | AddToCart):
            # It can earn nothing, and whoever sends it must not take a purchase's event id.
            return Absorbed("ignored", changed=False)
        said = payload_fingerprint(event)
        first = ledger.seen.get(event.event_id)
        if first is not None and first[0] != said:
            return Absorbed("conflict", changed=False)
        if first is not None and first[1] <= ms:
            return Absorbed("duplicate", changed=False)
        ledger.seen[event.event_id] = (said, ms)
        ledger.expires(ms + self._horizon_ms)
        if named is not None and named in ledger.erased:
            return Absorbed("erased")
        stranger = event.user_key is not None and event.user_key != key
        return self._by_type(ledger, event, told_at(ms, stranger=stranger))

    def _by_type(self, ledger: Ledger, event: ReportedEvent, told: Mark) -> Absorbed:
        if isinstance(event, Click):
            return self._marked(ledger, event, event.product_id, told)
        if isinstance(event, Impression):
            return self._marked(ledger, event, SEEN, told)
        if isinstance(event, Purchase):
            return self._purchased(ledger, event, told)
        if isinstance(event, Refund):
            return self._refunded(ledger, event, told[0])
        if isinstance(event, RatingEvent):
            return self._rated(ledger, event, told)
        return Absorbed("ignored")

    def _fault(self, life: Life, product_id: str, told: Mark) -> Outcome | None:
        """Return why an event that names a known banner earns nothing; None: it may earn."""
        ms = told[0]
        if life.heard_ms(told) == UNHEARD:
            return "forged"
        if product_id and product_id not in life.product_ids:
            return "forged"
        if life.impression_ms == NEVER:
            return "late" if ms >= life.stamp_ms + self._horizon_ms else None
        return "late" if ms > life.impression_ms + self._window_ms else None

    def _unknown(self, recommendation_id: str | None, ms: int) -> Outcome:
        """Return the word for an event that names no banner known so far."""
        if recommendation_id is None:
            return "unattributed"
        try:
            ended = minted_ms(recommendation_id) + self._horizon_ms <= ms
        except RecommendationIdNotReadable:
            return "unattributed"
        return "late" if ended else "unattributed"

    def _named(
        self, ledger: Ledger, event: ReportedEvent, product_id: str, told: Mark
    ) -> tuple[Life | None, Outcome]:
        """Return the life that an event may add to, and the word for the event."""
        if (named := event.recommendation_id) is None:
            return None, "unattributed"
        life = ledger.lives.get(named)
        if life is not None and life.stamp_ms != NEVER:
            fault = self._fault(life, product_id, told)
            return (life, "applied") if fault is None else (None, fault)
        unknown = self._unknown(named, told[0])
        if unknown == "late":
            return None, "late"
        return ledger.lives.setdefault(named, Life()), unknown

    def _marked(
        self, ledger: Ledger, event: Click | Impression, product_id: str, told: Mark
    ) -> Absorbed:
        life, outcome = self._named(ledger, event, product_id, told)
        if life is None or event.recommendation_id is None:
            return Absorbed(outcome)
        life.mark(product_id, told)
        return Absorbed(outcome, _revisit(ledger, event.recommendation_id, self._specification))

    def _rated(self, ledger: Ledger, event: RatingEvent, told: Mark) -> Absorbed:
        source, product_id = event.source or "", event.product_id or ""
        if not self._specification.rating_weights.get(source, 0.0):
            return Absorbed("ignored")
        life, outcome = self._named(ledger, event, product_id, told)
        if life is None or event.recommendation_id is None:
            return Absorbed(outcome)
        life.rate(
            event.event_id, Rating(told[0], source, product_id, event.value, told[1] == UNHEARD)
        )
        return Absorbed(outcome, frozenset((event.recommendation_id,)))

    def _purchased(self, ledger: Ledger, event: Purchase, told: Mark) -> Absorbed:
        named, order = event.recommendation_id, event.order_id or event.event_id
        ms, stranger = told[0], told[1] == UNHEARD
        keys = list(dict.fromkeys((order, line.product_id) for line in event.lines))
        outcome: Outcome = "unattributed"
        touched: set[str] = set()
        for key in keys:
            ledger.lines.setdefault(key, Line(ms, stranger, named)).merge(ms, stranger, named)
            life, found = self._named(ledger, event, key[1], told)
            outcome = found if outcome == "unattributed" else outcome
            if life is not None and named is not None:
                life.name(key[1], told)
                touched |= _revisit(ledger, named, self._specification)
        touched |= _reown(ledger, keys, self._specification)
        credited = any(ledger.lines[key].owner is not None for key in keys)
        return Absorbed("applied" if credited else outcome, frozenset(touched))

    def _refunded(self, ledger: Ledger, event: Refund, ms: int) -> Absorbed:
        order = event.order_id or event.event_id
        touched: set[str] = set()
        known = False
        for product_id in dict.fromkeys(line.product_id for line in event.lines):
            key = (order, product_id)
            ledger.refunds[key] = min(ms, ledger.refunds.get(key, ms))
            line = ledger.lines.get(key)
            known |= line is not None
            if line is not None and line.owner is not None and line.owner in ledger.lives:
                touched.add(line.owner)
        # Of a line that is not known the refund is either late or earlier than its purchase.
        return Absorbed("applied" if known else "late", frozenset(touched))
