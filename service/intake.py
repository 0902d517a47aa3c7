"""What becomes of a reported event: accepted as a message of the log, or refused with a reason.

Pure, and the same for HTTP, the topic `inbox` and past purchases: time, catalogue and the
producer's rights are arguments.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final, TypedDict

import msgspec

from schemas import identity
from schemas.codec import encode
from schemas.errors import RecommendationIdNotReadable
from schemas.events import (
    AddToCart,
    Click,
    Impression,
    Line,
    Purchase,
    Rating,
    Refund,
    ReportedEvent,
)
from schemas.requests import EventIn, Outcome
from service.errors import TokenExpired, TokenForged
from service.tokens import Tokens
from streams.port import Message

Rows = Mapping[str, int]
VALUE_LIMIT: Final = 1e6
"""A rating's value is within plus and minus this."""
_SERVER_ONLY: Final = frozenset({"purchase", "refund", "rating"})
_ABOUT_SHOWN: Final = frozenset({"impression", "click", "add_to_cart", "rating"})
"""Types whose product must stand on the banner they name; an order may hold more than it showed."""
_AwareTime = Annotated[datetime, msgspec.Meta(tz=True)]


@dataclass(frozen=True, slots=True)
class Producer:
    """Who reports.

    Attributes:
        trusted: holds `events:server`: may report orders and ratings, and need not send tokens.
    """

    trusted: bool


SERVER: Final = Producer(trusted=True)
BROWSER: Final = Producer(trusted=False)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one event: with `accepted` the messages to append together, else the reason.

    The first message is keyed to meet the event's banner. An order for an anonymous banner that
    names its shopper has a second, keyed by the shopper, because a history is written by the owner
    of its shopper's partition alone; where the key is not the named banner's it earns nothing.
    """

    outcome: Outcome
    reason: str | None = None
    messages: tuple[Message, ...] = ()


class _Refused(Exception):
    def __init__(self, outcome: Outcome, reason: str) -> None:
        super().__init__(reason)
        self.verdict = Verdict(outcome, reason)


class Intake:
    """Validates, checks tokens, stamps and keys events.

    Args:
        secret: keys the pseudonyms of users (`schemas.identity`).
        tokens: checks attribution tokens.
    """

    def __init__(self, secret: bytes, tokens: Tokens) -> None:
        self._secret = secret
        self._tokens = tokens

    def judge(self, event: EventIn, producer: Producer, rows: Rows, now_ms: int) -> Verdict:
        """Return what becomes of `event`, received now.

        Args:
            event: as decoded.
            producer: who reports it.
            rows: row of every product of the catalogue, by product id.
            now_ms: the service's time, milliseconds since 1970.
        """
        try:
            return Verdict("accepted", messages=self._accepted(event, producer, rows, now_ms))
        except _Refused as refusal:
            return refusal.verdict

    def _accepted(
        self, event: EventIn, producer: Producer, rows: Rows, now_ms: int
    ) -> tuple[Message, ...]:
        if event.type in _SERVER_ONLY and not producer.trusted:
            raise _Refused("forged", f"a {event.type} needs a key with the scope events:server")
        _check_names(event)
        occurred_at_ms = min(_milliseconds(event.occurred_at), now_ms)
        user_key = identity.user_key(self._secret, event.user_id) if event.user_id else None
        key = self._routing_key(event, user_key)
        self._check_token(event, producer, now_ms)
        reported = _Reported(
            event_id=event.event_id,
            occurred_at_ms=occurred_at_ms,
            received_at_ms=now_ms,
            recommendation_id=event.recommendation_id,
            user_key=user_key,
            source=event.source,
        )
        value = encode(_fact(event, reported, rows))
        keys = dict.fromkeys((key, user_key or key) if event.type == "purchase" else (key,))
        return tuple(Message(each, value) for each in keys)

    def _routing_key(self, event: EventIn, user_key: bytes | None) -> bytes:
        """Return the key under which the event meets its banner."""
        if event.recommendation_id is None:
            if user_key is None:
                raise _Refused("invalid", "needs a recommendation_id or a user_id")
            return user_key
        try:
            ulid, key = identity.split_recommendation_id(event.recommendation_id)
        except RecommendationIdNotReadable as fault:
            raise _Refused("invalid", str(fault)) from fault
        own = user_key in (None, key)
        if not own and identity.anonymous_key(self._secret, ulid) != key:
            raise _Refused("forged", "the recommendation was made for another shopper")
        return key

    def _check_token(self, event: EventIn, producer: Producer, now_ms: int) -> None:
        if event.recommendation_id is None:
            return
        if event.attribution_token is None:
            if producer.trusted:
                return
            raise _Refused("forged", "an event that names a recommendation needs its token")
        shown = (event.product_id,) if event.product_id and event.type in _ABOUT_SHOWN else ()
        try:
            self._tokens.check(event.attribution_token, event.recommendation_id, shown, now_ms)
        except TokenForged as fault:
            raise _Refused("forged", str(fault)) from fault
        except TokenExpired as fault:
            # From a server a token is optional, and an order is a fact however late it comes.
            if not producer.trusted:
                raise _Refused("invalid", str(fault)) from fault


def _milliseconds(occurred_at: str) -> int:
    try:
        moment = msgspec.convert(occurred_at, _AwareTime)
    except msgspec.ValidationError as fault:
        raise _Refused("invalid", "occurred_at: expected RFC 3339 with an offset") from fault
    milliseconds = math.floor(moment.timestamp() * 1000)
    if milliseconds < 0:
        raise _Refused("invalid", "occurred_at: before 1970")
    return milliseconds


def _check_names(event: EventIn) -> None:
    """Refuse an event that must name its banner and does not."""
    if event.recommendation_id is not None:
        return
    if event.attribution_token is not None:
        raise _Refused("invalid", "an attribution_token needs its recommendation_id")
    if event.type in ("impression", "rating"):
        raise _Refused("invalid", f"{event.type}: recommendation_id is missing")


class _Reported(TypedDict):
    """The fields of every reported event (`schemas.events.Reported`)."""

    event_id: str
    occurred_at_ms: int
    received_at_ms: int
    recommendation_id: str | None
    user_key: bytes | None
    source: str | None


def _fact(event: EventIn, reported: _Reported, rows: Rows) -> ReportedEvent:
    """Return the event as the log holds it; refuse one without the fields its type needs."""
    match event.type:
        case "impression":
            return Impression(**reported)
        case "click":
            return Click(product_id=_product(event), **reported)
        case "add_to_cart":
            return AddToCart(product_id=_product(event), **reported)
        case "purchase":
            return Purchase(order_id=event.order_id, lines=_lines(event, rows), **reported)
        case "refund":
            return Refund(order_id=event.order_id, lines=_lines(event, rows), **reported)
        case "rating":
            return Rating(product_id=event.product_id, value=_value(event), **reported)


def _product(event: EventIn) -> str:
    if event.product_id is None:
        raise _Refused("invalid", f"{event.type}: product_id is missing")
    return event.product_id


def _value(event: EventIn) -> float:
    if event.source is None:
        raise _Refused("invalid", "rating: source is missing")
    if event.value is None or not abs(event.value) <= VALUE_LIMIT:
        raise _Refused("invalid", "rating: value is missing or beyond 1e6")
    return event.value


def _lines(event: EventIn, rows: Rows) -> tuple[Line, ...]:
    if not event.items:
        if event.product_id is None:
            raise _Refused("invalid", f"{event.type}: items or product_id is missing")
        return (Line(product_id=event.product_id, row=rows.get(event.product_id)),)
    if event.product_id is not None and all(
        item.product_id != event.product_id for item in event.items
    ):
        raise _Refused("invalid", f"{event.type}: product_id is not among the items")
    return tuple(
        Line(
            product_id=item.product_id,
            row=rows.get(item.product_id),
            quantity=1 if item.quantity is None else item.quantity,
            price_cents=item.price_cents,
        )
        for item in event.items
    )
