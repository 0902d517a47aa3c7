"""Product and purchase files: what `quintet import` takes.

products    product_id,title[,category,brand,price_cents,image_url,available]
purchases   user_id,product_id,occurred_at[,order_id,quantity]
Times are RFC 3339, or `YYYY-MM-DD` with or without ` HH:MM:SS`; without an offset they are UTC. An
empty value is the same as an absent column. Rows of one order belong together by `order_id`, or
without one by their time.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar, get_args

import msgspec

from cli.tables import Columns, FileRefused, Refusals, RefusedRow, RowRefused, rows_of
from schemas.limits import Cents, Identifier, Text
from schemas.products import Product
from service.past_purchases import PastOrderLines

__all__ = ["FileRefused", "ProductsFile", "PurchasesFile", "read_products", "read_purchases"]

T = TypeVar("T")

PRODUCT_COLUMNS: Final = Columns(
    ("product_id", "title"), ("category", "brand", "price_cents", "image_url", "available")
)
PURCHASE_COLUMNS: Final = Columns(
    ("user_id", "product_id", "occurred_at"), ("order_id", "quantity")
)
MOST_PIECES: Final = 1_000_000
_AVAILABLE: Final = {
    "": True, "true": True, "1": True, "yes": True, "false": False, "0": False, "no": False,
}  # fmt: skip
_MOMENT: Final = re.compile(
    r"\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)?)?", re.ASCII
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ProductsFile:
    """What a product file holds.

    Attributes:
        products: the good rows, in their order.
        refused: the first refused rows.
        refused_rows: how many rows were refused.
        reasons: how many for each reason.
    """

    products: Sequence[Product]
    refused: Sequence[RefusedRow]
    refused_rows: int
    reasons: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class PurchasesFile:
    """What a purchase file holds.

    Attributes:
        orders: orders of the good rows, oldest first; a product stands once in an order.
        lines: how many rows are in them.
        refused: the first refused rows.
        refused_rows: how many rows were refused.
        reasons: how many for each reason.
    """

    orders: Sequence[PastOrderLines]
    lines: int
    refused: Sequence[RefusedRow]
    refused_rows: int
    reasons: Mapping[str, int]


def read_products(path: Path) -> ProductsFile:
    """Return the products of a file; bad rows are left out, with their lines, and counted.

    A product that stands in the file twice is taken from its first row.

    Raises:
        FileRefused: the file cannot be used, or no row of it.
    """
    refusals = Refusals(path)
    lines: dict[str, int] = {}
    products: list[Product] = []
    for line, values in rows_of(path, PRODUCT_COLUMNS, refusals):
        try:
            product = _product(values)
        except RowRefused as refusal:
            refusals.add(line, refusal)
            continue
        first = lines.setdefault(product.product_id, line)
        if first == line:
            products.append(product)
        else:
            found = f"{product.product_id}, first on line {first}"
            refusals.add(line, RowRefused("product_id stands in the file already", found))
    _require_rows(products, refusals)
    return ProductsFile(products, refusals.examples, refusals.reasons.total(), refusals.reasons)


def read_purchases(path: Path) -> PurchasesFile:
    """Return the orders of a file; bad rows are left out, with their lines, and counted.

    Raises:
        FileRefused: the file cannot be used, or no row of it.
    """
    refusals = Refusals(path)
    user, product, order = (
        _Remembered(_identifier(name)) for name in ("user_id", "product_id", "order_id")
    )
    moment, quantity = _Remembered(_milliseconds), _Remembered(_quantity)
    orders: dict[tuple[str, str | int], _Order] = {}
    lines = 0
    for line, (user_id, product_id, occurred_at, order_id, pieces) in rows_of(
        path, PURCHASE_COLUMNS, refusals
    ):
        try:
            at_ms = moment[occurred_at]
            key = (user[user_id], order[order_id] if order_id else at_ms)
            bought, count = product[product_id], quantity[pieces]
        except RowRefused as refusal:
            refusals.add(line, refusal)
            continue
        lines += 1
        found = orders.get(key)
        if found is None:
            found = orders[key] = _Order(at_ms, Counter())
        found.at_ms = min(found.at_ms, at_ms)
        found.pieces[bought] += count
    _require_rows(orders, refusals)
    return PurchasesFile(
        orders=_oldest_first(orders),
        lines=lines,
        refused=refusals.examples,
        refused_rows=refusals.reasons.total(),
        reasons=refusals.reasons,
    )


@dataclass(slots=True)
class _Order:
    at_ms: int
    pieces: Counter[str]


def _oldest_first(orders: Mapping[tuple[str, str | int], _Order]) -> list[PastOrderLines]:
    by_time = sorted(orders.items(), key=lambda found: found[1].at_ms)  # equal times: file order
    return [
        PastOrderLines(
            user_id=user_id,
            occurred_at_ms=order.at_ms,
            order_id=name if isinstance(name, str) else None,
            lines=[(product, min(count, MOST_PIECES)) for product, count in order.pieces.items()],
        )
        for (user_id, name), order in by_time
    ]


def _require_rows(taken: Sequence[object] | Mapping[Any, object], refusals: Refusals) -> None:
    if taken:
        return
    if not refusals.examples:
        raise FileRefused(refusals.path, "there are no rows below the header", "add some")
    first, count = refusals.examples[0], refusals.reasons.total()
    problem = f"{first.reason} (found {first.found})"
    remedy = f"none of the {count} rows can be taken: mend them"
    raise FileRefused(refusals.path, problem, remedy, line=first.line)


class _Remembered(dict[str, T]):
    """Parses each text once: files repeat their users, products and times."""

    def __init__(self, parse: Callable[[str], T]) -> None:
        super().__init__()
        self._parse = parse

    def __missing__(self, text: str) -> T:
        value = self[text] = self._parse(text)
        return value


def _limits(kind: Any) -> msgspec.Meta:  # noqa: ANN401  (an Annotated alias)
    found: msgspec.Meta = get_args(kind)[1]
    return found


_TEXT: Final = _limits(Text)
_NAME: Final = _limits(Identifier)
_TEXT_ALLOWED: Final = re.compile(_TEXT.pattern or "")
_NAME_ALLOWED: Final = re.compile(_NAME.pattern or "")
_MOST_TEXT: Final = _TEXT.max_length or 0
_MOST_NAME: Final = _NAME.max_length or 0
_MOST_CENTS: Final = int(_limits(Cents).le or 0)


def _identifier(column: str) -> Callable[[str], str]:
    reason = f"{column} must have 1 to {_MOST_NAME} characters, no control characters"

    def parse(text: str) -> str:
        if not 0 < len(text) <= _MOST_NAME or _NAME_ALLOWED.fullmatch(text) is None:
            raise RowRefused(reason, text)
        return text

    return parse


_product_id = _identifier("product_id")


def _product(values: Sequence[str]) -> Product:
    product_id, title, category, brand, price, image_url, available = values
    if not title.strip():
        raise RowRefused("title is empty", title)
    for column, text in zip(PRODUCT_COLUMNS.names[1:], values[1:], strict=True):
        if len(text) > _MOST_TEXT or _TEXT_ALLOWED.fullmatch(text) is None:
            raise RowRefused(f"{column} must have at most {_MOST_TEXT} characters, no NUL", text)
    shown = _AVAILABLE.get(available.strip().lower())
    if shown is None:
        raise RowRefused("available must be true, false, 1, 0, yes or no", available)
    return Product(
        product_id=_product_id(product_id),
        title=title,
        category=category or None,
        brand=brand or None,
        price_cents=_cents(price),
        image_url=image_url or None,
        available=shown,
    )


def _cents(text: str) -> int | None:
    digits = text.strip()
    if not digits:
        return None
    number = _whole(digits)
    if number is None or number > _MOST_CENTS:
        raise RowRefused("price_cents must be a whole number >= 0 (4.99 is 499)", text)
    return number


def _quantity(text: str) -> int:
    number = _whole(text.strip() or "1")
    if number is None or not 1 <= number <= MOST_PIECES:
        raise RowRefused(f"quantity must be a whole number from 1 to {MOST_PIECES}", text)
    return number


def _whole(digits: str) -> int | None:
    return int(digits) if len(digits) <= 18 and digits.isascii() and digits.isdigit() else None


def _milliseconds(text: str) -> int:
    """Return milliseconds since 1970; raises RowRefused."""
    reason = "occurred_at must be RFC 3339 or YYYY-MM-DD[ HH:MM:SS] (taken as UTC), from 1970 on"
    stripped = text.strip()
    if _MOMENT.fullmatch(stripped) is None:
        raise RowRefused(reason, text)
    try:
        moment = datetime.fromisoformat(stripped.upper())
    except ValueError as problem:
        raise RowRefused(reason, text) from problem
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    at_ms = (moment - _EPOCH) // timedelta(milliseconds=1)
    if at_ms < 0:
        raise RowRefused(reason, text)
    return at_ms
