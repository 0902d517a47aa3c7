"""The topic `products`: upserts and removals, in the order that gives every product its row."""

from typing import Literal

import msgspec

from schemas.limits import Cents, Identifier, Text


class Product(msgspec.Struct, frozen=True, kw_only=True):
    """One product as a shop describes it.

    Fields that a later version adds are ignored: a record that were skipped would give every
    product after it another row.
    """

    product_id: Identifier
    title: Text
    category: Text | None = None
    """A path of at most three levels separated by `/`, from wide to narrow."""
    brand: Text | None = None
    price_cents: Cents | None = None
    image_url: Text | None = None
    available: bool = True


class ProductIn(Product, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One product in the body of `PUT /products`, where an unknown field is a mistake."""


class ProductUpserted(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="product_upserted"
):
    """A product appeared or changed; the first record of a product gives it its row."""

    schema_version: Literal[1] = 1
    product: Product


class ProductRemoved(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="product_removed"
):
    """A product may no longer be shown; its row is never reused."""

    schema_version: Literal[1] = 1
    product_id: Identifier


ProductRecord = ProductUpserted | ProductRemoved
