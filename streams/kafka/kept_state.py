"""A copy of one partition's state on this machine's disk, so that a restart reads only what is new.

The changelog is the truth; a copy may be thrown away at any time, and is when anything about it is
doubtful. It holds what the changelog said before one offset, never more: changes are noted after
their transaction committed, gathered, and written together with the offset they reach. So a process
killed between the two reads the rest from the changelog again.

The file is a log too: a write appends chunks of entries, and takes the oldest chunks up again (what
of them still holds goes into the new one) while most entries are outdated or the chunk is old. A
B-tree of entries would cost ten times as much: each commit changes a few pages everywhere.

SQLite keeps the file for one process alone while it is open, and frees it when that dies.
"""

import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

_LAYOUT: Final = 1
_CHANGES: Final = 20_000
_WRITE_EVERY_MS: Final = 2_000
_CHUNK_BYTES: Final = 8 * 1024 * 1024
_CHUNK_LIFE_MS: Final = 86_400_000
"""What is outdated (an erased shopper's, say) is gone from the file after so long."""
_OUTDATED_AT_LEAST: Final = 10_000
_TAKEN_UP_AT_LEAST: Final = 1_000
_TABLES: Final = f"""
CREATE TABLE reached (origin TEXT NOT NULL, position INTEGER NOT NULL,
  complete_ms INTEGER NOT NULL);
CREATE TABLE chunks (number INTEGER PRIMARY KEY, written_ms INTEGER NOT NULL,
  entries BLOB NOT NULL, checksum INTEGER NOT NULL);
PRAGMA user_version={_LAYOUT};
"""

Entries = dict[bytes, bytes | None]
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Entries).decode


class StateDoubtful(Exception):
    """The copy cannot be used: unreadable, damaged, or on a full disk."""


class StateHeld(StateDoubtful):
    """Another process has the copy open."""


class _Chunk(NamedTuple):
    written_ms: int
    entries: int


class KeptState:
    """The copy in the file `path`, made when missing; `load` it before anything else.

    Attributes:
        position: next offset of the changelog to be read; 0: nothing is known.
        complete_ms: at this time, by the clock of whoever wrote it, the copy was all there was.

    Args:
        path: the file.
        origin: what the copy is of. A copy of anything else is emptied.

    Raises:
        StateDoubtful: the file cannot be used.
    """

    def __init__(self, path: Path, origin: str) -> None:
        self.position = 0
        self.complete_ms = 0
        self._origin = origin
        self._noted: Entries = {}
        self._is_written = True
        self._written_ms = 0
        self._chunks: dict[int, _Chunk] = {}
        self._index: dict[bytes, int] = {}
        """The chunk that holds a key's value."""
        self._connection = _opened(path)
        try:
            self._take_up()
        except (sqlite3.Error, StateDoubtful) as problem:
            self._connection.close()
            raise StateDoubtful(f"{path}: {problem}") from problem

    def _take_up(self) -> None:
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            self._connection.executescript(_TABLES)
        elif version != _LAYOUT:
            raise StateDoubtful(f"layout {version}, not {_LAYOUT}")
        row = self._connection.execute("SELECT * FROM reached").fetchone()
        if row is not None and row[0] == self._origin:
            _, self.position, self.complete_ms = row
        else:
            self.empty()

    def empty(self) -> None:
        """Forget everything; raises StateDoubtful."""
        self._noted.clear()
        self._chunks.clear()
        self._index.clear()
        self.position = self.complete_ms = 0
        self._commit([], None)

    def load(self) -> dict[bytes, bytes]:
        """Return the last value of every key.

        Raises:
            StateDoubtful: the file is damaged.
        """
        state: dict[bytes, bytes] = {}
        self._chunks.clear()
        self._index.clear()
        for number, written_ms, entries in self._read(""):
            self._chunks[number] = _Chunk(written_ms, len(entries))
            for key, value in entries.items():
                if value is None:
                    state.pop(key, None)
                    self._index.pop(key, None)
                else:
                    state[key] = value
                    self._index[key] = number
        return state

    def note(self, changes: Mapping[bytes, bytes | None], position: int, now_ms: int) -> None:
        """Take changes that are committed; they are written now and then.

        Args:
            changes: new values by key; None forgets the key.
            position: the offset after the last of them.
            now_ms: a time before which nothing is missing.

        Raises:
            StateDoubtful: the disk does not take them.
        """
        self._noted |= changes
        self._is_written = False
        self.position, self.complete_ms = position, now_ms
        if len(self._noted) >= _CHANGES or abs(now_ms - self._written_ms) >= _WRITE_EVERY_MS:
            self.write()

    def write(self) -> None:
        """Write what was noted, all of it or nothing; raises StateDoubtful, which ends the copy."""
        # Before the disk refuses: the changes are taken away below, and `close` writing once more
        # would claim their offset without them.
        self._is_written = True
        fresh, self._noted = self._noted, {}
        taken_up = self._taken_up(fresh)
        number = max(self._chunks, default=0)
        rows = []
        for entries in _parted(fresh):
            number += 1
            packed = _encode(entries)
            rows.append((number, self.complete_ms, packed, zlib.crc32(packed)))
            self._chunks[number] = _Chunk(self.complete_ms, len(entries))
            for key, value in entries.items():
                if value is None:
                    self._index.pop(key, None)
                else:
                    self._index[key] = number
        self._commit(rows, taken_up)
        self._written_ms = self.complete_ms

    def _taken_up(self, fresh: Entries) -> int | None:
        """Add what still holds of the oldest chunks to `fresh`; return the last of these chunks.

        Nothing is older than they are, so what they forget needs no telling any more.
        """
        last, budget = None, 4 * len(fresh) + _TAKEN_UP_AT_LEAST
        total = sum(chunk.entries for chunk in self._chunks.values())
        for number, chunk in list(self._chunks.items()):
            outdated = total - len(self._index)
            is_old = self.complete_ms - chunk.written_ms >= _CHUNK_LIFE_MS
            if budget <= 0 or not (is_old or outdated > max(len(self._index), _OUTDATED_AT_LEAST)):
                break
            for _, _, entries in self._read(f"WHERE number = {number:d}"):
                for key, value in entries.items():
                    if self._index.get(key) == number:
                        fresh.setdefault(key, value)
            budget -= chunk.entries
            total -= chunk.entries
            del self._chunks[number]
            last = number
        return last

    def close(self) -> None:
        """Write what was noted, as far as the disk takes it, and free the file."""
        with suppress(StateDoubtful):
            if not self._is_written:
                self.write()
        with suppress(sqlite3.Error):
            self._connection.close()

    def _read(self, where: str) -> Iterator[tuple[int, int, Entries]]:
        try:
            rows = self._connection.execute(f"SELECT * FROM chunks {where} ORDER BY number")  # noqa: S608
            for number, written_ms, packed, checksum in rows:
                if zlib.crc32(packed) != checksum:
                    raise StateDoubtful(f"chunk {number} is damaged")
                yield number, written_ms, _decode(packed)
        except (sqlite3.Error, msgspec.MsgspecError) as problem:
            raise StateDoubtful(f"the copy cannot be read: {problem}") from problem

    def _commit(self, rows: Iterable[tuple[object, ...]], taken_up: int | None) -> None:
        """Write chunks and how far they reach; drop those up to `taken_up`, or all without rows."""
        try:
            with self._connection as connection:
                connection.execute("BEGIN")
                if taken_up is not None or not self._chunks:
                    last = -1 if taken_up is None else taken_up
                    connection.execute(
                        "DELETE FROM chunks WHERE number <= ? OR ? < 0", (last, last)
                    )
                connection.executemany("INSERT INTO chunks VALUES (?, ?, ?, ?)", rows)
                connection.execute("DELETE FROM reached")
                connection.execute(
                    "INSERT INTO reached VALUES (?, ?, ?)",
                    (self._origin, self.position, self.complete_ms),
                )
        except sqlite3.Error as problem:
            raise StateDoubtful(f"the copy cannot be written: {problem}") from problem


def _parted(entries: Entries) -> Iterator[Entries]:
    part: Entries = {}
    size = 0
    for key, value in entries.items():
        part[key] = value
        size += len(key) + len(value or b"")
        if size >= _CHUNK_BYTES:
            yield part
            part, size = {}, 0
    if part:
        yield part


def _opened(path: Path) -> sqlite3.Connection:
    """Return a connection that has the file for itself."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            path, timeout=0.0, isolation_level=None, check_same_thread=False
        )
    except (sqlite3.Error, OSError) as problem:
        raise StateDoubtful(f"{path}: {problem}") from problem
    try:
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("COMMIT")
        # Enough for a copy: after a power cut it may be older, never torn.
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA secure_delete=ON")
        connection.execute("PRAGMA journal_size_limit=16777216")
    except sqlite3.Error as problem:
        connection.close()
        is_held = problem.sqlite_errorcode == sqlite3.SQLITE_BUSY
        raise (StateHeld if is_held else StateDoubtful)(f"{path}: {problem}") from problem
    return connection


def discard(path: Path) -> None:
    """Remove a copy; the next one begins empty."""
    for name in (path.name, f"{path.name}-wal"):
        with suppress(OSError):
            path.with_name(name).unlink(missing_ok=True)


def discard_old(folder: Path, *, now_ms: int) -> None:
    """Remove the copies that nobody wrote to for two days: their partitions went elsewhere."""
    for path in folder.glob("*.db"):
        # While a copy is open, only the log beside it is written to.
        parts = (path, path.with_name(f"{path.name}-wal"))
        with suppress(OSError):
            written = [each.stat().st_mtime for each in parts if each.exists()]
            if now_ms - max(written, default=now_ms) * 1_000 > 2 * _CHUNK_LIFE_MS:
                discard(path)
