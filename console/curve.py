"""The learning curve: reward per banner of both arms over the banners settled so far.

Buckets of equally many banners, whose width doubles when there are too many of them: memory and the
page stay bounded whatever the length of the log. A correction goes into the bucket of its banner.
"""

import math
from collections.abc import Sequence
from typing import Final

import msgspec

from schemas.events import Arm

BUCKETS: Final = 240
FIRST_WIDTH: Final = 16
SMOOTHED_SHARE: Final = 0.1
_NORMAL_95: Final = 1.959963984540054


class Mean(msgspec.Struct, frozen=True, kw_only=True):
    """Reward per banner of one arm around one point of the curve.

    Attributes:
        banners: how many it was computed from.
        mean: points per banner; null without any.
        low, high: 95% interval, banners taken as independent; null below two banners.
    """

    banners: int
    mean: float | None = None
    low: float | None = None
    high: float | None = None


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One point of the curve.

    Attributes:
        banners: banners of both arms settled up to here.
        at_ms: stream time of the last of them.
    """

    banners: int
    at_ms: int
    policy: Mean
    control: Mean


class _Sums:
    __slots__ = ("banners", "reward", "squares")

    def __init__(self, banners: int = 0, reward: float = 0.0, squares: float = 0.0) -> None:
        self.banners, self.reward, self.squares = banners, reward, squares

    def __add__(self, other: "_Sums") -> "_Sums":
        return _Sums(
            self.banners + other.banners, self.reward + other.reward, self.squares + other.squares
        )

    def mean(self) -> Mean:
        if self.banners == 0:
            return Mean(banners=0)
        mean = self.reward / self.banners
        if self.banners == 1:
            return Mean(banners=1, mean=mean)
        spread = max(self.squares - self.banners * mean * mean, 0.0) / (self.banners - 1)
        half = _NORMAL_95 * math.sqrt(spread / self.banners)
        return Mean(banners=self.banners, mean=mean, low=mean - half, high=mean + half)


class _Bucket:
    __slots__ = ("at_ms", "control", "policy")

    def __init__(self) -> None:
        self.at_ms, self.policy, self.control = 0, _Sums(), _Sums()

    def merged(self, other: "_Bucket") -> "_Bucket":
        both = _Bucket()
        both.at_ms = max(self.at_ms, other.at_ms)
        both.policy, both.control = self.policy + other.policy, self.control + other.control
        return both


class Curve:
    """Follows the rewards in the order of settlement."""

    def __init__(self) -> None:
        self.banners = 0
        self._width = FIRST_WIDTH
        self._buckets: list[_Bucket] = []

    def settle(self, arm: Arm, reward: float, at_ms: int) -> int:
        """Take in a banner's first reward; return its ordinal, by which corrections find it."""
        ordinal = self.banners
        self.banners += 1
        if ordinal // self._width == BUCKETS:
            self._halve()
        if ordinal // self._width == len(self._buckets):
            self._buckets.append(_Bucket())
        bucket = self._buckets[-1]
        bucket.at_ms = max(bucket.at_ms, at_ms)
        sums: _Sums = getattr(bucket, arm)
        sums.banners += 1
        sums.reward += reward
        sums.squares += reward * reward
        return ordinal

    def correct(self, arm: Arm, ordinal: int, before: float, after: float) -> None:
        """Take in a later change of a banner's reward."""
        sums: _Sums = getattr(self._buckets[ordinal // self._width], arm)
        sums.reward += after - before
        sums.squares += after * after - before * before

    def _halve(self) -> None:
        pairs = zip(self._buckets[::2], self._buckets[1::2], strict=True)
        self._buckets = [left.merged(right) for left, right in pairs]
        self._width *= 2

    def points(self) -> Sequence[Point]:
        """Return the curve, each point the mean over the last tenth of the buckets before it."""
        window = max(1, math.ceil(SMOOTHED_SHARE * len(self._buckets)))
        return [self._point(place, window) for place in range(len(self._buckets))]

    def _point(self, place: int, window: int) -> Point:
        around = self._buckets[max(0, place + 1 - window) : place + 1]
        return Point(
            banners=min((place + 1) * self._width, self.banners),
            at_ms=around[-1].at_ms,
            policy=sum((bucket.policy for bucket in around), _Sums()).mean(),
            control=sum((bucket.control for bucket in around), _Sums()).mean(),
        )
