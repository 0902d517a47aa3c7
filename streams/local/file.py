"""The local log's file: how it is opened, its tables, who owns a group, what its errors mean."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from streams.errors import LogError, LogUnavailable, TopicMismatch
from streams.local.records import create_records
from streams.port import Partition

LAYOUT_VERSION: Final = 1
_PAGE_BYTES: Final = 8_192
"""Five records a page, or so; a commit of thousands took a tenth less than with 4,096."""
# `state` has row ids although it is looked up by key alone: its values are large, and in a tree by
# key every inner page would be full of them (three times the file, twice the time of a commit).
_TABLES: Final = """
CREATE TABLE partitions (
    id INTEGER PRIMARY KEY,
    topic TEXT NOT NULL,
    number INTEGER NOT NULL,
    start_offset INTEGER NOT NULL DEFAULT 0,
    end_offset INTEGER NOT NULL DEFAULT 0,
    last_ms INTEGER NOT NULL DEFAULT 0,
    UNIQUE (topic, number)
);
CREATE TABLE owners (group_name TEXT PRIMARY KEY, epoch INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE progress (
    id INTEGER PRIMARY KEY,
    group_name TEXT NOT NULL,
    partition INTEGER NOT NULL REFERENCES partitions (id),
    next_offset INTEGER,
    UNIQUE (group_name, partition)
);
CREATE TABLE state (
    progress INTEGER NOT NULL REFERENCES progress (id),
    key BLOB NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (progress, key)
);
"""


class Layout(NamedTuple):
    """The partitions of the file: ids by topic, in the order of their numbers."""

    ids: Mapping[str, tuple[int, ...]]

    def of(self, topic: str) -> tuple[int, ...]:
        """Return the ids of a topic's partitions; raises TopicMismatch when it does not exist."""
        try:
            return self.ids[topic]
        except KeyError:
            raise TopicMismatch(
                f"the local log has no topic {topic!r}; topics are declared in streams.topics"
            ) from None

    def id_of(self, partition: Partition) -> int:
        """Return the id of a partition; raises TopicMismatch when it does not exist."""
        ids = self.of(partition.topic)
        if not 0 <= partition.number < len(ids):
            raise TopicMismatch(f"{partition.topic!r} has {len(ids)} partitions: {partition}")
        return ids[partition.number]


@contextmanager
def translated() -> Iterator[None]:
    """Turn SQLite's errors into the log's."""
    try:
        yield
    except sqlite3.OperationalError as problem:
        raise LogUnavailable(f"the local log's file: {problem}") from problem
    except sqlite3.Error as problem:
        raise LogError(f"the local log's file cannot be used: {problem}") from problem


@contextmanager
def writing(connection: sqlite3.Connection) -> Iterator[None]:
    """Run the block as one durable transaction, alone among all processes; all of it or nothing.

    Raises:
        LogUnavailable: the file stayed locked, or the disk is full.
    """
    with translated():
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def connect(path: Path, *, busy_seconds: float) -> sqlite3.Connection:
    """Return a connection that waits `busy_seconds` for another writer and syncs every commit."""
    with translated():
        connection = sqlite3.connect(
            path, timeout=busy_seconds, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA synchronous=FULL")
        # A page that retention empties is overwritten: what is dropped is gone from the bytes too.
        connection.execute("PRAGMA secure_delete=ON")
        connection.execute("PRAGMA journal_size_limit=67108864")
        return connection


def open_file(path: Path, partitions: Mapping[str, int], *, busy_seconds: float) -> Layout:
    """Create what is missing of the file and return its partitions; processes may race.

    Raises:
        TopicMismatch: a topic exists with another number of partitions.
        LogError: a newer version wrote the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with alone(path.with_name(path.name + ".setup")):
        connection = connect(path, busy_seconds=busy_seconds)
        try:
            _create_tables(connection, path)
            return _declare(connection, path, partitions)
        finally:
            connection.close()


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Wait until no other process is inside a block under the same lock file."""
    with lock.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _create_tables(connection: sqlite3.Connection, path: Path) -> None:
    with translated():
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > LAYOUT_VERSION:
            raise LogError(f"{path} was written by a newer version of Quintet; upgrade this one")
        if version == LAYOUT_VERSION:
            return
        connection.execute(f"PRAGMA page_size={_PAGE_BYTES:d}")
        connection.execute("PRAGMA journal_mode=WAL")
    with writing(connection):
        for statement in _TABLES.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version={LAYOUT_VERSION}")


def _declare(connection: sqlite3.Connection, path: Path, partitions: Mapping[str, int]) -> Layout:
    found = _layout(connection)
    for topic, count in partitions.items():
        if len(found.ids.get(topic, ())) not in {0, count}:
            raise TopicMismatch(
                f"topic {topic!r} has {len(found.ids[topic])} partitions in {path}, declared are"
                f" {count}; the number is fixed at creation: use it, or another data directory"
            )
    missing = partitions.keys() - found.ids.keys()
    if not missing:
        return found
    with writing(connection):
        for topic in sorted(missing):
            for number in range(partitions[topic]):
                made = connection.execute(
                    "INSERT INTO partitions (topic, number) VALUES (?, ?)", (topic, number)
                )
                create_records(connection, made.lastrowid or 0)
    return _layout(connection)


def _layout(connection: sqlite3.Connection) -> Layout:
    with translated():
        rows = connection.execute("SELECT topic, id FROM partitions ORDER BY topic, number")
        ids: dict[str, tuple[int, ...]] = {}
        for topic, partition_id in rows.fetchall():
            ids[topic] = (*ids.get(topic, ()), partition_id)
    return Layout(ids)


class OwnerLock:
    """A group's ownership: held by one open file at a time, and by nobody once its process died."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def acquire(self) -> bool:
        """Take the ownership if nobody has it; never waits."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        self._file = file
        return True

    def release(self) -> None:
        """Give the ownership back."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
