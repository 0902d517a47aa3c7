"""Weights that would show everybody the same product are refused; a preference is not."""

import numpy as np
import pytest

from policy.architecture import FEATURES, expected_shapes
from policy.errors import SnapshotRejected
from policy.features import ProductFeatures
from policy.serving import ServingPolicy
from service.collapse import check_leap, favourite_share


def policy(products: int, *, ahead: float = 0.0) -> ServingPolicy:
    """Return a policy whose product 3 is ahead of all others by so much in every context."""
    rng = np.random.default_rng(7)
    weights = {
        name: (0.05 * rng.standard_normal(shape)).astype(dtype)
        for name, (shape, dtype) in expected_shapes(products).items()
    }
    weights["neighbour_rows"] = np.full_like(weights["neighbour_rows"], -1)
    weights["neighbour_weights"][:] = 0
    weights["popularity"] = np.abs(weights["popularity"])
    weights["sharpness"][:] = 1
    weights["bias_rows"][:] = 0
    weights["bias_rows"][3] = ahead
    features = ProductFeatures(
        buckets=np.zeros((products, FEATURES), np.int32),
        weights=np.zeros((products, FEATURES), np.float32),
        categories=np.zeros(products, np.int32),
    )
    return ServingPolicy.compile(weights, features, version=1)


def test_the_favourites_share_is_that_of_its_first_positions():
    assert favourite_share(policy(40)) == pytest.approx(1 / 40, abs=0.01)
    even = policy(40, ahead=np.log(39.0))
    assert favourite_share(even) == pytest.approx(0.5, abs=0.05)


def test_a_leap_to_one_product_is_refused_with_both_shares():
    with pytest.raises(SnapshotRejected, match=r"one product would take 100% .* more than 3%"):
        check_leap(policy(40, ahead=50.0), policy(40))


@pytest.mark.parametrize(
    ("products", "ahead", "ahead_now"),
    [(40, 5.0, 0.0), (40, 50.0, 6.0), (9, 50.0, 0.0)],
    ids=["a strong preference", "it has been so", "a handful of products"],
)
def test_what_may_be_honest_is_let_through(products, ahead, ahead_now):
    check_leap(policy(products, ahead=ahead), policy(products, ahead=ahead_now))
