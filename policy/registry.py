"""The snapshots that are kept, and the live pointer: the truth of what serves.

    snapshots/00000012/weights.safetensors, manifest.json
    live.json
    lock

What appears in `snapshots` is whole: a snapshot is written into a folder of another name, synced,
and renamed. `live.json` is replaced the same way. Every change happens under one lock (`fcntl`), so
any number of processes may publish, promote and prune; readers need no lock.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
import structlog

from policy.errors import (
    LivePointerNotReadable,
    NoLiveSnapshot,
    RegistryHeld,
    SnapshotRejected,
    SnapshotUnknown,
    VersionTaken,
)
from policy.retention import versions_to_drop
from policy.snapshot import (
    Snapshot,
    Weights,
    digest,
    read_manifest,
    read_snapshot,
    serialise,
    sync_folder,
    tensor_specs,
    write_snapshot,
)
from schemas.codec import decode_live, encode
from schemas.errors import SchemaError
from schemas.policies import Live, Manifest

log = structlog.get_logger(__name__)

PREVIOUS: Final = 50
"""So many versions that were live before are remembered."""
_TEMPORARY: Final = ".tmp-"


class Registry:
    """Snapshots in a folder.

    Args:
        root: the folder; made when it is missing.
        clock: returns milliseconds since 1970.
    """

    def __init__(self, root: Path, *, clock: Callable[[], int]) -> None:
        self._root = root
        self._snapshots = root / "snapshots"
        self._clock = clock
        self._snapshots.mkdir(parents=True, exist_ok=True)
        with self._locked():
            self._sweep()

    def publish(
        self,
        weights: Weights,
        *,
        parent: int | None,
        foundation: int | None,
        catalogue_version: int,
        updates: int,
        banners: int,
        rewards_offset: int | None = None,
        learned_events_ms: tuple[int, ...] = (),
        health: Mapping[str, float] | None = None,
        version: int | None = None,
    ) -> Manifest:
        """Keep weights as a version, durable when this returns; the same ones again change nothing.

        Args:
            weights: the tensors of `policy.architecture`.
            parent: the version they were trained from; None: a foundation.
            foundation: the reference policy's version; None: they are one themselves.
            catalogue_version: what the catalogue held when they were made.
            updates: policy-gradient updates since the foundation.
            banners: rewarded banners learned from since the foundation.
            rewards_offset: everything of topic `rewards` before this is in the weights.
            learned_events_ms: append times of the events first learned from here.
            health: metrics of the update.
            version: its number; None: the next.

        Raises:
            SnapshotRejected: the weights could not serve.
            VersionTaken: the version exists with other weights, or its number has passed.
        """
        content = serialise(weights)
        with self._locked():
            number = self.next_version() if version is None else version
            manifest = Manifest(
                version=number,
                parent=parent,
                foundation=number if foundation is None else foundation,
                created_at_ms=self._clock(),
                sha256=digest(content),
                size_bytes=len(content),
                tensors=tensor_specs(weights),
                catalogue_version=catalogue_version,
                products=len(weights["popularity"]),
                updates=updates,
                banners=banners,
                rewards_offset=rewards_offset,
                learned_events_ms=learned_events_ms,
                health=dict(health or {}),
            )
            existing = self._existing(number, manifest.sha256)
            if existing is not None:
                return existing
            self._place(manifest, content)
        return manifest

    def publish_foundation(
        self, weights: Weights, *, catalogue_version: int, health: Mapping[str, float] | None = None
    ) -> Manifest:
        """Keep pretrained weights as a new foundation; raises as `publish`."""
        return self.publish(
            weights, parent=None, foundation=None, catalogue_version=catalogue_version,
            updates=0, banners=0, health=health,
        )  # fmt: skip

    def promote(self, version: int, *, reason: str) -> Live:
        """Make a version live; nothing changes when it is already.

        Raises:
            RegistryHeld: somebody rolled back and nobody resumed.
            SnapshotUnknown: there is no such version.
            SnapshotRejected: it is damaged.
        """
        with self._locked():
            live = self.live()
            if live is not None and live.hold:
                raise RegistryHeld(
                    f"held at version {live.version} ({live.reason}): run `quintet policies resume`"
                )
            if live is not None and live.version == version:
                return live
            manifest = self.load(version).manifest
            previous = () if live is None else (*live.previous, live.version)
            return self._point(manifest, previous=previous, hold=False, reason=reason)

    def rollback(self, *, reason: str, to: int | None = None) -> Live:
        """Make an earlier version live again and hold: nothing is promoted until `resume`.

        Args:
            reason: for people.
            to: the version, also where the pointer is damaged; None: the one that was live before
                and is sound.

        Raises:
            NoLiveSnapshot: nothing is live.
            SnapshotUnknown: there is no such version, or none to go back to.
            SnapshotRejected: the version named is damaged.
        """
        with self._locked():
            if to is None:
                manifest, previous = self._sound_before(self._live())
            else:
                manifest, previous = self.load(to).manifest, _before(self._previous(), to)
            return self._point(manifest, previous=previous, hold=True, reason=reason)

    def _previous(self) -> tuple[int, ...]:
        """Return what was live before; nothing when the pointer is damaged."""
        try:
            return self._live().previous
        except LivePointerNotReadable:
            return ()

    def resume(self) -> Live:
        """Lift the hold; nothing changes when there is none.

        Raises:
            NoLiveSnapshot: nothing is live.
        """
        with self._locked():
            live = self._live()
            if not live.hold:
                return live
            resumed = msgspec.structs.replace(
                live, hold=False, changed_at_ms=self._clock(), reason="resumed"
            )
            return self._replace_live(resumed)

    def live(self) -> Live | None:
        """Return the live pointer; None: nothing was promoted yet.

        Raises:
            LivePointerNotReadable: `live.json` is damaged.
        """
        try:
            return decode_live((self._root / "live.json").read_bytes())
        except FileNotFoundError:
            return None
        except SchemaError as problem:
            raise LivePointerNotReadable(
                f"{self._root / 'live.json'}: {problem}; `quintet policies rollback --to VERSION` "
                "writes it anew"
            ) from problem

    def manifests(self) -> list[Manifest]:
        """Return the manifests of what is kept, by version; damaged ones are logged, left out."""
        found = []
        for version in self._versions():
            try:
                found.append(self._manifest(version))
            except SnapshotRejected as problem:
                log.warning("manifest_not_readable", version=version, reason=str(problem))
        return found

    def load(self, version: int) -> Snapshot:
        """Return a version, verified.

        Raises:
            SnapshotUnknown: there is no such version.
            SnapshotRejected: it is damaged.
        """
        self._manifest(version)
        return read_snapshot(self._folder(version))

    def next_version(self) -> int:
        """Return the number after every version there was: the newest is never pruned."""
        live = self.live()
        known = [0, *self._versions()]
        if live is not None:
            known += [live.version, live.foundation, *live.previous]
        return max(known) + 1

    @contextmanager
    def still(self) -> Iterator[list[int]]:
        """Let nobody publish, promote or prune while the block runs; yield the versions kept.

        What is copied meanwhile belongs together. Keep it short: trainer and operators wait.
        """
        with self._locked():
            yield self._versions()

    def prune(self) -> list[int]:
        """Delete what need not be kept and return the versions that went.

        Kept are foundations, what is live, the last 50, and one an hour for seven days.
        """
        with self._locked():
            drop = versions_to_drop(self.manifests(), self.live(), now_ms=self._clock())
            for version in drop:
                self._folder(version).rename(self._snapshots / f"{_TEMPORARY}{version}")
            sync_folder(self._snapshots)
            self._sweep()
        return drop

    def _manifest(self, version: int) -> Manifest:
        folder = self._folder(version)
        if not folder.is_dir():
            raise SnapshotUnknown(f"there is no version {version}: see `quintet policies list`")
        manifest = read_manifest(folder)
        if manifest.version != version:
            raise SnapshotRejected(f"manifest: {folder.name} holds version {manifest.version}")
        return manifest

    def _existing(self, version: int, sha256: str) -> Manifest | None:
        """Return the manifest when the same weights have this version; None when it is free."""
        if self._folder(version).exists():
            existing = self._manifest(version)
            if existing.sha256 != sha256:
                raise VersionTaken(f"version {version} exists with other weights")
            return existing
        if version < self.next_version():
            raise VersionTaken(f"version {version} has passed: the next is {self.next_version()}")
        return None

    def _place(self, manifest: Manifest, content: bytes) -> None:
        temporary = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=self._snapshots))
        try:
            temporary.chmod(0o755)
            write_snapshot(temporary, manifest, content)
            temporary.rename(self._folder(manifest.version))
        except BaseException:
            # On a disk that is nearly full every further try would leave as much behind.
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync_folder(self._snapshots)

    def _sound_before(self, live: Live) -> tuple[Manifest, tuple[int, ...]]:
        for place in range(len(live.previous) - 1, -1, -1):
            try:
                return self.load(live.previous[place]).manifest, live.previous[:place]
            except (SnapshotUnknown, SnapshotRejected) as problem:
                log.warning(
                    "rollback_skips", version=live.previous[place], reason=str(problem)
                )  # fmt: skip
        raise SnapshotUnknown(f"nothing sound was live before version {live.version}")

    def _point(
        self, manifest: Manifest, *, previous: tuple[int, ...], hold: bool, reason: str
    ) -> Live:
        return self._replace_live(
            Live(
                version=manifest.version,
                foundation=manifest.foundation,
                hold=hold,
                previous=previous[-PREVIOUS:],
                changed_at_ms=self._clock(),
                reason=reason,
            )
        )

    def _replace_live(self, live: Live) -> Live:
        temporary = self._root / "live.json.tmp"
        with temporary.open("wb") as stream:
            stream.write(encode(live))
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(self._root / "live.json")
        sync_folder(self._root)
        return live

    def _live(self) -> Live:
        live = self.live()
        if live is None:
            raise NoLiveSnapshot("nothing is live yet: run `quintet pretrain`")
        return live

    def _folder(self, version: int) -> Path:
        return self._snapshots / f"{version:08d}"

    def _versions(self) -> list[int]:
        return sorted(int(path.name) for path in self._snapshots.iterdir() if path.name.isdigit())

    def _sweep(self) -> None:
        """Delete what the dead left half-written: writers hold the lock, so no writer is alive."""
        for path in self._snapshots.iterdir():
            if path.name.startswith(_TEMPORARY):
                shutil.rmtree(path)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._root / "lock").open("ab") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)  # let go when the file is closed, or its holder dies
            yield


def _before(previous: tuple[int, ...], version: int) -> tuple[int, ...]:
    """Return what was live before a version last was; of one that never was, what is older."""
    if version in previous:
        return previous[: len(previous) - 1 - previous[::-1].index(version)]
    return tuple(number for number in previous if number < version)
