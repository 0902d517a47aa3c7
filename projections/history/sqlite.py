"""The history in one SQLite file in WAL mode: one process writes, any number read meanwhile.

The 8 bytes of a user key are the table's integer key, so a read is one descent of one tree.
"""

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from projections.errors import HistoryUnavailable, PositionsMoved
from projections.history import kept, port
from projections.history.metrics import HistoryReadMetrics
from streams.port import Partition

_WRITER_WAITS_SECONDS: Final = 10.0
_READER_WAITS_SECONDS: Final = 0.05
_MAPPED_BYTES: Final = 2**30
_READ: Final = "SELECT value FROM shoppers WHERE user_key = ?"
_READ_AT_ONCE: Final = 64
"""Shoppers in one statement; a statement for each smaller number stays prepared too."""
_TABLES: Final = (
    "CREATE TABLE IF NOT EXISTS shoppers"
    " (user_key INTEGER PRIMARY KEY, newest_ms INTEGER NOT NULL, value BLOB NOT NULL)",
    "CREATE INDEX IF NOT EXISTS shoppers_by_age ON shoppers (newest_ms)",
    "CREATE TABLE IF NOT EXISTS positions"
    " (topic TEXT, number INTEGER, position INTEGER NOT NULL, PRIMARY KEY (topic, number))",
)


@cache
def _read_many(shoppers: int) -> str:
    places = ", ".join("?" * shoppers)
    return f"SELECT user_key, value FROM shoppers WHERE user_key IN ({places})"  # noqa: S608


def _number(user_key: bytes) -> int:
    return int.from_bytes(user_key, "big", signed=True)


@contextlib.contextmanager
def _reachable() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as problem:
        raise HistoryUnavailable(f"the history file: {problem}") from problem


class SqliteHistoryStore:
    """The writing side of the file.

    Args:
        path: the file; made when it does not exist (its folder must).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened: sqlite3.Connection | None = None

    def load(self, user_keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return the values of those shoppers that have one; raises HistoryUnavailable."""
        with _reachable():
            read = self._connection().execute
            found = ((key, read(_READ, (_number(key),)).fetchone()) for key in user_keys)
            return {key: line[0] for key, line in found if line is not None}

    def apply(
        self,
        changes: Mapping[bytes, bytes | None],
        positions: Mapping[Partition, int],
        *,
        since: Mapping[Partition, int],
    ) -> None:
        """Keep new values and move positions, in one transaction.

        Raises:
            PositionsMoved: the store is not at `since`; nothing moved.
            HistoryUnavailable: not known whether it happened.
        """
        values = [
            (_number(key), kept.newest_ms(value), value)
            for key, value in changes.items()
            if value is not None
        ]
        forgotten = [(_number(key),) for key, value in changes.items() if value is None]
        with self._transaction() as run:
            refusal = port.moved(self.positions(), positions, since)
            if refusal is not None:
                raise PositionsMoved(refusal)
            run.executemany("INSERT OR REPLACE INTO shoppers VALUES (?, ?, ?)", values)
            run.executemany("DELETE FROM shoppers WHERE user_key = ?", forgotten)
            run.executemany(
                "INSERT OR REPLACE INTO positions VALUES (?, ?, ?)",
                [(*partition, position) for partition, position in positions.items()],
            )

    def positions(self) -> dict[Partition, int]:
        """Return the offset next to read of every partition; raises HistoryUnavailable."""
        with _reachable():
            lines = self._connection().execute("SELECT topic, number, position FROM positions")
            return {Partition(topic, number): position for topic, number, position in lines}

    def clear(self) -> None:
        """Forget everything; raises HistoryUnavailable."""
        with self._transaction() as run:
            run.execute("DELETE FROM shoppers")
            run.execute("DELETE FROM positions")

    def expire(self, before_ms: int) -> int:
        """Forget shoppers whose newest purchase is older; raises HistoryUnavailable."""
        with self._transaction() as run:
            return run.execute("DELETE FROM shoppers WHERE newest_ms < ?", (before_ms,)).rowcount

    def close(self) -> None:
        """Close the file."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with _reachable():
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE")
            with connection:  # commits, or rolls back when the block raises
                yield connection

    def _connection(self) -> sqlite3.Connection:
        if self._opened is None:
            connection = sqlite3.connect(
                self._path,
                timeout=_WRITER_WAITS_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
            try:
                # A history of 256 repeats has 5 KB; the log is what must survive a power cut.
                connection.execute("PRAGMA page_size = 8192")
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.execute("PRAGMA secure_delete = ON")  # an erased user's bytes go too
                for table in _TABLES:
                    connection.execute(table)
            except sqlite3.Error:
                connection.close()
                raise
            self._opened = connection
        return self._opened


class SqliteHistoryReader:
    """The reading side: one connection that cannot write, no waiting.

    Args:
        path: the file; while it does not exist nobody has bought anything.
        metrics: count failures; None: nobody looks.
    """

    def __init__(self, path: Path, *, metrics: HistoryReadMetrics | None = None) -> None:
        self._path = path
        self._metrics = metrics
        self._opened: sqlite3.Connection | None = None

    async def read(self, user_key: bytes) -> bytes | None:
        """Return the packed history of a shopper, or None; raises HistoryUnavailable."""
        (found,) = await self.read_many([user_key])
        if isinstance(found, HistoryUnavailable):
            raise found
        return found

    async def read_many(
        self, user_keys: Sequence[bytes]
    ) -> Sequence[bytes | HistoryUnavailable | None]:
        """Return the packed histories of some shoppers; raises HistoryUnavailable."""
        values: dict[int, bytes] = {}
        numbers = [_number(key) for key in user_keys]
        try:
            connection = self._opened or self._open()
            if connection is not None:
                for start in range(0, len(numbers), _READ_AT_ONCE):
                    some = numbers[start : start + _READ_AT_ONCE]
                    values.update(connection.execute(_read_many(len(some)), some))
        except (sqlite3.Error, OverflowError) as problem:
            if self._metrics is not None:
                self._metrics.failures.inc()
            raise HistoryUnavailable(f"the history file: {problem}") from problem
        return [kept.packed_or_problem(values.get(number)) for number in numbers]

    async def close(self) -> None:
        """Close the file."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _open(self) -> sqlite3.Connection | None:
        if not self._path.exists():
            return None
        connection = sqlite3.connect(
            f"{self._path.resolve().as_uri()}?mode=rw",
            uri=True,
            timeout=_READER_WAITS_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        # Not mode=ro: a reader that comes before the writer must be able to make the WAL index.
        connection.execute("PRAGMA query_only = 1")
        connection.execute(f"PRAGMA mmap_size = {_MAPPED_BYTES}")
        tables = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'shoppers'")
        if tables.fetchone()[0] == 0:
            connection.close()
            return None
        self._opened = connection
        return connection
