"""The topic `rewards`: settlements and corrections, each a self-contained training example."""

from typing import Literal

import msgspec

from schemas.events import Arm, Source, Timestamp


class Reward(msgspec.Struct, frozen=True, kw_only=True):
    """What a banner earned so far: revision 0 settles it, later revisions correct it."""

    schema_version: Literal[1] = 1
    recommendation_id: str
    revision: int
    settled_at_ms: Timestamp
    """Stream time of the partition when this revision was made."""
    caused_at_ms: Timestamp | None = None
    """Append time of the event that caused this revision; null: it settled at zero, by time."""
    specification: str
    """Version of the reward specification."""
    unit: str
    arm: Arm
    source: Source
    trainable: bool
    points: tuple[float, ...]
    """(K,) points of each position now."""
    delta: tuple[float, ...]
    """(K,) points minus those of the revision before (of revision 0: the points)."""
    clicked: tuple[int, ...] = ()
    """Clicked positions."""
    bought: tuple[int, ...] = ()
    """Bought positions, refunds taken off."""
    policy_version: int
    catalogue_version: int
    viewed_row: int
    history: bytes
    candidates: bytes
    rows: tuple[int, ...]
    log_probs: tuple[float | None, ...]

    @property
    def reward(self) -> float:
        """The banner's reward: the sum of its points."""
        return sum(self.points)
