"""The batch being filled: where it ends depends on offsets and append times alone.

So a trainer that reads the same records again makes the same batches, whenever it runs.
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.identity import fingerprint
from schemas.rewards import Reward
from trainer.examples import Example

_REMEMBERED: Final = 16_384


@dataclass(slots=True)
class OpenBatch:
    """Examples waiting for their update.

    Attributes:
        batch_banners: it is full with so many records,
        least_ms: once the last was appended so much later than the first; with `most_banners` at
            once. Small batches then never make more versions than can be published.
        most_banners: see `least_ms`.
        batch_ms: it closes when a record arrives that was appended so much later than its first.
    """

    batch_banners: int
    batch_ms: int
    least_ms: int = 0
    most_banners: int = 0
    examples: list[Example] = field(default_factory=list)
    _opened_ms: int = 0

    def is_over(self, appended_at_ms: int) -> bool:
        """Return whether it closes before a record appended then, of whatever kind."""
        return bool(self.examples) and appended_at_ms - self._opened_ms > self.batch_ms

    def add(self, example: Example, appended_at_ms: int) -> bool:
        """Take an example; return whether the batch is full now."""
        if not self.examples:
            self._opened_ms = appended_at_ms
        self.examples.append(example)
        lasted = appended_at_ms - self._opened_ms >= self.least_ms
        enough = self.batch_banners if lasted else max(self.most_banners, self.batch_banners)
        return len(self.examples) >= enough

    def take(self) -> list[Example]:
        """Return the examples and begin anew."""
        taken, self.examples = self.examples, []
        return taken


class Seen:
    """The last 16,384 (recommendation, revision) that were trained, so that none counts twice."""

    def __init__(self, fingerprints: npt.NDArray[np.uint64] | None = None) -> None:
        known = [] if fingerprints is None else fingerprints.tolist()
        self._fingerprints: dict[int, None] = dict.fromkeys(known)

    def add(self, reward: Reward) -> bool:
        """Remember a reward; return False when it was seen before."""
        key = fingerprint(f"{reward.recommendation_id} {reward.revision}".encode())
        if key in self._fingerprints:
            return False
        self._fingerprints[key] = None
        if len(self._fingerprints) > _REMEMBERED:
            del self._fingerprints[next(iter(self._fingerprints))]
        return True

    def fingerprints(self) -> npt.NDArray[np.uint64]:
        """Return what is remembered, oldest first, for a checkpoint."""
        return np.fromiter(self._fingerprints, np.uint64, len(self._fingerprints))
