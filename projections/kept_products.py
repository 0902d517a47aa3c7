"""The topic `products` as this machine saw it last, in one SQLite file.

A process that starts while the log is away makes its catalogue from this. Several processes may
write the same file: all of them read the same records. Each record names the one before it, so a
file that one process left with a hole ends there for the next.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

import structlog

from streams.port import Partition, Record
from streams.topics import PRODUCTS

log = structlog.get_logger(__name__)
_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS products (offset INTEGER PRIMARY KEY, before INTEGER NOT NULL,"
    " at_ms INTEGER NOT NULL, key BLOB, value BLOB)"
)
_PARTITION: Final = Partition(PRODUCTS.name, 0)
_NOTHING: Final = -1
_BUSY_SECONDS: Final = 1.0
_UNSAVED_AT_MOST: Final = 20_000


class KeptProducts:
    """The records of `products` up to some offset; for one thread.

    Args:
        path: the file; made by the first `keep`.

    Attributes:
        last: the last record that was loaded or is to be kept; None: nothing so far.
    """

    def __init__(self, path: Path) -> None:
        self.last: Record | None = None
        self._path = path
        self._unsaved: list[tuple[int, int, int, bytes | None, bytes | None]] = []
        self._keeps = True

    def load(self) -> Sequence[Record]:
        """Return the records without a gap from the first on; none where nothing can be read.

        A damaged file is removed, and kept anew.
        """
        if not self._path.exists():
            return ()
        found: list[Record] = []
        end = _NOTHING
        try:
            with closing(self._connected()) as connection:
                for offset, before, *rest in connection.execute(
                    "SELECT offset, before, at_ms, key, value FROM products ORDER BY offset"
                ):
                    if before != end:
                        break
                    found.append(Record(_PARTITION, offset, *rest))
                    end = offset
        except sqlite3.Error as problem:
            log.warning("kept_products_not_readable", path=str(self._path), problem=str(problem))
            if not isinstance(problem, sqlite3.OperationalError):
                with suppress(OSError):
                    self.clear()
            return ()
        self.last = found[-1] if found else None
        return found

    def keep(self, records: Sequence[Record]) -> None:
        """Write the next records; what the disk does not take now is written the next time.

        When too many wait for that, none are kept any more: the next process goes on from there.
        """
        if not self._keeps:
            return
        for record in records:
            before = _NOTHING if self.last is None else self.last.offset
            self._unsaved.append(
                (record.offset, before, record.appended_at_ms, record.key, record.value)
            )
            self.last = record
        if not self._unsaved:
            return
        try:
            with closing(self._connected()) as connection, connection:
                connection.executemany(
                    "INSERT OR REPLACE INTO products VALUES (?, ?, ?, ?, ?)", self._unsaved
                )
        except sqlite3.Error as problem:
            log.warning("products_not_kept", path=str(self._path), problem=str(problem))
            self._keeps = len(self._unsaved) <= _UNSAVED_AT_MOST
            if not self._keeps:
                self._unsaved.clear()
            return
        self._unsaved.clear()

    def clear(self) -> None:
        """Forget everything: the log holds something else."""
        self.last = None
        self._keeps = True
        self._unsaved.clear()
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    def _connected(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=_BUSY_SECONDS)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(_TABLE)
        except BaseException:
            connection.close()
            raise
        return connection
