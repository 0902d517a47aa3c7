"""What the reward model learns from: positions that were shown, and what they earned.

Dimensions: B observations, N products, T traits, D columns that all products share, K positions.
"""

from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from policy.architecture import PAIR_GROUPS, TRAITS
from policy.features import pair_groups
from policy.torch_distribution import first_position_log_prob
from policy.torch_network import TorchPolicy
from trainer.examples import Batch
from trainer.pair_effects import other_groups

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_FAMILIAR: Final = 7.0
"""Added to log-probabilities, so that they lie around zero for what is shown."""


@dataclass(frozen=True, slots=True)
class Observations:
    """Positions that were shown, and what they earned.

    Attributes:
        rows: (B,) products.
        traits: (B, T) theirs.
        contexts: (B, 2T) z.
        familiarity: (B,) the foundation's log-probability of the product.
        groups: (B,) pair groups of the products.
        others: (B, K - 1) pair groups of the other products of the banner.
        positions: (B,) in [0, K).
        earned: (B,) points, or by how much they changed.
        began: (B,) 1 where anything was earned for the first time, else 0.
        is_new: (B,) False for corrections.
    """

    rows: Ints
    traits: Array
    contexts: Array
    familiarity: Array
    groups: Ints
    others: Ints
    positions: Ints
    earned: Array
    began: Array
    is_new: npt.NDArray[np.bool_]

    def only(self, chosen: npt.NDArray[np.bool_]) -> "Observations":
        """Return a copy of the chosen observations."""
        return Observations(**{f.name: getattr(self, f.name)[chosen] for f in fields(self)})

    def shared(self) -> Array:
        """Return (B, D): what m, A and s are multiplied with."""
        crossed = self.contexts[:, :, None] * self.traits[:, None, :]
        return np.concatenate(
            [
                self.traits,
                crossed.reshape(len(self.rows), 2 * TRAITS * TRAITS),
                self.familiarity[:, None],
            ],
            axis=1,
        )


@torch.no_grad()
def observations_of(batch: Batch, foundation: Tensor, policy: TorchPolicy) -> Observations:
    """Return the drawn positions of a batch.

    Args:
        batch: of records.
        foundation: (records, C) the foundation's logits of its candidates, sharpness left out.
        policy: whose traits they are.
    """
    prepared = batch.prepared
    known = first_position_log_prob(foundation, prepared.candidates.mask)
    banner, position = (place.cpu().numpy() for place in batch.drawn.nonzero(as_tuple=True))
    shown = prepared.candidates.rows.gather(1, batch.banner)[batch.drawn]
    place = torch.searchsorted(prepared.candidates.union, shown)
    points = np.maximum(batch.points, 0.0)[banner, position]
    before = np.maximum(batch.points - batch.delta, 0.0)[banner, position]
    settled = batch.is_settlement[banner]
    before = np.where(settled, 0.0, before)
    groups = _groups(batch.rows, policy)
    return Observations(
        rows=shown.cpu().numpy(),
        traits=_doubles(policy.traits(prepared)[place]),
        contexts=_doubles(policy.context_traits(prepared))[banner],
        familiarity=_doubles(known.gather(1, batch.banner)[batch.drawn]) + _FAMILIAR,
        groups=groups[banner, position],
        others=other_groups(groups)[banner, position],
        positions=position,
        earned=points - before,
        began=(points > 0).astype(np.float64) - (before > 0),
        is_new=settled,
    )


def _groups(rows: Ints, policy: TorchPolicy) -> Ints:
    """Return the pair groups of rows of any shape; row -1, and unknown ones, have none."""
    groups = np.append(pair_groups(policy.features.categories), PAIR_GROUPS)
    return groups[np.where(rows < policy.products, rows, -1)].astype(np.int64)


def _doubles(values: Tensor) -> Array:
    return values.cpu().numpy().astype(np.float64)
