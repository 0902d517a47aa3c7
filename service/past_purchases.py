"""Purchases from before Quintet, as facts of the log: they make history and earn nothing."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from schemas import identity
from schemas.codec import encode
from schemas.events import Line, Purchase
from schemas.limits import ITEMS_PER_EVENT
from streams.port import Message

SOURCE: Final = "import"


@dataclass(frozen=True, slots=True)
class PastOrderLines:
    """One order of the past.

    Attributes:
        occurred_at_ms: milliseconds since 1970, UTC.
        order_id: the shop's own; null: the shopper and the time name the order.
        lines: (product id, quantity >= 1) each; at least one.
    """

    user_id: str
    occurred_at_ms: int
    order_id: str | None
    lines: Sequence[tuple[str, int]]


def import_purchases(
    orders: Iterable[PastOrderLines], *, secret: bytes, rows: Mapping[str, int], now_ms: int
) -> Iterator[tuple[str, Message]]:
    """Yield event id and message of topic `events` for past orders, in their order.

    Orders of one shopper must come oldest first, because history counts orders as they come. An
    order of more than 200 lines becomes several events with one order id. The event ids depend on
    the order alone, so that whoever imports twice can leave out what the log has.

    Args:
        orders: validated orders.
        secret: keys the pseudonyms.
        rows: row of every product of the catalogue.
        now_ms: the time of the import; an order cannot be later.
    """
    for order in orders:
        user_key = identity.user_key(secret, order.user_id)
        occurred_at_ms = min(order.occurred_at_ms, now_ms)
        name = f"{user_key.hex()}|{order.order_id or ''}|{order.occurred_at_ms}"
        digest = hashlib.blake2b(name.encode(), digest_size=12).hexdigest()
        for start in range(0, len(order.lines), ITEMS_PER_EVENT):
            part = order.lines[start : start + ITEMS_PER_EVENT]
            purchase = Purchase(
                event_id=f"{SOURCE}-{digest}-{start // ITEMS_PER_EVENT}",
                occurred_at_ms=occurred_at_ms,
                received_at_ms=now_ms,
                user_key=user_key,
                source=SOURCE,
                order_id=order.order_id or f"{SOURCE}-{digest}",
                lines=tuple(
                    Line(product_id=product_id, row=rows.get(product_id), quantity=quantity)
                    for product_id, quantity in part
                ),
            )
            yield purchase.event_id, Message(user_key, encode(purchase))
