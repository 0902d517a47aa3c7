"""What products earn more, or less, for standing on one banner together: learned by category pairs.

A part of the reward model (`trainer.reward_model`): the log rate of a position is moved by an
effect E[g, g'] for every other product of its banner, before and after it, of the pair groups g of
the product and g' of the other (`policy.features.pair_groups`). E is symmetric. Every pair has a
mean and a precision of its own.

Drawn before, it makes what is drawn next depend on it: `policy.architecture`, "value_pairs".

Dimensions: B observations, K positions, G pair groups; group G is that of products of no group,
which go with nothing.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from policy.architecture import PAIR_GROUPS

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_SIDE = PAIR_GROUPS + 1


def other_groups(groups: Ints) -> Ints:
    """Return (B, K, K - 1): the groups of the other products of each position's banner.

    Args:
        groups: (B, K) of the banners.

    Example:
        >>> other_groups(np.array([[4, 7, 9]])).tolist()
        [[[7, 9], [4, 9], [4, 7]]]
    """
    size = groups.shape[1]
    places = np.array([[at for at in range(size) if at != k] for k in range(size)], np.int64)
    return np.asarray(groups[:, places])


@dataclass(slots=True)
class PairEffects:
    """The posterior of E.

    Attributes:
        means: (G + 1, G + 1) symmetric; 0 in the last line and column.
        precisions: (G + 1, G + 1) symmetric.
        prior: the precision that every pair begins with and returns to; 0: there are no effects.
    """

    means: Array
    precisions: Array
    prior: float

    @classmethod
    def unknown(cls, spread: float) -> "PairEffects":
        """Return the prior: mean 0 and this standard deviation; 0: no effects at all."""
        prior = spread**-2 if spread > 0 else 0.0
        return cls(np.zeros((_SIDE, _SIDE)), np.full((_SIDE, _SIDE), prior), prior)

    def effects(self, groups: Ints, others: Ints) -> Array:
        """Return (B,): what the others of each observation's banner add to its log rate."""
        return np.asarray(self.means[groups[:, None], others].sum(axis=1))

    def precision(self, groups: Ints, others: Ints, rate: Array) -> Array:
        """Return precisions after observations of these rates (B,)."""
        again = (others[:, :, None] == others[:, None, :]).sum(axis=2)  # how often it stands there
        return self.precisions + _by_pair(groups, others, rate[:, None] * again)

    def step(
        self, before: Array, precision: Array, groups: Ints, others: Ints, left: Array
    ) -> Array:
        """Return the Newton step of the means, pairs each by itself.

        Args:
            before: means the prior of this batch pulls to.
            precision: from `precision`.
            groups: (B,) of the products.
            others: (B, K - 1) of the others of their banners.
            left: (B,) what the rates leave unexplained.
        """
        gradient = _by_pair(groups, others, np.repeat(left[:, None], others.shape[1], axis=1))
        return np.asarray((gradient - self.precisions * (self.means - before)) / precision)

    def forget(self, share: float) -> None:
        """Let precisions return to their prior by `share`."""
        self.precisions += share * (self.prior - self.precisions)

    def draw(self, narrowed: float, rng: np.random.Generator) -> Array:
        """Return (G, G), symmetric, drawn from the posterior, its spread times `narrowed`."""
        means = self.means[:PAIR_GROUPS, :PAIR_GROUPS]
        if self.prior == 0 or narrowed == 0:
            return means.copy()
        noise = np.triu(rng.standard_normal(means.shape))
        noise += np.triu(noise, 1).T
        return np.asarray(
            means + narrowed * noise / np.sqrt(self.precisions[:PAIR_GROUPS, :PAIR_GROUPS])
        )


def _by_pair(groups: Ints, others: Ints, values: Array) -> Array:
    """Return (G + 1, G + 1): the sums of `values` (B, K - 1) by pair, symmetric; 0 of no group."""
    keys = groups[:, None] * _SIDE + others
    total = np.bincount(keys.ravel(), values.ravel(), _SIDE * _SIDE).reshape(_SIDE, _SIDE)
    total = total + total.T - np.diag(total.diagonal())
    total[PAIR_GROUPS] = total[:, PAIR_GROUPS] = 0.0
    return np.asarray(total)
