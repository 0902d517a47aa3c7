"""The files of a tiny shop, as `quintet import` takes them."""

from pathlib import Path

import numpy as np

USERS, PRODUCTS = 40, 30


def write_files(folder: Path) -> tuple[Path, Path]:
    """Write a tiny shop whose shoppers buy what they bought before."""
    rng = np.random.default_rng(3)
    products, purchases = folder / "products.csv", folder / "purchases.csv"
    products.write_text(
        "product_id,title,category,brand,price_cents\n"
        + "".join(f"p{n},Product {n},c{n % 3},b{n % 5},{100 + n}\n" for n in range(PRODUCTS))
    )
    lines = [
        f"u{user},p{product},2025-01-0{day + 1}T08:{user:02d}:00Z,o{user}-{day}"
        for user in range(USERS)
        for day in range(6)
        for product in sorted({int(rng.integers(PRODUCTS)), user % PRODUCTS})
    ]
    purchases.write_text("user_id,product_id,occurred_at,order_id\n" + "\n".join(lines) + "\n")
    return products, purchases
