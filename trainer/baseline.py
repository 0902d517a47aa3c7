"""What a banner earns on average: the baseline of each position and the scale of rewards.

Dimensions: B records in a batch, K = 5 positions.
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.limits import BANNER_SIZE
from trainer.examples import Batch

_SMALLEST_SPREAD: Final = 0.01
_SUMS: Final = 2 * BANNER_SIZE + 3


@dataclass(slots=True)
class Baseline:
    """Discounted sums over settled banners, from which means and the variance follow.

    A correction moves the sums of its banner by what it changed, so that they converge to the
    moments of final rewards however late a purchase becomes known.

    Attributes:
        horizon: number of batches over which the past fades.
        sums: (2K + 3,) float64: banners with each position, their points by position, banners, the
            sum of their rewards, and of the squares.
    """

    horizon: float
    sums: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(_SUMS))

    def observe(self, batch: Batch) -> None:
        """Let the past fade by one batch and add the batch."""
        settled = batch.is_settlement
        now = batch.points.sum(axis=1)
        before = np.where(settled, 0.0, now - batch.delta.sum(axis=1))
        earned = np.where(settled[:, None], batch.points, batch.delta)
        seen = np.concatenate(
            [
                batch.has_position[settled].sum(axis=0),
                earned.sum(axis=0),
                [settled.sum(), (now - before).sum(), (now**2 - before**2).sum()],
            ]
        )
        self.sums = (1.0 - 1.0 / self.horizon) * self.sums + seen

    @property
    def means(self) -> npt.NDArray[np.float64]:
        """(K,) b_k: the mean points of each position."""
        return self.sums[BANNER_SIZE : 2 * BANNER_SIZE] / np.maximum(self.sums[:BANNER_SIZE], 1e-9)

    @property
    def spread(self) -> float:
        """Sigma: the standard deviation of a banner's reward."""
        mean, square = self.sums[-2:] / max(self.sums[-3], 1e-9)
        return max(float(np.sqrt(max(square - mean**2, 0.0))), _SMALLEST_SPREAD)

    def advantages(self, batch: Batch) -> npt.NDArray[np.float32]:
        """Return A: (B, K), (r_k - b_k)/sigma of a settlement, delta_k/sigma of a correction."""
        settled = batch.is_settlement[:, None]
        earned = np.where(settled, batch.points - self.means, batch.delta)
        return (np.where(batch.has_position, earned, 0.0) / self.spread).astype(np.float32)
