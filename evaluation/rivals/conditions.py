"""What befalls the ring between a banner and the weights that learned from it."""

import heapq
import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from evaluation.errors import ConditionsNotPossible
from rewards.specification import RewardSpecification
from schemas.rewards import Reward

Weights = Mapping[str, npt.NDArray[Any]]

BATCH_BANNERS: Final = 256
"""Of one batch of `stale`, and of the bad one."""


@dataclass(frozen=True, slots=True)
class RingConditions:
    """What makes the ring slower or its rewards worse; as it stands, nothing does.

    Attributes:
        stale: batches of 256 rewarded banners by which the weights that serve are behind; they are
            then swapped after every such batch.
        settle_seconds: a reward reaches the learner so much later than the banner, by the visits'
            clock.
        corrections: share of the banners with a purchase whose reward first holds their clicks
            alone; a correction brings the rest.
        corrected_after_seconds: from such a reward to its correction, by the visits' clock.
        bad_batch: the visit (its number in the run) after which one shopper asks for 256 more
            banners and clicks everything; None: nobody does. Those rewards settle as any other.

    Raises:
        ConditionsNotPossible: a share outside [0, 1]; or a number of batches, seconds or of a visit
            that is negative, infinite or none.
    """

    stale: int = 0
    settle_seconds: float = 0.0
    corrections: float = 0.0
    corrected_after_seconds: float = 60.0
    bad_batch: int | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.corrections <= 1.0:
            raise ConditionsNotPossible("corrections is a share: between 0 and 1")
        counted = (self.stale, self.settle_seconds, self.corrected_after_seconds)
        if not all(0 <= number < math.inf for number in counted):
            raise ConditionsNotPossible("batches and seconds are finite and not negative")
        if self.bad_batch is not None and not 0 <= self.bad_batch < math.inf:
            raise ConditionsNotPossible("bad_batch is the number of a visit: 0 or more")


ORDINARY_RING: Final = RingConditions()


class RewardsUnderWay:
    """Rewards between the shopper and the learner, by the visits' clock."""

    def __init__(self, settle_seconds: float) -> None:
        self._settle_seconds = settle_seconds
        self._waiting: list[tuple[float, int, Reward]] = []
        self._numbers = count()
        self._latest = 0.0

    def send(self, reward: Reward, at: datetime, *, later_seconds: float = 0.0) -> None:
        """Send what a visit earned at its time, or so much later."""
        due = at.timestamp() + self._settle_seconds + later_seconds
        heapq.heappush(self._waiting, (due, next(self._numbers), reward))

    def arrived(self, now: datetime) -> list[Reward]:
        """Return what has come until now, first what was due first.

        Where the clock goes back, because a world's visits begin anew, everything has come.
        """
        began_anew, self._latest = now.timestamp() < self._latest, now.timestamp()
        found = []
        while self._waiting and (began_anew or self._waiting[0][0] <= self._latest):
            found.append(heapq.heappop(self._waiting)[2])
        return found


class WeightsUnderWay:
    """Weights between the learner and serving."""

    def __init__(self, stale: int) -> None:
        self._behind = stale * BATCH_BANNERS
        self._kept: deque[tuple[int, Weights]] = deque()

    def served(self, banners: int, weights: Callable[[], Weights]) -> Weights | None:
        """Return what serves from now on; None: what served before.

        Args:
            banners: that the newest weights have learned from; never fewer than before.
            weights: returns a copy of them.
        """
        if not self._behind:
            return weights()
        first = not self._kept
        if first or banners - self._kept[-1][0] >= BATCH_BANNERS:
            self._kept.append((banners, weights()))
        before = self._kept[0]
        while len(self._kept) > 1 and self._kept[1][0] <= banners - self._behind:
            self._kept.popleft()
        return self._kept[0][1] if first or self._kept[0] is not before else None


def in_two_parts(reward: Reward, specification: RewardSpecification) -> tuple[Reward, Reward]:
    """Return a reward as its clicks alone, and the correction that brings its purchases."""
    points = specification.points(len(reward.rows), clicked=reward.clicked, bought=())
    clicks = msgspec.structs.replace(reward, points=points, delta=points, bought=())
    rest = tuple((np.array(reward.points) - points).tolist())
    return clicks, msgspec.structs.replace(reward, revision=1, delta=rest)
