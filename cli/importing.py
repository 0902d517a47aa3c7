"""From files or a world's past to the log, and from the log to the foundation policy."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import Progress

from cli.clock import now_ms
from cli.errors import CommandFailed
from policy.registry import Registry
from projections.catalogue import Catalogue, read_catalogue
from schemas.codec import decode_event, encode
from schemas.errors import SchemaError
from schemas.events import Purchase, UserErased
from schemas.policies import Manifest
from schemas.products import Product, ProductUpserted
from service.past_purchases import SOURCE as IMPORTED
from service.past_purchases import PastOrderLines, import_purchases
from streams.port import Log, Message, Record
from streams.topics import EVENTS, PRODUCTS

if TYPE_CHECKING:
    from trainer.held_out import HeldOutReport
    from trainer.past_orders import PastOrder

MESSAGES_PER_APPEND = 2_000
RECORDS_PER_POLL = 5_000


@dataclass(slots=True)
class Watch:
    """Shows how far long work is."""

    progress: Progress
    tasks: dict[str, Any] = field(default_factory=dict)

    def step(self, name: str, done: float, total: float | None = None) -> None:
        """Show `done` of `total` for the work called `name`."""
        if name not in self.tasks:
            self.tasks[name] = self.progress.add_task(name, total=total)
        self.progress.update(self.tasks[name], completed=done, total=total)


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import put into the log."""

    products: int
    orders: int
    lines: int
    unknown_products: int
    refused_rows: int = 0
    refused: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """Return the counts and the first refused rows, for machines."""
        return {
            "products": self.products,
            "orders": self.orders,
            "lines": self.lines,
            "unknown_products": self.unknown_products,
            "refused_rows": self.refused_rows,
            "refused": list(self.refused),
        }


def import_into(
    log: Log,
    *,
    secret: bytes,
    products: Sequence[Product],
    orders: Sequence[PastOrderLines],
    watch: Watch,
) -> Imported:
    """Append products, then past orders with the rows the catalogue gives them."""
    upserts = (
        Message(product.product_id.encode(), encode(ProductUpserted(product=product)))
        for product in products
    )
    _append(log, PRODUCTS.name, upserts, len(products), watch)
    rows = read_catalogue(log).row_of
    known = _imported_before(log) if orders else set()
    messages = (
        message
        for event_id, message in import_purchases(orders, secret=secret, rows=rows, now_ms=now_ms())
        if event_id not in known
    )
    _append(log, EVENTS.name, messages, len(orders), watch)
    named = [product_id for order in orders for product_id, _ in order.lines]
    return Imported(
        products=len(products),
        orders=len(orders),
        lines=len(named),
        unknown_products=sum(product_id not in rows for product_id in named),
    )


def _append(log: Log, topic: str, messages: Iterator[Message], total: int, watch: Watch) -> None:
    done = 0
    while chunk := list(islice(messages, MESSAGES_PER_APPEND)):
        log.append(topic, chunk)
        done += len(chunk)
        watch.step(f"into {topic}", done, max(total, done))


def import_files(
    log: Log, *, secret: bytes, products: Path | None, purchases: Path | None, watch: Watch
) -> Imported:
    """Read both files whole, then append what they hold.

    Raises:
        BadUsage: a file cannot be used at all; nothing was appended.
    """
    from cli.files import read_products, read_purchases

    sold = read_products(products) if products else None
    past = read_purchases(purchases) if purchases else None
    if sold is None and not sum(log.end_offsets(PRODUCTS.name).values()):
        raise CommandFailed("the catalogue is empty: give --products FILE too")
    done = import_into(
        log,
        secret=secret,
        products=sold.products if sold else (),
        orders=past.orders if past else (),
        watch=watch,
    )
    refused = [str(row) for file in (sold, past) if file for row in file.refused]
    return Imported(
        products=done.products,
        orders=done.orders,
        lines=done.lines,
        unknown_products=done.unknown_products,
        refused_rows=sum(file.refused_rows for file in (sold, past) if file),
        refused=tuple(refused),
    )


def read_all(log: Log, topic: str) -> Iterator[Record]:
    """Yield every record of a topic that was there when this was called."""
    ends = dict(log.end_offsets(topic))
    left = {part for part, end in ends.items() if end > log.start_offsets(topic).get(part, 0)}
    consumer = log.consumer([topic], group=None)
    try:
        while left:
            for record in consumer.poll(max_records=RECORDS_PER_POLL, timeout_seconds=1.0):
                if record.offset < ends[record.partition]:
                    yield record
                if record.offset + 1 >= ends[record.partition]:
                    left.discard(record.partition)
    finally:
        consumer.close()


def past_orders(log: Log, watch: Watch) -> "list[PastOrder]":
    """Return every order in the log with the products the catalogue knows, by time.

    An order that was delivered twice counts once; parts of a large order are one order.
    """
    from trainer.past_orders import PastOrder

    orders: dict[tuple[bytes, str], tuple[int, dict[int, None]]] = {}
    for count, record in enumerate(read_all(log, EVENTS.name)):
        if count % 1000 == 0:
            watch.step("purchases read", count)
        event = _person_event(record)
        if isinstance(event, UserErased):
            for key in [key for key in orders if key[0] == event.user_key]:
                del orders[key]
        if isinstance(event, Purchase) and event.user_key is not None:
            order = (event.user_key, event.order_id or event.event_id)
            _, rows = orders.setdefault(order, (event.occurred_at_ms, {}))
            rows.update(dict.fromkeys(line.row for line in event.lines if line.row is not None))
    found = [
        PastOrder(user_key=user_key, at_ms=at_ms, rows=tuple(rows))
        for (user_key, _), (at_ms, rows) in orders.items()
        if rows
    ]
    return sorted(found, key=lambda order: (order.at_ms, order.user_key))


def _person_event(record: Record) -> Purchase | UserErased | None:
    """Return a purchase or an erasure; None for everything else, which is mostly not even decoded.

    Of an order for an anonymous banner it is the copy under the shopper's own key.
    """
    told = record.value or b""
    if b'"type":"purchase"' not in told and b'"type":"user_erased"' not in told:
        return None
    try:
        event = decode_event(told)
    except SchemaError:  # the aggregator buries it with its reason
        return None
    if not isinstance(event, Purchase | UserErased) or event.user_key != record.key:
        return None
    return event


def _imported_before(log: Log) -> set[str]:
    """Return the event ids of past orders that are in the log already."""
    events = (_person_event(record) for record in read_all(log, EVENTS.name))
    return {
        event.event_id
        for event in events
        if isinstance(event, Purchase) and event.source == IMPORTED
    }


def pretrain_from_log(
    log: Log, registry: Registry, *, seed: int, device: str, watch: Watch
) -> "tuple[Manifest, HeldOutReport]":
    """Train the foundation on the log's purchases, publish it and put it live.

    Raises:
        CommandFailed: the log holds no products or no purchases.
    """
    from trainer.errors import NotEnoughPastOrders
    from trainer.pretraining import pretrain

    catalogue: Catalogue = read_catalogue(log)
    if not len(catalogue):
        raise CommandFailed("the catalogue is empty: run `quintet import --products FILE` first")
    orders = past_orders(log, watch)
    if not orders:
        raise CommandFailed("the log has no purchases: run `quintet import --purchases FILE` first")
    try:
        weights, report = pretrain(
            orders,
            catalogue.features,
            seed=seed,
            device=device,
            progress=lambda done, text: watch.step(f"pretraining: {text}", done, 1.0),
        )
    except NotEnoughPastOrders as problem:
        raise CommandFailed(str(problem)) from None
    manifest = registry.publish_foundation(
        weights, catalogue_version=catalogue.version, health=_figures(report)
    )
    registry.promote(manifest.version, reason="pretrained")
    return manifest, report


def as_orders(orders: Iterable[Any]) -> list[PastOrderLines]:
    """Return a simulated world's past as the orders that an import takes."""
    return [
        PastOrderLines(
            user_id=order.user_id,
            occurred_at_ms=int(order.occurred_at.timestamp() * 1000),
            order_id=order.order_id,
            lines=[(product_id, 1) for product_id in order.product_ids],
        )
        for order in orders
    ]


def held_out_rows(report: "HeldOutReport") -> list[dict[str, object]]:
    """Return the report as one row for the policy and each heuristic."""
    named = {
        "policy": report.policy,
        "own frequent products": report.own_frequent,
        "popularity": report.popularity,
    }
    return [
        {
            "banner": name,
            "recall_at_5": f"{quality.recall_at_5:.4f}",
            "ndcg_at_5": f"{quality.ndcg_at_5:.4f}",
            "hits_of_5": f"{quality.hits:.4f}",
        }
        for name, quality in named.items()
    ]


def _figures(report: "HeldOutReport") -> dict[str, float]:
    return {
        "held_out_recall_at_5": report.policy.recall_at_5,
        "held_out_ndcg_at_5": report.policy.ndcg_at_5,
        "held_out_own_frequent_recall_at_5": report.own_frequent.recall_at_5,
        "held_out_popularity_recall_at_5": report.popularity.recall_at_5,
        "sharpness": report.sharpness,
    }
