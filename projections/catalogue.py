"""The catalogue: what the topic `products` says can be sold, one version after another.

A product's row is the order of its first appearance and never reused; a removed product keeps its
row and is not available. The version of a catalogue is the offset after the last record in it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
import structlog

from policy.features import ProductFeatures, encode_products
from projections.catalogue_view import UNKNOWN_PRICE, Catalogue, empty, fragment_of
from projections.errors import CatalogueNotReadable
from schemas.codec import decode_product
from schemas.errors import SchemaError
from schemas.products import Product, ProductUpserted
from streams.port import Consumer, Log, Partition, Record
from streams.topics import PRODUCTS

__all__ = ["Catalogue", "CatalogueProjection", "catalogue_at", "read_catalogue", "read_up_to"]

log = structlog.get_logger(__name__)

Number = TypeVar("Number", bound=np.generic)
Unreadable = Callable[[Record, str], None]
"""Is told every record that could not be read, and why."""

_RECORDS: Final = 5000
_POLL_SECONDS: Final = 1.0
_EMPTY_POLLS: Final = 30


class CatalogueProjection:
    """Follows the topic `products`; a batch of records makes one new Catalogue.

    Args:
        on_unreadable: is told of records that are skipped because they cannot be read.
        on_records: is given all records that were not in it yet, before they are applied.
    """

    def __init__(
        self,
        *,
        on_unreadable: Unreadable | None = None,
        on_records: Callable[[Sequence[Record]], None] | None = None,
    ) -> None:
        self.current = empty()
        """The catalogue now; whoever holds an older one keeps it as it was."""
        self.unreadable = 0
        """Records skipped so far."""
        self._on_unreadable = on_unreadable
        self._on_records = on_records

    def apply(self, records: Sequence[Record]) -> Catalogue:
        """Return the catalogue after more records, in the order of their offsets.

        Records that are in it already change nothing.
        """
        before = self.current
        fresh = [record for record in records if record.offset >= before.version]
        if fresh and self._on_records is not None:
            self._on_records(fresh)
        return self.restore(fresh)

    def restore(self, fresh: Sequence[Record]) -> Catalogue:
        """Return the catalogue after records that it does not hold, without telling `on_records`.

        For records that come from where those are kept.
        """
        before = self.current
        if fresh:
            row_of = dict(before.row_of)
            changes: dict[int, Product] = {}
            for record in fresh:
                self._take(record, row_of, changes)
            self.current = _changed(before, row_of, changes, version=fresh[-1].offset + 1)
        return self.current

    def _take(self, record: Record, row_of: dict[str, int], changes: dict[int, Product]) -> None:
        try:
            fact = decode_product(record.value)
        except SchemaError as problem:
            self.unreadable += 1
            log.warning("product_not_readable", offset=record.offset, why=str(problem))
            if self._on_unreadable is not None:
                self._on_unreadable(record, str(problem))
            return
        if isinstance(fact, ProductUpserted):
            product = fact.product
            changes[row_of.setdefault(product.product_id, len(row_of))] = product
            return
        row = row_of.get(fact.product_id)
        if row is not None:
            product = changes[row] if row in changes else self.current.products[row]
            changes[row] = msgspec.structs.replace(product, available=False)


def _changed(
    before: Catalogue, row_of: Mapping[str, int], changes: Mapping[int, Product], *, version: int
) -> Catalogue:
    """Return the catalogue with some rows changed or added."""
    known = len(before)
    rows = [
        row for row, product in changes.items() if row >= known or product != before.products[row]
    ]
    if not rows:
        return replace(before, version=version)
    count = len(row_of)
    changed = [changes[row] for row in rows]
    products = [*before.products, *(changes[row] for row in range(known, count))]
    fragments = [*before.fragments, *(b"" for _ in range(known, count))]
    for row, product in zip(rows, changed, strict=True):
        products[row] = product
        fragments[row] = fragment_of(product)

    def column(old: npt.NDArray[Number], values: Iterable[int]) -> npt.NDArray[Number]:
        new = _grown(old, count)
        new[rows] = np.fromiter(values, old.dtype, len(rows))
        return new

    category, brand = before.categories.code, before.brands.code
    return Catalogue(
        version=version,
        row_of=row_of,
        products=products,
        available=column(before.available, (product.available for product in changed)),
        price_cents=column(
            before.price_cents,
            (UNKNOWN_PRICE if p.price_cents is None else p.price_cents for p in changed),
        ),
        category_codes=column(before.category_codes, (category(p.category) for p in changed)),
        brand_codes=column(before.brand_codes, (brand(p.brand) for p in changed)),
        features=_features(before, count, dict(zip(rows, changed, strict=True))),
        fragments=fragments,
        categories=before.categories,
        brands=before.brands,
    )


def _grown(old: npt.NDArray[Number], count: int) -> npt.NDArray[Number]:
    new = np.zeros((count, *old.shape[1:]), old.dtype)
    new[: len(old)] = old
    return new


def _features(before: Catalogue, count: int, changed: Mapping[int, Product]) -> ProductFeatures:
    rows = [
        row
        for row, product in changed.items()
        if row >= len(before) or _seen(product) != _seen(before.products[row])
    ]
    if not rows:
        return before.features
    old, new = before.features, encode_products([changed[row] for row in rows])
    buckets, weights = _grown(old.buckets, count), _grown(old.weights, count)
    categories = _grown(old.categories, count)
    buckets[rows], weights[rows], categories[rows] = new.buckets, new.weights, new.categories
    return ProductFeatures(buckets, weights, categories)


def _seen(product: Product) -> tuple[str, str | None, str | None, int | None]:
    """Return what features are made of."""
    return product.title, product.category, product.brand, product.price_cents


def read_catalogue(
    products: Log, *, up_to: int | None = None, on_unreadable: Unreadable | None = None
) -> Catalogue:
    """Return the catalogue as the log has it now, or as it was at a version.

    Args:
        products: the log.
        up_to: a version, as a snapshot or a recommendation names it; None: everything.
        on_unreadable: is told of records that are skipped because they cannot be read.

    Raises:
        CatalogueNotReadable: the log does not reach that version.
        LogUnavailable: the log cannot be reached.
    """
    partition = Partition(PRODUCTS.name, 0)
    end = products.end_offsets(PRODUCTS.name).get(partition, 0)
    if up_to is not None and up_to > end:
        raise CatalogueNotReadable(f"version {up_to} was asked, the log ends at {end}")
    projection = CatalogueProjection(on_unreadable=on_unreadable)
    consumer = products.consumer([PRODUCTS.name], group=None)
    try:
        read_up_to(projection, consumer, end if up_to is None else up_to)
    finally:
        consumer.close()
    return projection.current


def read_up_to(projection: CatalogueProjection, consumer: Consumer, goal: int) -> None:
    """Bring a projection to a version that the log reaches; the consumer then stands there too.

    A broker's consumer has nothing at its first polls: an empty poll is not the end. The last poll
    may have read beyond the goal; what it did is read again by who goes on with the consumer.

    Raises:
        CatalogueNotReadable: nothing came for half a minute.
        LogUnavailable: the log cannot be reached.
    """
    empty_polls = 0
    while projection.current.version < goal:
        records = consumer.poll(max_records=_RECORDS, timeout_seconds=_POLL_SECONDS)
        projection.apply([record for record in records if record.offset < goal])
        if records and records[-1].offset + 1 >= goal:
            consumer.seek(records[-1].partition, goal)
            return
        empty_polls = 0 if records else empty_polls + 1
        if empty_polls == _EMPTY_POLLS:
            at = projection.current.version
            raise CatalogueNotReadable(f"nothing can be read between offset {at} and {goal}")


def catalogue_at(products: Log, version: int) -> Catalogue:
    """Return the catalogue as it was at a version: what a recorded draw was made from.

    Raises:
        CatalogueNotReadable: the log does not reach that version.
        LogUnavailable: the log cannot be reached.
    """
    return read_catalogue(products, up_to=version)
