"""The snapshots this process holds, the live one and the foundation: verified, compiled, warm."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import structlog

from policy.errors import SnapshotRejected
from policy.features import ProductFeatures
from policy.registry import Registry
from policy.serving import ServingPolicy
from policy.snapshot import Snapshot
from schemas.policies import Live
from service.behaviour import Loaded

log = structlog.get_logger(__name__)
Rejected = Callable[[int, str], None]


@dataclass(frozen=True, slots=True)
class Kept:
    """A snapshot, and what was compiled of it for the features of one catalogue."""

    snapshot: Snapshot
    features: ProductFeatures
    loaded: Loaded

    @property
    def version(self) -> int:
        """Return the snapshot's version."""
        return self.loaded.version


class Weights:
    """Follows the live pointer.

    A snapshot that is rejected changes nothing, and is not tried again until the pointer moves.

    Args:
        registry: the truth of what is live.
        rejected: called with version and reason of a snapshot that may not serve.

    Attributes:
        live: what serves; None: nothing yet.
        foundation: the reference policy; None: nothing yet.
    """

    def __init__(self, registry: Registry, *, rejected: Rejected) -> None:
        self.live: Kept | None = None
        self.foundation: Kept | None = None
        self._registry = registry
        self._rejected = rejected
        self._tried: Live | None = None

    def follow(self, features: ProductFeatures) -> bool:
        """Take what the pointer names, when it moved; return True when something was replaced.

        At the start the newest earlier snapshot serves where the live one is rejected.
        """
        pointer = self._registry.live()
        if pointer is None or pointer == self._tried:
            return False
        self._tried = pointer
        before = (self.live, self.foundation)
        self.foundation = self._take(pointer.foundation, features) or self.foundation
        for version in _acceptable(pointer, starting=self.live is None):
            taken = self._take(version, features)
            if taken is not None:
                self.live = taken
                break
        return (self.live, self.foundation) != before

    def fits(self, features: ProductFeatures) -> bool:
        """Return True when what is held was compiled for these features."""
        return all(kept.features is features for kept in self._held())

    def fit(self, features: ProductFeatures) -> None:
        """Compile what is held for these features, where it was not."""
        fitted = {kept.version: _fitted(kept, features) for kept in self._held()}
        self.live = fitted.get(self.live.version) if self.live else None
        self.foundation = fitted.get(self.foundation.version) if self.foundation else None

    def _held(self) -> list[Kept]:
        return [kept for kept in (self.live, self.foundation) if kept is not None]

    def _take(self, version: int, features: ProductFeatures) -> Kept | None:
        for kept in self._held():
            if kept.version == version:
                return kept
        try:
            snapshot = self._registry.load(version)
        except (SnapshotRejected, OSError) as problem:
            log.warning("snapshot_rejected", version=version, problem=str(problem))
            self._rejected(version, str(problem))
            return None
        return Kept(snapshot, features, _compiled(snapshot, features))


def _acceptable(pointer: Live, *, starting: bool) -> Iterator[int]:
    yield pointer.version
    if starting:
        yield from reversed(pointer.previous)
        yield pointer.foundation


def _compiled(snapshot: Snapshot, features: ProductFeatures) -> Loaded:
    version = snapshot.manifest.version
    policy = ServingPolicy.compile(snapshot.weights, features, version=version)
    policy.warm_up()
    return Loaded(policy, version)


def _fitted(kept: Kept, features: ProductFeatures) -> Kept:
    if kept.features is features:
        return kept
    return Kept(kept.snapshot, features, _compiled(kept.snapshot, features))
