"""What the shop of aisles sells: departments, aisles, shelves, and products that stand on them.

Dimensions: N products, S shelves, M missions.

On every shelf a few products carry most of the demand. A product's category, title, brand and price
tell where it stands, who made it and what it costs; how much it draws the eye and how well it
converts have to be learned from what shoppers do.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.products import Product

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BRANDS: Final = 30
MISSION_SHELVES: Final = 4
HEAD_APPEAL: Final = 0.1
"""Correlation of what sells most on a shelf with what converts on a banner."""
_PRODUCTS_PER_SHELF: Final = 20
_SHELVES: Final = (2, 600)
_SHELF_HEAVINESS: Final = 0.2
_PRODUCT_HEAVINESS: Final = 1.1
"""Exponents of demand by rank, among shelves and on a shelf."""
_DEPARTMENTS: Final = (
    ("Fresh", ("Fruit", "Vegetables", "Salad", "Herbs", "Flowers", "Juice")),
    ("Chilled", ("Cheese", "Yoghurt", "Milk", "Butter", "Tofu", "Eggs")),
    ("Cupboard", ("Beans", "Flour", "Noodles", "Oats", "Vinegar", "Spices")),
    ("Drinks", ("Tea", "Cocoa", "Water", "Lemonade", "Cider", "Malt")),
    ("Frozen", ("Peas", "Ice", "Pizza", "Fish", "Dough", "Berries")),
    ("Home", ("Cleaning", "Laundry", "Light", "Tools", "Paint", "Storage")),
    ("Care", ("Hair", "Teeth", "Skin", "Shaving", "Baby", "Health")),
    ("Pets", ("Dogs", "Cats", "Birds", "Aquarium", "Hay", "Toys")),
)
_SHELF_NAMES: Final = ("Everyday", "Special")
_TIERS: Final = ("Basic", "Good", "Fine", "Choice")
_SYLLABLES: Final = ("Ma", "No", "Pel", "Qui", "Ros", "Sta", "Tir", "Vo")


@dataclass(frozen=True, slots=True)
class Shelves:
    """The products of the shop of aisles and where they stand.

    Attributes:
        products: N of them, in row order.
        shelf: (N,) in [0, S).
        aisle: (S,) the aisle of each shelf; the shelves of an aisle are neighbours.
        department: (S,) the department of each shelf.
        demand: (S,) share of the past's demand, sums to one.
        order: (N,) rows shelf by shelf, the best-selling first.
        start: (S + 1,) the rows of shelf s are order[start[s]:start[s + 1]].
        share: (N,) share of the shelf's demand, sums to one on each shelf.
        renown: (N,) log share, standardised over the shop.
        brand: (N,) in [0, BRANDS).
        tier: (N,) log-price against its shelf, standard normal.
        looks: (N,) standard normal, how much a product draws the eye.
        appeal: (N,) standard normal, how well it converts.
        missions: (M, 4) shelves of one purpose, from anywhere in the shop.
    """

    products: tuple[Product, ...]
    shelf: Ints
    aisle: Ints
    department: Ints
    demand: Array
    order: Ints
    start: Ints
    share: Array
    renown: Array
    brand: Ints
    tier: Array
    looks: Array
    appeal: Array
    missions: Ints

    def on(self, shelf: int) -> Ints:
        """Return the rows of a shelf, the best-selling first."""
        return self.order[self.start[shelf] : self.start[shelf + 1]]


def make_shelves(size: int, rng: np.random.Generator) -> Shelves:
    """Return `size` products drawn from `rng`, on a shelf per twenty."""
    count = int(np.clip(size // _PRODUCTS_PER_SHELF, *_SHELVES)) // 2 * 2
    aisle = np.arange(count) // 2
    department = aisle % len(_DEPARTMENTS)
    demand = _heavy(rng.permutation(count), _SHELF_HEAVINESS)
    shelf = rng.permutation(np.arange(size) % count)
    looks, appeal, other = rng.normal(size=(3, size))
    liked = HEAD_APPEAL * appeal + np.sqrt(1.0 - HEAD_APPEAL**2) * other
    order = np.lexsort((-liked, shelf))
    start = np.searchsorted(shelf[order], np.arange(count + 1))
    rank = np.empty(size, np.int64)
    rank[order] = np.arange(size) - start[shelf[order]]
    share = _heavy(rank, _PRODUCT_HEAVINESS)
    share /= np.bincount(shelf, share, count)[shelf]
    renown = np.log(share)
    brand = rng.integers(BRANDS, size=size)
    tier = rng.normal(size=size)
    price_cents = np.round(np.exp(rng.normal(6.0, 0.5, count)[shelf] + 0.4 * tier)).astype(int)
    missions = np.array(
        [
            rng.choice(count, min(MISSION_SHELVES, count), replace=False, p=demand)
            for _ in range(max(2, count // 3))
        ]
    )
    products = tuple(
        _product(row, int(shelf[row]), int(brand[row]), float(tier[row]), int(price_cents[row]))
        for row in range(size)
    )
    return Shelves(
        products=products,
        shelf=shelf,
        aisle=aisle,
        department=department,
        demand=demand / demand.sum(),
        order=order,
        start=start,
        share=share,
        renown=(renown - renown.mean()) / (renown.std() + 1e-9),
        brand=brand,
        tier=tier,
        looks=looks,
        appeal=appeal,
        missions=missions,
    )


def _heavy(rank: Ints, exponent: float) -> Array:
    """Return weights that fall with the rank; over all ranks they sum to one."""
    weights = (1.0 + rank) ** -exponent
    return np.asarray(weights / weights.sum())


def _product(row: int, shelf: int, brand: int, tier: float, price_cents: int) -> Product:
    aisle = shelf // 2
    department, goods = _DEPARTMENTS[aisle % len(_DEPARTMENTS)]
    turn, good = divmod(aisle // len(_DEPARTMENTS), len(goods))
    name = goods[good] + (f" {turn + 1}" if turn else "")
    kind = _SHELF_NAMES[shelf % 2]
    maker = _SYLLABLES[brand // 8] + _SYLLABLES[brand % 8].lower() + "ra"
    quality = _TIERS[int(np.searchsorted([-0.7, 0.0, 0.7], tier))]
    return Product(
        product_id=f"p{row}",
        title=f"{maker} {quality} {kind} {name} No {row}",
        category=f"{department}/{name}/{kind}",
        brand=maker,
        price_cents=price_cents,
    )
