"""One version of the catalogue, as the service and the trainer read it: arrays by row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from policy.features import ProductFeatures, encode_products
from projections.codes import NameCodes
from schemas.codec import encode
from schemas.products import Product
from schemas.requests import Filter

Mask = npt.NDArray[np.uint8]

UNKNOWN_PRICE: Final = -1
_REMEMBERED_FILTERS: Final = 32


class _Shown(msgspec.Struct, frozen=True):
    """`schemas.requests.RecommendedProduct` without its position."""

    product_id: str
    title: str
    category: str | None
    brand: str | None
    price_cents: int | None
    image_url: str | None


def fragment_of(product: Product) -> bytes:
    """Return the JSON of a product in an answer, without the opening brace and the position.

    Example:
        >>> fragment_of(Product(product_id="p1", title="Apple"))[:32]
        b'"product_id":"p1","title":"Apple'
    """
    shown = _Shown(
        product.product_id,
        product.title,
        product.category,
        product.brand,
        product.price_cents,
        product.image_url,
    )
    return encode(shown)[1:]


@dataclass(frozen=True, slots=True, eq=False)
class Catalogue:
    """One version of everything that can be sold. Its arrays are shared: nobody writes to them.

    Attributes:
        version: offset after the last product record in it; 0: empty.
        row_of: row by product id.
        products: by row.
        available: (N,) uint8, 1 where the product may be shown.
        price_cents: (N,) int64, minor units; -1: unknown.
        category_codes, brand_codes: (N,) int32, of `categories` and `brands`; -1: none.
        features: what the policy sees of each product; the same object as in the version before
            when no product's features changed.
        fragments: JSON of each product in an answer: an object's body without the opening brace
            and the position, so that `b'{"position":0,' + fragments[row]` is the object.
    """

    version: int
    row_of: Mapping[str, int]
    products: Sequence[Product]
    available: Mask
    price_cents: npt.NDArray[np.int64]
    category_codes: npt.NDArray[np.int32]
    brand_codes: npt.NDArray[np.int32]
    features: ProductFeatures
    fragments: Sequence[bytes]
    categories: NameCodes
    brands: NameCodes
    _filtered: dict[Filter, Mask] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.products)

    def eligible(self, asked: Filter | None = None) -> Mask:
        """Return (N,) uint8, 1 where a product is available and passes the filter.

        A category passes with its full path or a leading part of it. Upper and lower case are the
        same. A product without a category, brand or price fails a filter on it; an empty list is
        no filter. Without a filter the answer is `available` itself.
        """
        if asked is None:
            return self.available
        found = self._filtered.get(asked)
        if found is None:
            found = self._filter(asked)
            if len(self._filtered) >= _REMEMBERED_FILTERS:
                self._filtered.clear()
            self._filtered[asked] = found
        return found

    def _filter(self, asked: Filter) -> Mask:
        found = self.available
        if asked.category:
            found = found & self.categories.mask(self.category_codes, asked.category)
        if asked.brand:
            found = found & self.brands.mask(self.brand_codes, asked.brand)
        if asked.max_price_cents is not None:
            cheap = (self.price_cents <= asked.max_price_cents) & (self.price_cents >= 0)
            found = found & cheap.astype(np.uint8)
        return found


def empty() -> Catalogue:
    """Return the catalogue before the first product."""
    return Catalogue(
        version=0,
        row_of={},
        products=(),
        available=np.zeros(0, np.uint8),
        price_cents=np.zeros(0, np.int64),
        category_codes=np.zeros(0, np.int32),
        brand_codes=np.zeros(0, np.int32),
        features=encode_products(()),
        fragments=(),
        categories=NameCodes(separator="/"),
        brands=NameCodes(),
    )
