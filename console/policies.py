"""The registry for people: which versions there are, which one serves, and moving between them."""

from collections.abc import Callable, Sequence
from typing import Final, Literal, Protocol

import msgspec
import structlog

from console.errors import PolicyNotFound
from console.health import Sign, explained
from schemas.codec import encode
from schemas.policies import Announcement, Live, Manifest
from streams.errors import LogError
from streams.port import Log, Message
from streams.topics import POLICIES

PROCESS: Final = "console"
log = structlog.get_logger(__name__)


class Registry(Protocol):
    """What the console uses of `policy.registry.Registry`."""

    def live(self) -> Live | None:
        """Return the live pointer; None before the first snapshot."""
        ...

    def manifests(self) -> list[Manifest]:
        """Return the manifests of what is kept."""
        ...

    def promote(self, version: int, *, reason: str) -> Live:
        """Make a version live; raises RegistryHeld while held."""
        ...

    def rollback(self, *, reason: str, to: int | None = None) -> Live:
        """Make an earlier version live and hold."""
        ...

    def resume(self) -> Live:
        """Lift the hold."""
        ...


class PolicyEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One version as people see it."""

    version: int
    parent: int | None
    foundation: int
    live: bool
    created_at_ms: int
    sha256: str
    size_bytes: int
    catalogue_version: int
    products: int
    updates: int
    banners: int
    rewards_offset: int | None
    health: Sequence[Sign]


class PolicyPage(msgspec.Struct, frozen=True, kw_only=True):
    """Versions, newest first; an empty `next_page_token` is the end."""

    live: Live | None
    hold: bool
    policies: Sequence[PolicyEntry]
    total: int
    next_page_token: str = ""


def _entry(manifest: Manifest, live: Live | None) -> PolicyEntry:
    return PolicyEntry(
        version=manifest.version,
        parent=manifest.parent,
        foundation=manifest.foundation,
        live=live is not None and live.version == manifest.version,
        created_at_ms=manifest.created_at_ms,
        sha256=manifest.sha256,
        size_bytes=manifest.size_bytes,
        catalogue_version=manifest.catalogue_version,
        products=manifest.products,
        updates=manifest.updates,
        banners=manifest.banners,
        rewards_offset=manifest.rewards_offset,
        health=explained(manifest.health),
    )


class Operations:
    """Reads and moves the live pointer, and tells the ring.

    Args:
        registry: the truth of what is live.
        log: where changes are announced.
        clock: milliseconds since 1970.
    """

    def __init__(self, registry: Registry, log: Log, *, clock: Callable[[], int]) -> None:
        self._registry, self._log, self._clock = registry, log, clock

    def live(self) -> Live | None:
        """Return the live pointer; None before the first snapshot.

        Raises:
            PolicyError: it cannot be read.
        """
        return self._registry.live()

    def page(self, *, start: int, size: int) -> PolicyPage:
        """Return one page of versions, newest first."""
        live = self._registry.live()
        newest = sorted(self._registry.manifests(), key=lambda one: one.version, reverse=True)
        end = start + size
        return PolicyPage(
            live=live,
            hold=live is not None and live.hold,
            policies=[_entry(manifest, live) for manifest in newest[start:end]],
            total=len(newest),
            next_page_token=str(end) if end < len(newest) else "",
        )

    def promote(self, version: int) -> Live:
        """Make a version live.

        Raises:
            PolicyNotFound: no such version.
            RegistryHeld: resume first.
            SnapshotRejected: its files may not serve.
        """
        if all(manifest.version != version for manifest in self._registry.manifests()):
            raise PolicyNotFound(f"the registry holds no version {version}")
        live = self._registry.promote(version, reason="promoted in the console")
        return self._announce("promoted", live)

    def rollback(self) -> Live:
        """Go back to the version that was live before, and hold.

        Raises:
            NoLiveSnapshot, PolicyError: there is nothing to go back to.
        """
        live = self._registry.rollback(reason="rolled back in the console")
        return self._announce("rolled_back", live)

    def resume(self) -> Live:
        """Lift the hold.

        Raises:
            NoLiveSnapshot: there is no live version.
        """
        return self._announce("resumed", self._registry.resume())

    def _announce(self, kind: Literal["promoted", "rolled_back", "resumed"], live: Live) -> Live:
        announcement = Announcement(
            kind=kind,
            version=live.version,
            at_ms=self._clock(),
            process=PROCESS,
            reason=live.reason,
        )
        try:
            self._log.append(POLICIES.name, [Message(None, encode(announcement))])
        except LogError as problem:  # the registry has moved, and servers follow it
            log.warning("not_announced", kind=kind, version=live.version, problem=str(problem))
        log.info("live_pointer_moved", kind=kind, version=live.version, hold=live.hold)
        return live
