"""The shape of the policy: every tensor of a snapshot by name, and the sizes they share.

Dimensions: N products (rows), H feature buckets, F features of a product, d vector size, P
projected features, T traits, G pair groups, L recent purchases, R repeats, M neighbours of a
product.
"""

from dataclasses import dataclass
from typing import Final

from schemas.limits import RECENT_PURCHASES

BUCKETS: Final = 4096
"""H: hashed feature buckets. Bucket 0 is padding (its weight is always 0), bucket 1 the log-
price."""
FEATURES: Final = 16
"""F: features of one product, padded with bucket 0."""
VECTOR: Final = 32
"""d: size of product and shopper vectors."""
HIDDEN: Final = 96
PROJECTED: Final = 8
"""P: how many numbers of a product's features the repeat term sees."""
REPEAT_INPUTS: Final = 15 + PROJECTED
REPEAT_HIDDEN: Final = 24
TRAITS: Final = 8
"""T: how many numbers of a product the reward model sees, in a context and on a banner."""
NEIGHBOURS: Final = 40
"""M: co-purchase neighbours kept of each product."""
PAIR_GROUPS: Final = 128
"""G: groups of products that may earn more, or less, on one banner: categories, hashed."""
COPURCHASE_FLOOR: Final = 0.01

FULL_CANDIDATES: Final = 2000
"""Up to so many eligible products, all of them are candidates."""
TOP_CANDIDATES: Final = 500
"""Above, so many are retrieved by the policy's own scores,"""
UNIFORM_CANDIDATES: Final = 16
"""and so many drawn uniformly from all eligible, so that everything keeps a way in."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a snapshot.

    Attributes:
        shape: sizes; "N" stands for the number of products.
        dtype: numpy's name.
        trained: True when gradients move it; False for tables fitted once and constants.
    """

    shape: tuple[int | str, ...]
    dtype: str = "float32"
    trained: bool = True

    def sizes(self, products: int) -> tuple[int, ...]:
        """Return the shape with the number of products put in."""
        return tuple(products if size == "N" else int(size) for size in self.shape)


TENSORS: Final[dict[str, Tensor]] = {
    # c_i = context_rows[i] + sum_f weight * context_features[bucket]: a product in the context
    "context_rows": Tensor(("N", VECTOR)),
    "context_features": Tensor((BUCKETS, VECTOR)),
    # e_i = output_rows[i] + sum_f weight * output_features[bucket]: a product to be shown
    "output_rows": Tensor(("N", VECTOR)),
    "output_features": Tensor((BUCKETS, VECTOR)),
    "bias_rows": Tensor(("N",)),
    "bias_features": Tensor((BUCKETS,)),
    # the shopper's vector u = MLP[view, attention over recent purchases, their mean]
    "no_view": Tensor((VECTOR,)),
    "attention_query": Tensor((VECTOR, VECTOR)),
    "attention_position": Tensor((RECENT_PURCHASES,)),
    "hidden_weight": Tensor((3 * VECTOR, HIDDEN)),
    "hidden_bias": Tensor((HIDDEN,)),
    "user_weight": Tensor((HIDDEN, VECTOR)),
    "user_bias": Tensor((VECTOR,)),
    # rep(x, i): what the shopper buys again
    "repeat_projection": Tensor((BUCKETS, PROJECTED)),
    "repeat_hidden_weight": Tensor((REPEAT_INPUTS, REPEAT_HIDDEN)),
    "repeat_hidden_bias": Tensor((REPEAT_HIDDEN,)),
    "repeat_out_weight": Tensor((REPEAT_HIDDEN,)),
    "repeat_out_bias": Tensor((1,)),
    "repeat_rows": Tensor(("N",)),
    # scale of the co-purchase term: [recent purchases, viewed product]
    "copurchase_scale": Tensor((2,)),
    # the reward model's draw: t_i.(m + A z) + v_i.z + b_i, z = [mean recent traits, view's traits]
    "value_main": Tensor((TRAITS,), trained=False),
    "value_context": Tensor((2 * TRAITS, TRAITS), trained=False),
    "value_rows": Tensor(("N", 2 * TRAITS), trained=False),
    "value_bias": Tensor(("N",), trained=False),
    # and of what stands together: [g_j, g_i] is added to s_i once product j is placed; symmetric
    "value_pairs": Tensor((PAIR_GROUPS, PAIR_GROUPS), trained=False),
    # how certain b_i was, so that training can go on from any snapshot
    "value_precision": Tensor(("N",), trained=False),
    # fitted once, by pretraining; t_i = trait_rows[i] + sum_f weight * trait_features[bucket]
    "trait_rows": Tensor(("N", TRAITS), trained=False),
    "trait_features": Tensor((BUCKETS, TRAITS), trained=False),
    "neighbour_rows": Tensor(("N", NEIGHBOURS), "int32", trained=False),
    "neighbour_weights": Tensor(("N", NEIGHBOURS), trained=False),
    "popularity": Tensor(("N",), trained=False),
    "sharpness": Tensor((1,), trained=False),
}


def expected_shapes(products: int) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return (shape, dtype) of every tensor of a snapshot with `products` rows."""
    return {name: (tensor.sizes(products), tensor.dtype) for name, tensor in TENSORS.items()}
