"""The topic `events`: every fact of a banner's life, in the order that counts.

Only intake writes it (and ticks, which the owner of a silent partition appends). Times are
milliseconds since 1970,
UTC; the append time that counts for windows is the log's own and stands on the record, not in the
message.
"""

from typing import Annotated, Literal

import msgspec

from schemas.limits import ITEMS_PER_EVENT, Cents, Identifier

Arm = Literal["policy", "control"]
Source = Literal["policy", "popular", "static"]
Timestamp = Annotated[int, msgspec.Meta(ge=0)]
"""Milliseconds since 1970, UTC."""


class Fact(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """What every record of the log has."""

    schema_version: Literal[1] = 1
    event_id: str
    """The client's own id; of a recommendation its recommendation_id."""
    occurred_at_ms: Timestamp
    """The client's time clamped to the service's; for `recommended` the service's own stamp."""


class Recommended(Fact, frozen=True, kw_only=True, tag="recommended"):
    """A banner was drawn and answered; with the context that every probability is given."""

    recommendation_id: str
    user_key: bytes | None = None
    """8 bytes, the pseudonym of the user; null for an anonymous shopper."""
    unit: str
    """The unit of evidence: user and arm period, or the recommendation itself without a user."""
    placement: str | None = None
    arm: Arm
    source: Source
    reason: str | None = None
    deferred: bool = False
    """True: counts as an impression only once an `impression` event or a click confirms it."""
    trainable: bool
    """False for control, fallback and `learn: false` banners: rewarded, never trained."""
    policy_version: int
    catalogue_version: int
    viewed_row: int = -1
    """Row of the product viewed; -1: none."""
    history: bytes = b""
    """Packed history as it was (`schemas.history`); empty: none."""
    candidates: bytes = b""
    """Packed candidate rows (`schemas.candidates`); empty when no policy drew."""
    product_ids: tuple[str, ...]
    rows: tuple[int, ...]
    """(K,) rows of the banner in display order."""
    log_probs: tuple[float | None, ...]
    """(K,) behaviour log-probability of each position given those before; null: not drawn."""


class Reported(Fact, frozen=True, kw_only=True):
    """What every event reported by a storefront, an order service or a rater has."""

    received_at_ms: Timestamp
    recommendation_id: str | None = None
    user_key: bytes | None = None
    source: str | None = None


class Impression(Reported, frozen=True, kw_only=True, tag="impression"):
    """The shopper saw the banner."""


class Click(Reported, frozen=True, kw_only=True, tag="click"):
    """The shopper clicked a product of the banner."""

    product_id: Identifier


class AddToCart(Reported, frozen=True, kw_only=True, tag="add_to_cart"):
    """The shopper put a product into the cart."""

    product_id: Identifier


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One product of an order."""

    product_id: Identifier
    row: int | None = None
    """The product's row when intake accepted the event; null: not in the catalogue then."""
    quantity: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1
    price_cents: Cents | None = None


Lines = Annotated[tuple[Line, ...], msgspec.Meta(min_length=1, max_length=ITEMS_PER_EVENT)]


class Purchase(Reported, frozen=True, kw_only=True, tag="purchase"):
    """An order was placed. `source: "import"` makes history and earns nothing."""

    order_id: Identifier | None = None
    lines: Lines


class Refund(Reported, frozen=True, kw_only=True, tag="refund"):
    """Lines of an order were taken back."""

    order_id: Identifier | None = None
    lines: Lines


class Rating(Reported, frozen=True, kw_only=True, tag="rating"):
    """A function, a judge or a person rated the banner, or one product of it."""

    product_id: Identifier | None = None
    value: float


class UserErased(Fact, frozen=True, kw_only=True, tag="user_erased"):
    """Everything known of a user is to be forgotten."""

    user_key: bytes


class Tick(Fact, frozen=True, kw_only=True, tag="tick"):
    """Time passed on a silent partition."""


ReportedEvent = Impression | Click | AddToCart | Purchase | Refund | Rating
Event = (
    Recommended | Impression | Click | AddToCart | Purchase | Refund | Rating | UserErased | Tick
)


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A record that could not be read: where it stood, why, and its bytes (topic `events.dead`)."""

    schema_version: Literal[1] = 1
    topic: str
    partition: int
    offset: int
    appended_at_ms: Timestamp
    reason: str
    reader: str
    """The process that could not read it."""
    key: bytes | None = None
    value: bytes | None = None
