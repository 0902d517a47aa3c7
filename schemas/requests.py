"""The bodies of the HTTP contract, as the service decodes them."""

from typing import Annotated, Literal

import msgspec

from schemas.events import Arm, Source
from schemas.limits import ITEMS_PER_EVENT, Cents, Identifier, Position, Text

Ids = Annotated[tuple[Identifier, ...], msgspec.Meta(max_length=1000)]


class Filter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be shown; a product must pass every filter that is given."""

    category: Annotated[tuple[Text, ...], msgspec.Meta(max_length=100)] | None = None
    brand: Annotated[tuple[Text, ...], msgspec.Meta(max_length=100)] | None = None
    max_price_cents: Cents | None = None


class Pin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A product that must stand at a position."""

    product_id: Identifier
    position: Position


class RecommendRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /recommend`: the context."""

    user_id: Identifier | None = None
    viewed_product_id: Identifier | None = None
    purchased_product_ids: Ids | None = None
    placement: Identifier | None = None
    exclude_product_ids: Ids | None = None
    filter: Filter | None = None
    pinned: Annotated[tuple[Pin, ...], msgspec.Meta(max_length=5)] | None = None
    deferred: bool | None = None
    learn: bool | None = None


class RecommendedProduct(msgspec.Struct, frozen=True, kw_only=True):
    """One product of the banner."""

    product_id: str
    position: int
    title: str
    category: str | None = None
    brand: str | None = None
    price_cents: int | None = None
    image_url: str | None = None


class RecommendResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The banner."""

    recommendation_id: str
    products: tuple[RecommendedProduct, ...]
    policy_version: int
    arm: Arm
    source: Source
    reason: str | None = None
    attribution_token: str
    expires_at: str


class ItemIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of an order as reported."""

    product_id: Identifier
    quantity: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    price_cents: Cents | None = None


EventType = Literal["impression", "click", "add_to_cart", "purchase", "refund", "rating"]


class EventIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One event as reported to `POST /events` or to the topic `inbox`."""

    event_id: Identifier
    type: EventType
    occurred_at: Annotated[str, msgspec.Meta(max_length=64)]
    """RFC 3339, with an offset."""
    recommendation_id: Identifier | None = None
    attribution_token: Annotated[str, msgspec.Meta(max_length=1024)] | None = None
    source: Identifier | None = None
    user_id: Identifier | None = None
    product_id: Identifier | None = None
    order_id: Identifier | None = None
    items: Annotated[tuple[ItemIn, ...], msgspec.Meta(max_length=ITEMS_PER_EVENT)] | None = None
    value: float | None = None


Outcome = Literal["accepted", "invalid", "forged", "rate_limited"]


class EventResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one event."""

    event_id: str | None
    outcome: Outcome
    reason: str | None = None


class EventsResponse(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a list of events, in its order."""

    results: tuple[EventResult, ...]
