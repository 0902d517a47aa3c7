"""Records of the log as rows of tables: schemas with the meaning of each column, and rows: pure."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from schemas import candidates, history
from schemas.events import Event, Line, Purchase, Recommended, Refund, Tick
from schemas.products import Product
from schemas.rewards import Reward
from streams.port import Record

Row = Mapping[str, Any]
NameOf = Callable[[int], str | None]
"""A product's id by its row; None: the catalogue does not know it."""

_TIME: Final = pa.timestamp("ms", tz="UTC")
_NAMES: Final = pa.list_(pa.string())
_LINE: Final = pa.struct(
    [
        ("product_id", pa.string()),
        ("row", pa.int32()),
        ("quantity", pa.int32()),
        ("price_cents", pa.int64()),
    ]
)


def _schema(*columns: tuple[str, pa.DataType, str]) -> pa.Schema:
    return pa.schema(
        [pa.field(name, kind, metadata={"meaning": text}) for name, kind, text in columns]
    )


_PLACE: Final = (
    ("appended_at", _TIME, "the log's own clock: what counts for windows"),
    ("partition", pa.int32(), "of the topic"),
    ("offset", pa.int64(), "in the partition"),
)

BANNERS: Final = _schema(
    ("recommendation_id", pa.string(), "names the banner; joins all tables"),
    *_PLACE,
    ("recommended_at", _TIME, "the service's own stamp"),
    ("user", pa.string(), "pseudonym of the shopper (16 hex digits); null: anonymous"),
    ("unit", pa.string(), "unit of evidence: shopper and arm period, or the recommendation"),
    ("arm", pa.string(), "policy or control"),
    ("source", pa.string(), "what chose the banner: policy, popular or static"),
    ("reason", pa.string(), "what the answer had to do without"),
    ("placement", pa.string(), "as asked for"),
    ("deferred", pa.bool_(), "true: an impression only once an event confirms it"),
    ("trainable", pa.bool_(), "false: rewarded, never learned from"),
    ("policy_version", pa.int64(), "of the weights that drew"),
    ("catalogue_version", pa.int64(), "of the catalogue then"),
    ("viewed_product_id", pa.string(), "context: the product viewed"),
    ("purchased_product_ids", _NAMES, "context: the last purchases, at most ten, oldest first"),
    ("orders", pa.int64(), "context: how many orders the shopper had"),
    ("repeats", pa.int32(), "context: how many distinct products the shopper's history counts"),
    ("candidates", pa.int32(), "how many products the policy chose among; 0: no policy drew"),
    ("product_ids", _NAMES, "the banner in display order"),
    ("rows", pa.list_(pa.int32()), "the same as rows of the weights"),
    (
        "log_probs",
        pa.list_(pa.float64()),
        "natural logarithm of each position's probability given those before; null: not drawn",
    ),
)
EVENTS: Final = _schema(
    ("event_id", pa.string(), "of who reported it; the first in the log counts"),
    *_PLACE,
    ("type", pa.string(), "impression, click, add_to_cart, purchase, refund, rating, user_erased"),
    ("occurred_at", _TIME, "as reported, clamped"),
    ("received_at", _TIME, "when the service took it"),
    ("recommendation_id", pa.string(), "the banner it names; null: none"),
    ("user", pa.string(), "pseudonym of the shopper it names; null: none"),
    ("source", pa.string(), "of ratings; `import`: a past purchase, earns nothing"),
    ("product_id", pa.string(), "of clicks, carts and ratings"),
    ("order_id", pa.string(), "of purchases and refunds"),
    ("lines", pa.list_(_LINE), "of purchases and refunds"),
    ("value", pa.float64(), "of ratings"),
)
REWARDS: Final = _schema(
    ("recommendation_id", pa.string(), "of the banner"),
    *_PLACE,
    ("revision", pa.int32(), "0 settles the banner, later ones correct it: the last one holds"),
    ("settled_at", _TIME, "stream time when this revision was made"),
    ("caused_at", _TIME, "append time of the event that caused it; null: it settled by time"),
    ("specification", pa.string(), "version of the reward specification"),
    ("unit", pa.string(), "as of the banner"),
    ("arm", pa.string(), "as of the banner"),
    ("source", pa.string(), "as of the banner"),
    ("trainable", pa.bool_(), "as of the banner"),
    ("policy_version", pa.int64(), "as of the banner"),
    ("reward", pa.float64(), "points of the banner now: the sum over positions"),
    ("points", pa.list_(pa.float64()), "points of each position now"),
    ("delta", pa.list_(pa.float64()), "points minus those of the revision before"),
    ("clicked", pa.list_(pa.int32()), "clicked positions, from 0"),
    ("bought", pa.list_(pa.int32()), "bought positions, refunds taken off"),
)
PRODUCTS: Final = _schema(
    ("row", pa.int32(), "of the weights"),
    ("product_id", pa.string(), ""),
    ("title", pa.string(), ""),
    ("category", pa.string(), "at most three levels, separated by /"),
    ("brand", pa.string(), ""),
    ("price_cents", pa.int64(), "in minor units"),
    ("available", pa.bool_(), "false: withdrawn or sold out"),
)


def _place(record: Record) -> dict[str, Any]:
    return {
        "appended_at": record.appended_at_ms,
        "partition": record.partition.number,
        "offset": record.offset,
    }


def _hex(key: bytes | None) -> str | None:
    return None if key is None else key.hex()


def banner_row(record: Record, event: Recommended, name_of: NameOf) -> Row:
    """Return a banner as a row of BANNERS.

    Raises:
        SchemaError: its packed history or candidates cannot be read.
    """
    past = history.unpack(event.history)
    return _place(record) | {
        "recommendation_id": event.recommendation_id,
        "recommended_at": event.occurred_at_ms,
        "user": _hex(event.user_key),
        "unit": event.unit,
        "arm": event.arm,
        "source": event.source,
        "reason": event.reason,
        "placement": event.placement,
        "deferred": event.deferred,
        "trainable": event.trainable,
        "policy_version": event.policy_version,
        "catalogue_version": event.catalogue_version,
        "viewed_product_id": name_of(event.viewed_row),
        "purchased_product_ids": [name_of(int(row)) for row in past.recent],
        "orders": past.orders,
        "repeats": len(past.rows),
        "candidates": len(candidates.unpack(event.candidates)),
        "product_ids": event.product_ids,
        "rows": event.rows,
        "log_probs": event.log_probs,
    }


def event_row(record: Record, event: Event) -> Row | None:
    """Return any other event as a row of EVENTS; None: a tick, which says nothing of shoppers."""
    if isinstance(event, Tick):
        return None
    order = event if isinstance(event, Purchase | Refund) else None
    return _place(record) | {
        "event_id": event.event_id,
        "type": event.__struct_config__.tag,
        "occurred_at": event.occurred_at_ms,
        "received_at": getattr(event, "received_at_ms", None),
        "recommendation_id": getattr(event, "recommendation_id", None),
        "user": _hex(getattr(event, "user_key", None)),
        "source": getattr(event, "source", None),
        "product_id": getattr(event, "product_id", None),
        "order_id": order.order_id if order else None,
        "lines": [_line(line) for line in order.lines] if order else None,
        "value": getattr(event, "value", None),
    }


def _line(line: Line) -> Row:
    return {
        "product_id": line.product_id,
        "row": line.row,
        "quantity": line.quantity,
        "price_cents": line.price_cents,
    }


def reward_row(record: Record, reward: Reward) -> Row:
    """Return a reward record as a row of REWARDS."""
    return _place(record) | {
        "recommendation_id": reward.recommendation_id,
        "revision": reward.revision,
        "settled_at": reward.settled_at_ms,
        "caused_at": reward.caused_at_ms,
        "specification": reward.specification,
        "unit": reward.unit,
        "arm": reward.arm,
        "source": reward.source,
        "trainable": reward.trainable,
        "policy_version": reward.policy_version,
        "reward": math.fsum(reward.points),
        "points": reward.points,
        "delta": reward.delta,
        "clicked": reward.clicked,
        "bought": reward.bought,
    }


def product_rows(products: Sequence[Product]) -> list[Row]:
    """Return the catalogue as rows of PRODUCTS."""
    return [
        {
            "row": row,
            "product_id": product.product_id,
            "title": product.title,
            "category": product.category,
            "brand": product.brand,
            "price_cents": product.price_cents,
            "available": product.available,
        }
        for row, product in enumerate(products)
    ]
