"""The snapshots this process holds, the live one and the foundation: verified, compiled, warm."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import structlog

from policy.errors import PolicyError, SnapshotUnreadable
from policy.features import ProductFeatures
from policy.registry import Registry
from policy.serving import ServingPolicy
from schemas.policies import Live, Manifest
from service.behaviour import Loaded
from service.errors import CatalogueBehind

log = structlog.get_logger(__name__)
Rejected = Callable[[int, str], None]


@dataclass(frozen=True, slots=True)
class Kept:
    """A snapshot as compiled for the features of one catalogue."""

    manifest: Manifest
    features: ProductFeatures
    loaded: Loaded

    @property
    def version(self) -> int:
        """Return the snapshot's version."""
        return self.loaded.version


class Weights:
    """Follows the live pointer.

    A snapshot that is rejected changes nothing, and is not tried again until the pointer moves. One
    that the disk does not give just now is tried again at every look.

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
        self._pointer_before: Live | None = None
        self._done = self._missed = False
        self._refused: set[int] = set()
        self._unreadable = ""

    def follow(self, features: ProductFeatures) -> None:
        """Take what the pointer names, when it moved.

        At the start the newest earlier snapshot serves where the live one is rejected.
        """
        pointer = self._pointer()
        if pointer is None:
            return
        if pointer != self._pointer_before:
            self._pointer_before, self._done = pointer, False
            self._refused.clear()
        if self._done:
            return
        self._missed = False
        known = {kept.version: kept for kept in self._held()}
        acceptable = _acceptable(pointer, starting=self.live is None)
        try:
            foundation = self._first([pointer.foundation], features, known) or self.foundation
            live = self._first(acceptable, features, known) or self.live
        except CatalogueBehind:
            return  # the next look knows more products
        self._done = not self._missed
        self.live, self.foundation = live, foundation

    def _pointer(self) -> Live | None:
        try:
            return self._registry.live()
        except (PolicyError, OSError) as problem:
            self._say_once("live_pointer_unreadable", problem)
            return None

    def _say_once(self, event: str, problem: Exception) -> None:
        """Log a problem that would come again ten times a second."""
        if str(problem) != self._unreadable:
            log.warning(event, problem=str(problem))
            self._unreadable = str(problem)

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

    def _first(
        self, versions: Iterable[int], features: ProductFeatures, known: dict[int, Kept]
    ) -> Kept | None:
        """Return the first of the versions that may serve; `known` saves loading one twice."""
        for version in versions:
            if version in self._refused:
                continue
            kept = known.get(version) or self._loaded(version, features)
            if kept is not None:
                known[version] = kept
                return kept
        return None

    def _loaded(self, version: int, features: ProductFeatures) -> Kept | None:
        try:
            snapshot = self._registry.load(version)
            if snapshot.manifest.products > len(features.buckets):
                raise CatalogueBehind(f"version {version} knows more products than we do")
            policy = ServingPolicy.compile(snapshot.weights, features, version=version)
            policy.warm_up()
        except (SnapshotUnreadable, OSError) as problem:
            self._say_once("snapshot_unreadable", problem)
            self._missed = True
            return None
        except PolicyError as problem:
            log.warning("snapshot_rejected", version=version, problem=str(problem))
            self._refused.add(version)
            self._rejected(version, str(problem))
            return None
        self._unreadable = ""
        return Kept(snapshot.manifest, features, Loaded(policy, version))


def _acceptable(pointer: Live, *, starting: bool) -> Iterator[int]:
    yield pointer.version
    if starting:
        yield from reversed(pointer.previous)
        yield pointer.foundation


def _fitted(kept: Kept, features: ProductFeatures) -> Kept:
    if kept.features is features:
        return kept
    policy = kept.loaded.policy.extended(features)
    policy.warm_up()
    return Kept(kept.manifest, features, Loaded(policy, kept.version))
