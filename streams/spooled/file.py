"""One file of the spool: rows in the order they were put, removed from the front."""

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from streams.errors import LogError, LogUnavailable
from streams.local.file import OwnerLock, connect, translated, writing
from streams.port import Message

log = structlog.get_logger(__name__)

_TABLE: Final = """
CREATE TABLE IF NOT EXISTS spooled (
    place INTEGER PRIMARY KEY, topic TEXT NOT NULL, key BLOB, value BLOB
)
"""
_ROW_BYTES: Final = 32
_READ_BYTES: Final = 1024 * 1024
_BUSY_SECONDS: Final = 1.0


class Batch(NamedTuple):
    """Messages of one topic that stand together in a file.

    Attributes:
        through: place of the last.
        size_bytes: what they count for.
    """

    topic: str
    messages: Sequence[Message]
    through: int
    size_bytes: int


def weight(message: Message) -> int:
    """Return the bytes a message counts for against the limit.

    Example:
        >>> weight(Message(b"key", b"value"))
        40
    """
    return len(message.key or b"") + len(message.value or b"") + _ROW_BYTES


class SpoolFile:
    """A queue in one SQLite file, owned by this process as long as it holds the lock.

    Args:
        path: the file; made at the first `put`.
        lock: held; given back by `close`.

    Attributes:
        records: how many messages it holds.
        size_bytes: what they count for.
    """

    def __init__(self, path: Path, lock: OwnerLock) -> None:
        self.path = path
        self.records = self.size_bytes = 0
        self._lock = lock
        self._using = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._removed = self._last = 0
        if path.exists():
            self._count()

    def _count(self) -> None:
        """Count what an earlier process left; what cannot be read is put aside, never deleted."""
        try:
            connection = self._opened()
            with translated():
                self.records, self.size_bytes, self._last = connection.execute(
                    f"SELECT count(*), coalesce(sum({_ROW_BYTES} + coalesce(length(key), 0)"  # noqa: S608
                    " + coalesce(length(value), 0)), 0), coalesce(max(place), 0) FROM spooled"
                ).fetchone()
        except LogUnavailable:
            self._disconnect()
            raise
        except LogError as problem:
            self._disconnect()
            aside = next(
                aside
                for number in range(1_000)
                if not (aside := self.path.with_suffix(f".unreadable-{number}")).exists()
            )
            self.path.rename(aside)
            log.exception("spool_not_readable", kept_as=aside.name, problem=str(problem))

    def put(self, topic: str, messages: Sequence[Message]) -> Batch:
        """Put messages at the end in one durable transaction; raises LogError and keeps none."""
        with self._using:
            connection = self._opened()
            rows = [
                (place, topic, message.key, message.value)
                for place, message in enumerate(messages, start=self._last + 1)
            ]
            with writing(connection):
                connection.executemany("INSERT INTO spooled VALUES (?, ?, ?, ?)", rows)
            self._last += len(rows)
            put = Batch(topic, messages, self._last, sum(map(weight, messages)))
            self.records += len(rows)
            self.size_bytes += put.size_bytes
        return put

    def first(self, *, max_records: int) -> Batch:
        """Return the oldest messages of one topic, a megabyte at most or one; raises LogError."""
        found: list[Message] = []
        topic, through, size = "", 0, 0
        with self._using, translated():
            rows = self._opened().execute(
                "SELECT place, topic, key, value FROM spooled WHERE place > ?"
                " ORDER BY place LIMIT ?",
                (self._removed, max_records),
            )
            for place, each, key, value in rows:
                message = Message(key, value)
                if found and (each != topic or size + weight(message) > _READ_BYTES):
                    break
                found.append(message)
                topic, through, size = each, place, size + weight(message)
            rows.close()
        return Batch(topic, found, through, size)

    def remove(self, batch: Batch) -> None:
        """Forget the oldest messages: for this process at once, on disk as soon as that takes it.

        A full disk may refuse even this; then nothing is sent twice but after a crash.
        """
        with self._using:
            self._removed = batch.through
            self.records -= len(batch.messages)
            self.size_bytes -= batch.size_bytes
            try:
                connection = self._opened()
                with writing(connection):
                    connection.execute("DELETE FROM spooled WHERE place <= ?", (batch.through,))
            except LogError as problem:
                log.warning("spool_not_shortened", problem=str(problem))

    def discard(self) -> None:
        """Delete the file, which must hold nothing more."""
        with self._using:
            self._disconnect()
            for suffix in ("", "-wal", "-shm"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
            self._removed = self._last = 0

    def close(self) -> None:
        """Close the file, delete it when it is empty, and give the lock back."""
        if not self.records:
            self.discard()
        with self._using:
            self._disconnect()
        self._lock.release()

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = connect(self.path, busy_seconds=_BUSY_SECONDS)
            try:
                with translated():
                    connection.execute("PRAGMA journal_mode=WAL")
                    connection.execute(_TABLE)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
