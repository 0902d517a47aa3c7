"""The names of what earns most together."""

import numpy as np

from policy.pairs import CategoryPair, strongest_pairs
from schemas.products import Product
from tests.policies import pair_group, pair_table


def product(row: int, category: str | None) -> Product:
    return Product(product_id=f"p{row}", title="thing", category=category)


def weights(*lifts: tuple[str, str, float]) -> dict[str, np.ndarray]:
    return {"value_pairs": pair_table(*lifts)}


SHELF = [
    product(row, category)
    for row, category in enumerate(["Pasta", "pasta", "Sauce", "Soap", "Towels", None, ""])
]


def test_the_longest_lifts_come_first_by_the_names_of_their_categories() -> None:
    lifted = weights(("Soap", "Towels", 0.5), ("Sauce", "Pasta", 1.5), ("Soap", "Pasta", -3.0))

    found = strongest_pairs(lifted, SHELF, count=10)

    assert found == [CategoryPair("Pasta", "Sauce", 1.5), CategoryPair("Soap", "Towels", 0.5)]


def test_only_as_many_as_wanted_and_only_what_the_shop_sells() -> None:
    lifted = weights(("Soap", "Towels", 0.5), ("Sauce", "Pasta", 1.5), ("Gold", "Pasta", 9.0))

    assert strongest_pairs(lifted, SHELF, count=1) == [CategoryPair("Pasta", "Sauce", 1.5)]


def test_a_category_with_itself_is_no_pair_and_a_foundation_has_none() -> None:
    assert strongest_pairs(weights(("Soap", "Soap", 2.0)), SHELF, count=10) == []
    assert strongest_pairs(weights(), SHELF, count=10) == []
    assert strongest_pairs(weights(), [], count=10) == []


def test_a_group_of_several_categories_is_called_by_the_two_of_most_products() -> None:
    alike = [f"twin{n}" for n in range(10_000) if pair_group(f"twin{n}") == pair_group("Soap")]
    few, many = alike[:2]
    lifted = weights(("Soap", "Pasta", 1.0))
    shelf = [*SHELF, product(9, many), product(10, many)]

    two = strongest_pairs(lifted, shelf, count=10)
    three = strongest_pairs(lifted, [*shelf, product(11, few)], count=10)

    assert two == [CategoryPair("Pasta", f"{many} or Soap", 1.0)]
    assert three == [CategoryPair("Pasta", f"{many} or Soap …", 1.0)]
