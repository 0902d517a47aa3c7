"""The names of what earns most together."""

import numpy as np

from policy.architecture import PAIR_GROUPS
from policy.features import category_code
from policy.pairs import CategoryPair, strongest_pairs
from schemas.products import Product


def product(row: int, category: str | None) -> Product:
    return Product(product_id=f"p{row}", title="thing", category=category)


def group(category: str) -> int:
    return category_code(product(0, category)) % PAIR_GROUPS


def table(*lifts: tuple[str, str, float]) -> dict[str, np.ndarray]:
    pairs = np.zeros((PAIR_GROUPS, PAIR_GROUPS), np.float32)
    for first, second, nats in lifts:
        pairs[group(first), group(second)] = pairs[group(second), group(first)] = nats
    return {"value_pairs": pairs}


SHELF = [
    product(row, category)
    for row, category in enumerate(["Pasta", "pasta", "Sauce", "Soap", "Towels", None, ""])
]


def test_the_longest_lifts_come_first_by_the_names_of_their_categories() -> None:
    weights = table(("Soap", "Towels", 0.5), ("Sauce", "Pasta", 1.5), ("Soap", "Pasta", -3.0))

    found = strongest_pairs(weights, SHELF, count=10)

    assert found == [CategoryPair("Pasta", "Sauce", 1.5), CategoryPair("Soap", "Towels", 0.5)]


def test_only_as_many_as_wanted_and_only_what_the_shop_sells() -> None:
    weights = table(("Soap", "Towels", 0.5), ("Sauce", "Pasta", 1.5), ("Gold", "Pasta", 9.0))

    assert strongest_pairs(weights, SHELF, count=1) == [CategoryPair("Pasta", "Sauce", 1.5)]


def test_a_category_with_itself_is_no_pair_and_a_foundation_has_none() -> None:
    assert strongest_pairs(table(("Soap", "Soap", 2.0)), SHELF, count=10) == []
    assert strongest_pairs(table(), SHELF, count=10) == []
    assert strongest_pairs(table(), [], count=10) == []


def test_a_group_of_several_categories_is_called_by_the_two_of_most_products() -> None:
    alike = [f"twin{n}" for n in range(10_000) if group(f"twin{n}") == group("Soap")]
    few, many = alike[:2]
    weights = table(("Soap", "Pasta", 1.0))
    shelf = [*SHELF, product(9, many), product(10, many)]

    two = strongest_pairs(weights, shelf, count=10)
    three = strongest_pairs(weights, [*shelf, product(11, few)], count=10)

    assert two == [CategoryPair("Pasta", f"{many} or Soap", 1.0)]
    assert three == [CategoryPair("Pasta", f"{many} or Soap …", 1.0)]
