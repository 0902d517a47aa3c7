"""How much better one arm earns than the other, with an interval that says how surely.

Reward per banner of an arm is a ratio of sums over units (see `sums.py`); the lift is the ratio of
two such means. Its interval is Fieller's: all ratios theta that the t-test of
`policy - theta * control = 0` does not reject. Unlike the plain delta method it keeps its coverage
while the control arm is small, and it is open, here None, while control may earn nothing at all.

Fieller 1954, "Some problems in interval estimation"; for a reader's guide Franz 2007, "Ratios: a
short guide to confidence limits and proper use", arXiv:0710.2024. Degrees of freedom by Welch and
Satterthwaite, from the units of both arms.

These intervals hold for one look. Somebody who looks every minute and stops at the first good news
needs an anytime-valid sequence instead.
"""

import math
from dataclasses import dataclass

from scipy import special

from evidence.errors import ConfidenceNotUsable
from evidence.sums import ArmSums, UnitSums

Arm = UnitSums | ArmSums


@dataclass(frozen=True, slots=True)
class Lift:
    """Relative lift: reward per banner of the policy arm over the control arm's, minus one.

    Attributes:
        estimate: 0.03 is 3% more; None while the control arm earned nothing.
        low, high: bounds of the interval; None while they are undefined: fewer than two units in an
            arm, or a control arm that may earn nothing as far as one can tell.
    """

    estimate: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Mean:
    """Reward per banner of one arm.

    Attributes:
        estimate: points per banner; None without banners.
        low, high: bounds of the interval; None with fewer than two units.
    """

    estimate: float | None
    low: float | None
    high: float | None


def _sums(arm: Arm) -> ArmSums:
    return arm.sums() if isinstance(arm, UnitSums) else arm


def _quantile(confidence: float, freedom: float) -> float:
    """Return Student's t quantile of a two-sided interval."""
    if not 0 < confidence < 1:
        raise ConfidenceNotUsable(f"a confidence lies between 0 and 1, got {confidence}")
    return float(special.stdtrit(freedom, 0.5 + confidence / 2))


def mean(arm: Arm, *, confidence: float = 0.95) -> Mean:
    """Return an arm's reward per banner with its interval, robust to clusters of banners by unit.

    Raises:
        ConfidenceNotUsable: not strictly between 0 and 1.

    Example:
        >>> mean(ArmSums())
        Mean(estimate=None, low=None, high=None)
    """
    sums = _sums(arm)
    estimate, variance = sums.mean, sums.variance
    if estimate is None or variance is None:
        return Mean(estimate, None, None)
    margin = _quantile(confidence, sums.units - 1) * math.sqrt(variance)
    return Mean(estimate, estimate - margin, estimate + margin)


def lift(policy: Arm, control: Arm, *, confidence: float = 0.95) -> Lift:
    """Return the relative lift of reward per banner, policy over control, with its interval.

    Args:
        policy: units of the policy arm.
        control: units of the control arm, other ones.
        confidence: of the two-sided interval, in (0, 1).

    Raises:
        ConfidenceNotUsable: not strictly between 0 and 1.

    Example:
        >>> lift(ArmSums(), ArmSums())
        Lift(estimate=None, low=None, high=None)
    """
    ours, theirs = _sums(policy), _sums(control)
    if ours.mean is None or theirs.mean is None or theirs.mean <= 0:
        return Lift(None, None, None)
    ratio = ours.mean / theirs.mean
    if ours.variance is None or theirs.variance is None:
        return Lift(ratio - 1, None, None)
    freedom = _freedom(ours, theirs, ratio)
    squared = _quantile(confidence, freedom) ** 2
    # (ours - theta theirs)^2 <= t^2 (var_ours + theta^2 var_theirs), a quadratic in theta
    a = theirs.mean**2 - squared * theirs.variance
    if a <= 0:
        return Lift(ratio - 1, None, None)
    b = ours.mean * theirs.mean
    c = ours.mean**2 - squared * ours.variance
    spread = math.sqrt(max(0.0, b * b - a * c))
    return Lift(ratio - 1, (b - spread) / a - 1, (b + spread) / a - 1)


def _freedom(ours: ArmSums, theirs: ArmSums, ratio: float) -> float:
    """Return Welch and Satterthwaite's degrees of freedom of `ours - ratio * theirs`."""
    first, second = ours.variance or 0.0, ratio**2 * (theirs.variance or 0.0)
    if first + second == 0:
        return ours.units + theirs.units - 2
    shares = first**2 / (ours.units - 1) + second**2 / (theirs.units - 1)
    return (first + second) ** 2 / shares
