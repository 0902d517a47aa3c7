"""A banner's life as people see it, made from its records: pure."""

import math
from collections.abc import Sequence

import msgspec

from console.browse import CatalogueView
from schemas import candidates, history
from schemas.events import AddToCart, Click, Event, Purchase, Rating, Recommended, Refund, Reported
from schemas.policies import Manifest
from schemas.rewards import Reward
from streams.port import Record


class ProductShown(msgspec.Struct, frozen=True, kw_only=True):
    """A product of the context, by row."""

    row: int
    product_id: str | None
    title: str | None


class PositionShown(msgspec.Struct, frozen=True, kw_only=True):
    """One position of the banner.

    Attributes:
        log_prob: of the draw given the positions before; null: pinned, or no policy drew.
        propensity: the same as a probability.
        points: what it has earned; null before settlement.
    """

    position: int
    row: int
    product_id: str
    title: str | None
    log_prob: float | None
    propensity: float | None
    points: float | None


class Repeat(msgspec.Struct, frozen=True, kw_only=True):
    """A product that the shopper buys again."""

    product: ProductShown
    orders: int
    last_order: int


class ContextShown(msgspec.Struct, frozen=True, kw_only=True):
    """What was known when the request arrived."""

    placement: str | None
    viewed: ProductShown | None
    purchased: Sequence[ProductShown]
    """The last purchases, oldest first."""
    orders: int
    repeats: Sequence[Repeat]
    """At most ten, those with most orders first."""
    candidates: int
    """How many products the policy chose among."""


class EventShown(msgspec.Struct, frozen=True, kw_only=True):
    """One event of the banner's life.

    Attributes:
        named: it names the recommendation; False: an order of the same shopper, afterwards, that
            holds a product of the banner.
        copies: how often the log holds it; it counts once, if at all.
    """

    type: str
    event_id: str
    appended_at_ms: int
    occurred_at_ms: int
    named: bool
    products: Sequence[ProductShown]
    copies: int = 1
    order_id: str | None = None
    source: str | None = None
    value: float | None = None


class RevisionShown(msgspec.Struct, frozen=True, kw_only=True):
    """One reward of the banner: its settlement, or a correction."""

    revision: int
    offset: int
    settled_at_ms: int
    caused_at_ms: int | None
    specification: str
    points: Sequence[float]
    delta: Sequence[float]
    reward: float
    learned_by: int | None
    """The oldest version still kept whose weights learned from it; null: none yet, or never."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """One banner's whole life."""

    recommendation_id: str
    recommended_at_ms: int
    arm: str
    source: str
    reason: str | None
    deferred: bool
    trainable: bool
    unit: str
    policy_version: int
    catalogue_version: int
    context: ContextShown
    banner: Sequence[PositionShown]
    events: Sequence[EventShown]
    revisions: Sequence[RevisionShown]
    reward: float | None


class Names:
    """Titles and ids from one view of the catalogue."""

    def __init__(self, catalogue: CatalogueView) -> None:
        self._products, self._row_of = catalogue.products, catalogue.row_of

    def of_row(self, row: int) -> ProductShown:
        """Return the product of a row; without names when the catalogue does not know it."""
        if 0 <= row < len(self._products):
            product = self._products[row]
            return ProductShown(row=row, product_id=product.product_id, title=product.title)
        return ProductShown(row=row, product_id=None, title=None)

    def of_id(self, product_id: str) -> ProductShown:
        """Return the product of an id; without a title when the catalogue does not know it."""
        row = self._row_of.get(product_id)
        if row is None:
            return ProductShown(row=-1, product_id=product_id, title=None)
        return self.of_row(row)


def learned_by(offset: int, manifests: Sequence[Manifest]) -> int | None:
    """Return the oldest version of `manifests` that holds everything up to a reward's offset."""
    learned = [
        one.version
        for one in manifests
        if one.rewards_offset is not None and one.rewards_offset > offset
    ]
    return min(learned, default=None)


def revision_shown(record: Record, reward: Reward, manifests: Sequence[Manifest]) -> RevisionShown:
    """Return one reward as people see it."""
    return RevisionShown(
        revision=reward.revision,
        offset=record.offset,
        settled_at_ms=reward.settled_at_ms,
        caused_at_ms=reward.caused_at_ms,
        specification=reward.specification,
        points=reward.points,
        delta=reward.delta,
        reward=math.fsum(reward.points),
        learned_by=learned_by(record.offset, manifests) if reward.trainable else None,
    )


def explanation(
    drawn: Recommended,
    found: Sequence[tuple[Record, Event]],
    revisions: Sequence[RevisionShown],
    names: Names,
) -> Explanation:
    """Return a banner's life from its record, its events in the log's order and its rewards."""
    points = revisions[-1].points if revisions else None
    return Explanation(
        recommendation_id=drawn.recommendation_id,
        recommended_at_ms=drawn.occurred_at_ms,
        arm=drawn.arm,
        source=drawn.source,
        reason=drawn.reason,
        deferred=drawn.deferred,
        trainable=drawn.trainable,
        unit=drawn.unit,
        policy_version=drawn.policy_version,
        catalogue_version=drawn.catalogue_version,
        context=_context(drawn, names),
        banner=[_position(drawn, place, points, names) for place in range(len(drawn.product_ids))],
        events=_events(found, names),
        revisions=revisions,
        reward=math.fsum(points) if points is not None else None,
    )


def _position(
    drawn: Recommended, place: int, points: Sequence[float] | None, names: Names
) -> PositionShown:
    log_prob = drawn.log_probs[place]
    return PositionShown(
        position=place,
        row=drawn.rows[place],
        product_id=drawn.product_ids[place],
        title=names.of_row(drawn.rows[place]).title,
        log_prob=log_prob,
        propensity=None if log_prob is None else math.exp(log_prob),
        points=None if points is None else points[place],
    )


def _context(drawn: Recommended, names: Names) -> ContextShown:
    past = history.unpack(drawn.history)
    often = sorted(range(len(past.rows)), key=lambda one: -int(past.counts[one]))[:10]
    return ContextShown(
        placement=drawn.placement,
        viewed=names.of_row(drawn.viewed_row) if drawn.viewed_row >= 0 else None,
        purchased=[names.of_row(int(row)) for row in past.recent],
        orders=past.orders,
        repeats=[
            Repeat(
                product=names.of_row(int(past.rows[one])),
                orders=int(past.counts[one]),
                last_order=int(past.last[one]),
            )
            for one in often
        ],
        candidates=len(candidates.unpack(drawn.candidates)),
    )


def _events(found: Sequence[tuple[Record, Event]], names: Names) -> Sequence[EventShown]:
    """Return each event once, where it came first; an id used for something else is another."""
    shown: dict[bytes, EventShown] = {}
    for record, event in found:
        one = _event(record, event, names)
        said = _said(event)
        known = shown.get(said)
        shown[said] = (
            one if known is None else msgspec.structs.replace(known, copies=known.copies + 1)
        )
    return list(shown.values())


def _said(event: Event) -> bytes:
    """Return what a client said: intake stamps the rest anew when it is delivered again."""
    stamped = {"occurred_at_ms": 0}
    if isinstance(event, Reported):
        stamped["received_at_ms"] = 0
    return msgspec.json.encode(msgspec.structs.replace(event, **stamped))


def _event(record: Record, event: Event, names: Names) -> EventShown:
    named = isinstance(event, Recommended) or (
        isinstance(event, Reported) and event.recommendation_id is not None
    )
    return EventShown(
        type=str(type(event).__struct_config__.tag),
        event_id=event.event_id,
        appended_at_ms=record.appended_at_ms,
        occurred_at_ms=event.occurred_at_ms,
        named=named,
        products=_products(event, names),
        order_id=event.order_id if isinstance(event, Purchase | Refund) else None,
        source=event.source if isinstance(event, Reported) else None,
        value=event.value if isinstance(event, Rating) else None,
    )


def _products(event: Event, names: Names) -> Sequence[ProductShown]:
    if isinstance(event, Purchase | Refund):
        return [names.of_id(line.product_id) for line in event.lines]
    if isinstance(event, Click | AddToCart | Rating) and event.product_id is not None:
        return [names.of_id(event.product_id)]
    return []
