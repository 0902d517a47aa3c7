"""What is kept of an arm: sums over its units, cheap to update when a unit earns or is shown more.

A unit of evidence is a shopper and arm period (or one anonymous recommendation). Banners of one
unit are not independent, so every variance is one over units.

Dimensions: U units of one arm.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evidence.errors import UnitsNotUsable


@dataclass(frozen=True, slots=True)
class ArmSums:
    """Sufficient statistics of one arm for reward per banner; m banners and reward r of a unit.

    Attributes:
        units: n, units with at least one banner.
        reward: sum of r, points.
        banners: sum of m.
        reward_squared: sum of r * r.
        reward_banners: sum of r * m.
        banners_squared: sum of m * m.

    Example:
        >>> sums = ArmSums().moved(banners=1, reward=0.5).moved(banners=2, reward=1.0)
        >>> again = sums.moved(banners=1, reward=0.25, of=(1.0, 0.5))
        >>> again.units, again.mean, again.reward_squared
        (2, 0.4375, 1.5625)
    """

    units: int = 0
    reward: float = 0.0
    banners: float = 0.0
    reward_squared: float = 0.0
    reward_banners: float = 0.0
    banners_squared: float = 0.0

    def moved(
        self, banners: float, reward: float, of: tuple[float, float] | None = None
    ) -> "ArmSums":
        """Return the sums after one unit gained banners or reward.

        Args:
            banners: how many more banners the unit has (0 for a correction).
            reward: how much more reward, in points; negative for a refund.
            of: the unit's (banners, reward) before; None: it is new.
        """
        m, r = of or (0.0, 0.0)
        more_m, more_r = m + banners, r + reward
        return ArmSums(
            self.units + (of is None),
            self.reward + reward,
            self.banners + banners,
            self.reward_squared + more_r * more_r - r * r,
            self.reward_banners + more_r * more_m - r * m,
            self.banners_squared + more_m * more_m - m * m,
        )

    @property
    def mean(self) -> float | None:
        """Return the reward per banner in points; None without banners."""
        return self.reward / self.banners if self.banners > 0 else None

    @property
    def variance(self) -> float | None:
        """Return the cluster-robust variance of `mean`; None with fewer than two units.

        The delta method for a ratio of sums over independent units (Deng, Knoblich, Lu 2018,
        "Applying the Delta Method in Metric Analytics", arXiv:1803.06336, section 3.1):
        n / (n - 1) * sum (r - mean m)**2 / (sum m)**2.
        """
        mean = self.mean
        if mean is None or self.units < 2:
            return None
        squares = (
            self.reward_squared - 2 * mean * self.reward_banners + mean**2 * self.banners_squared
        )
        # Differences of sums may round below zero when every unit earns the same per banner.
        return max(0.0, squares) * self.units / (self.units - 1) / self.banners**2


@dataclass(frozen=True, slots=True)
class UnitSums:
    """One arm, unit by unit.

    Attributes:
        banners: (U,) banners shown to each unit, >= 0; units without banners do not count.
        reward: (U,) points each unit earned, corrections included.

    Raises:
        UnitsNotUsable: the arrays differ in shape or hold what cannot be.
    """

    banners: npt.NDArray[np.float64]
    reward: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        banners, reward = np.asarray(self.banners, float), np.asarray(self.reward, float)
        if banners.ndim != 1 or banners.shape != reward.shape:
            raise UnitsNotUsable(
                f"banners and reward must be (U,) alike, got {banners.shape} and {reward.shape}"
            )
        if not (np.isfinite(banners).all() and np.isfinite(reward).all() and (banners >= 0).all()):
            raise UnitsNotUsable("banners must be finite and >= 0, rewards finite")
        object.__setattr__(self, "banners", banners)
        object.__setattr__(self, "reward", reward)

    def sums(self) -> ArmSums:
        """Return the sums over the units that were shown something."""
        shown = self.banners > 0
        m, r = self.banners[shown], self.reward[shown]
        return ArmSums(
            int(shown.sum()),
            float(r.sum()),
            float(m.sum()),
            float(r @ r),
            float(r @ m),
            float(m @ m),
        )
