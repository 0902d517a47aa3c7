"""Search in the catalogue, for the storefront page."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from schemas.products import Product


class CatalogueView(Protocol):
    """What the console reads of `projections.catalogue.Catalogue`."""

    @property
    def version(self) -> int:
        """Offset after the last product record applied."""
        ...

    @property
    def products(self) -> Sequence[Product]:
        """Every product by row."""
        ...

    @property
    def row_of(self) -> Mapping[str, int]:
        """The row of a product id."""
        ...


class ProductPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of products; an empty `next_page_token` is the end."""

    products: Sequence[Product]
    total: int
    """How many products match."""
    next_page_token: str = ""


class Shelf:
    """The catalogue made searchable; rebuilt when the catalogue changed."""

    def __init__(self, catalogue: CatalogueView) -> None:
        self.version = catalogue.version
        self._products = [product for product in catalogue.products if product.available]
        self._words = [
            f"{product.title} {product.brand or ''} {product.category or ''}".casefold()
            for product in self._products
        ]

    def find(self, query: str, *, start: int, size: int) -> ProductPage:
        """Return available products in whose title, brand and category every word of `query` is.

        Args:
            query: words, in any order; empty finds everything.
            start: how many matches to skip.
            size: at most so many products.
        """
        words = query.casefold().split()
        found = [
            product
            for product, text in zip(self._products, self._words, strict=True)
            if all(word in text for word in words)
        ]
        end = start + size
        return ProductPage(
            products=found[start:end],
            total=len(found),
            next_page_token=str(end) if end < len(found) else "",
        )
