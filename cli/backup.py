"""A copy of the data directory that belongs together, taken while the ring runs, and put back.

The order, and why a ring goes on from it:
    1. hold the registry still: the trainer can neither publish nor promote
    2. copy the checkpoints and the live pointer: they are of the same update, or one apart, which a
       trainer that starts again mends as after a crash
    3. begin to read histories, then the log: each is seen as it is now, whatever comes after. So
       the log holds every reward that checkpoints and snapshots have learned from, every event that
       histories have taken in, and its own offsets and state
    4. let the registry go on
    5. copy the snapshots, which never change, then histories and log as they were seen at 3
Every file's digest stands in `backup.json`; nothing is put back before all of them agree.
"""

import hashlib
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Final, Literal

import msgspec

from cli.errors import BadUsage, CommandFailed
from cli.whole_folder import whole_folder
from policy.registry import Registry
from policy.snapshot import MANIFEST_FILE, WEIGHTS_FILE
from streams.errors import LogUnavailable

MANIFEST: Final = "backup.json"
LAYOUT: Final = 1
_DATABASES: Final = ("history.db", "log.db")
"""In the order in which they are seen: histories may not be ahead of the log."""
_PAGES_AT_ONCE: Final = 2_048
_WAIT_SECONDS: Final = 10.0
_SPARE_BYTES: Final = 100_000_000
_SNAPSHOTS: Final = Path("registry", "snapshots")
Watch = Callable[[str, int, int], None]
"""Is told what is copied, how much of how much."""


class Backup(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup says of itself (`backup.json`).

    Attributes:
        made_at_ms: milliseconds since 1970.
        live: the version that was live; null: none.
        versions: snapshots in it.
        log: whether the local log is in it; on Kafka it is the cluster's to keep.
        files: sha256 of every file, by its path in the folder.
        size_bytes: of all of them.
    """

    layout: Literal[1] = LAYOUT
    made_at_ms: int
    live: int | None
    versions: int
    log: bool
    files: dict[str, str]
    size_bytes: int


def make_backup(
    data_dir: Path, registry: Registry, target: Path, now_ms: int, watch: Watch
) -> Backup:
    """Copy a data directory into a folder that is there whole or not at all.

    Args:
        data_dir: of a ring, running or not.
        registry: of that data directory.
        target: does not exist, or is an empty folder.
        now_ms: for `backup.json`.
        watch: is told how far it is.

    Raises:
        BadUsage: the target is not empty.
        CommandFailed: its disk is too small, or messages wait in the spool: put back later they
            would go to Kafka a second time, and left out they would be lost without a word.
        LogUnavailable: a database cannot be read.
        OSError: the disk refuses; nothing is left.
    """
    _require_room(data_dir, target)
    if any((data_dir / "spool").glob("*.db")):
        raise CommandFailed(
            f"messages wait for Kafka in {data_dir / 'spool'}, and no backup holds those: bring "
            "Kafka back, and try again when service_spool_records is 0"
        )
    with whole_folder(target, mode=0o700) as folder, closing(_Databases(data_dir)) as databases:
        with registry.still() as versions:
            live = registry.live()
            _copy_checkpoints(data_dir, folder)
            _copy(data_dir / "registry" / "live.json", folder / "registry" / "live.json")
            databases.look()
        for name in ("secret", "demo.json"):
            _copy(data_dir / name, folder / name)
        kept = _copy_snapshots(data_dir, folder, versions, watch)
        databases.copy_to(folder, watch)
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        backup = Backup(
            made_at_ms=now_ms,
            live=None if live is None else live.version,
            versions=kept,
            log=(folder / "log.db").exists(),
            files={str(path.relative_to(folder)): _digest(path) for path in paths},
            size_bytes=sum(path.stat().st_size for path in paths),
        )
        _write(folder / MANIFEST, msgspec.json.format(msgspec.json.encode(backup), indent=2))
    return backup


def put_back(source: Path, data_dir: Path, watch: Watch) -> Backup:
    """Make a data directory from a backup, whole or not at all.

    Raises:
        BadUsage: the data directory is not empty, or the folder is no backup.
        CommandFailed: a file is missing or damaged; nothing was put back.
        OSError: the disk refuses; nothing is left.
    """
    backup = read_backup(source)
    with whole_folder(data_dir) as folder:
        for count, (name, digest) in enumerate(backup.files.items()):
            watch("files", count, len(backup.files))
            path = source / name
            if not path.is_file():
                raise CommandFailed(f"{path} is missing: take another backup; nothing is changed")
            _copy(path, folder / name)
            if _digest(folder / name) != digest:
                raise CommandFailed(f"{path} is damaged: take another backup; nothing is changed")
        watch("files", len(backup.files), len(backup.files))
    return backup


def read_backup(source: Path) -> Backup:
    """Return what a backup says of itself.

    Raises:
        BadUsage: the folder is no backup, a newer version of Quintet made it, or it names files
            that are not its own.
    """
    try:
        backup = msgspec.json.decode((source / MANIFEST).read_bytes(), type=Backup)
    except (OSError, msgspec.MsgspecError) as problem:
        raise BadUsage(f"{source} holds no backup that this version reads: {problem}") from None
    for name in backup.files:
        path = Path(name)
        if path.is_absolute() or ".." in path.parts:
            raise BadUsage(f"{source / MANIFEST} names {name!r}, outside the folder: not restored")
    return backup


class _Databases:
    """The SQLite files of a data directory, each seen as it was at one moment."""

    def __init__(self, data_dir: Path) -> None:
        self._paths = [data_dir / name for name in _DATABASES if (data_dir / name).is_file()]
        self._open: dict[str, sqlite3.Connection] = {}

    def look(self) -> None:
        """See the files as they are now, until they are closed; raises LogUnavailable."""
        for path in self._paths:
            with _readable(path):
                opened = sqlite3.connect(path, timeout=_WAIT_SECONDS, isolation_level=None)
                self._open[path.name] = opened
                opened.execute("BEGIN")
                opened.execute("SELECT count(*) FROM sqlite_master").fetchone()

    def copy_to(self, folder: Path, watch: Watch) -> None:
        """Copy what was seen; raises LogUnavailable."""
        for name, source in self._open.items():
            with _readable(folder / name), closing(sqlite3.connect(folder / name)) as target:
                source.backup(
                    target,
                    pages=_PAGES_AT_ONCE,
                    progress=lambda _, left, total, name=name: watch(name, total - left, total),  # type: ignore[misc]
                    sleep=0.0,
                )
                # As the ring writes it; the journal itself goes into the file when it is closed.
                target.execute("PRAGMA journal_mode=WAL")
            _sync(folder / name)

    def close(self) -> None:
        """Close the files; they are no longer seen as they were."""
        for opened in self._open.values():
            opened.close()


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as problem:
        raise LogUnavailable(f"{path} cannot be copied: {problem}") from problem


def _require_room(data_dir: Path, target: Path) -> None:
    needed = sum(_sizes(data_dir))
    near = next(folder for folder in (target, *target.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(near).free
    if free < needed + _SPARE_BYTES:
        raise CommandFailed(
            f"{near} has {free / 1e9:.1f} GB left, the backup needs {needed / 1e9:.1f} GB"
        )


def _sizes(data_dir: Path) -> Iterator[int]:
    """Yield how large each file is that would be copied; the ring may drop some meanwhile."""
    kept = [data_dir / name for name in _DATABASES]
    for name in ("registry", "checkpoints"):
        for folder, _, files in os.walk(data_dir / name):
            kept += [Path(folder, file) for file in files]
    for path in kept:
        with suppress(FileNotFoundError):
            yield path.stat().st_size


def _copy_checkpoints(data_dir: Path, folder: Path) -> None:
    """Copy the newest first: the one before may be dropped meanwhile."""
    for path in sorted((data_dir / "checkpoints").glob("*.safetensors"), reverse=True):
        _copy(path, folder / "checkpoints" / path.name)


def _copy_snapshots(data_dir: Path, folder: Path, versions: list[int], watch: Watch) -> int:
    """Copy the snapshots that are still kept, oldest first, for they go first; return how many."""
    (folder / _SNAPSHOTS).mkdir(parents=True, exist_ok=True)
    kept = 0
    for count, version in enumerate(versions):
        watch("snapshots", count, len(versions))
        name = _SNAPSHOTS / f"{version:08d}"
        with suppress(FileNotFoundError, shutil.Error):
            shutil.copytree(data_dir / name, folder / name, copy_function=_copy)
        if all((folder / name / file).is_file() for file in (MANIFEST_FILE, WEIGHTS_FILE)):
            kept += 1
        else:  # pruned meanwhile
            shutil.rmtree(folder / name, ignore_errors=True)
    watch("snapshots", len(versions), len(versions))
    return kept


def _copy(source: Path | str, target: Path | str) -> None:
    """Copy a file with its permissions, durably; one that is not there is left out."""
    with ExitStack() as opened:
        try:
            content = opened.enter_context(Path(source).open("rb"))
        except FileNotFoundError:
            return
        target = Path(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        made = opened.enter_context(target.open("wb"))
        # By the open file: the ring may drop its name at any moment.
        os.fchmod(made.fileno(), stat.S_IMODE(os.fstat(content.fileno()).st_mode))
        shutil.copyfileobj(content, made)
        made.flush()
        os.fsync(made.fileno())


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    _sync(path)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
