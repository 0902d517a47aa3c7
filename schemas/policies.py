"""Snapshots, the pointer to the live one, and the topic `policies` that announces changes."""

from typing import Literal

import msgspec

from schemas.events import Timestamp


class TensorSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Shape and dtype of one tensor of a snapshot."""

    shape: tuple[int, ...]
    dtype: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a snapshot says of itself; it lies beside the weights."""

    schema_version: Literal[1] = 1
    version: int
    parent: int | None
    """The version it was trained from; null for a foundation."""
    foundation: int
    """The reference policy's version; its own version for a foundation."""
    created_at_ms: Timestamp
    sha256: str
    size_bytes: int
    tensors: dict[str, TensorSpec]
    catalogue_version: int
    products: int
    """Number of rows the weights know; a later product is scored by its features alone."""
    updates: int
    """Policy-gradient updates since the foundation."""
    banners: int
    """Rewarded banners learned from since the foundation."""
    rewards_offset: int | None = None
    """Everything of topic `rewards` before this offset is in the weights."""
    learned_events_ms: tuple[int, ...] = ()
    """Append times of the events this version was the first to learn from (for freshness)."""
    health: dict[str, float] = {}
    """Metrics of the update that made it."""


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """The live pointer, `registry/live.json`: the truth of what serves."""

    schema_version: Literal[1] = 1
    version: int
    foundation: int
    hold: bool = False
    """True after a rollback: nothing is promoted until somebody resumes."""
    previous: tuple[int, ...] = ()
    """Versions that were live before, newest last (at most 50)."""
    changed_at_ms: Timestamp
    reason: str


class Announcement(msgspec.Struct, frozen=True, kw_only=True):
    """One record of the topic `policies`."""

    schema_version: Literal[1] = 1
    kind: Literal["published", "promoted", "rolled_back", "resumed", "served", "rejected"]
    version: int
    at_ms: Timestamp
    process: str
    """Which process says so; of `served` the serving process, after its swap."""
    reason: str | None = None
    learned_events_ms: tuple[int, ...] = ()
    """Of `served`: the manifest's, so that freshness can be read from this topic alone."""
