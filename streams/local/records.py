"""The records of the local log: one table for each partition, the offset its row id.

So appending only ever fills the last page of a table, and what retention drops is whole pages.
Table names cannot be bound like values: they are made here alone, from the id, which is a number.
"""

import sqlite3
from collections.abc import Callable, Sequence
from typing import Final

from streams.port import Message, Partition, Record, partition_of

_ROWS_PER_STATEMENT: Final = (64, 16, 4, 1)
_ROWS_PER_DROP: Final = 5_000


class Onward:
    """A clock that goes on from a partition's last append time where its own time has gone back.

    So a machine whose clock is put right does not stop stream time until it has caught up: windows
    still close, at half the pace of the clock. So the clock catches up, whatever is appended, in
    twice the time it was put back by; then it counts alone again.

    Args:
        clock: milliseconds since 1970.

    Example:
        >>> now_ms = [3_000]
        >>> onward = Onward(lambda: now_ms[0])
        >>> onward.after(1, 3_000)
        3000
        >>> now_ms[0] = 1_000
        >>> onward.after(1, 3_000)
        3000
        >>> now_ms[0] = 1_500
        >>> onward.after(1, 3_000)
        3250
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._slow: dict[int, tuple[int, int]] = {}
        """By partition that is ahead: since when the half pace holds, and the time it began at."""

    def after(self, partition_id: int, last_ms: int) -> int:
        """Return the time now, in milliseconds since 1970; never before a partition's last one."""
        now_ms = self._clock()
        if now_ms >= last_ms:
            self._slow.pop(partition_id, None)
            return now_ms
        since_ms, from_ms = self._slow.setdefault(partition_id, (now_ms, last_ms))
        at_ms = from_ms + (now_ms - since_ms) // 2
        if at_ms < last_ms:
            # Put back once more, or another process is further on.
            self._slow[partition_id] = now_ms, last_ms
        return max(at_ms, last_ms)


def create_records(connection: sqlite3.Connection, partition_id: int) -> None:
    """Make the table of a partition inside the caller's transaction."""
    connection.execute(
        f"CREATE TABLE records_{partition_id:d} ("
        " offset INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, key BLOB, value BLOB)"
    )


def insert(
    connection: sqlite3.Connection,
    ids: Sequence[int],
    messages: Sequence[Message],
    clock: "Onward",
) -> None:
    """Append messages to a topic's partitions inside the caller's transaction.

    Args:
        connection: in a transaction.
        ids: of the topic's partitions, in the order of their numbers.
        messages: what to append, in order.
        clock: gives their append time.
    """
    routed: dict[int, list[Message]] = {}
    for message in messages:
        routed.setdefault(ids[partition_of(message.key, len(ids))], []).append(message)
    for partition_id, group in routed.items():
        end, last_ms = connection.execute(
            "SELECT end_offset, last_ms FROM partitions WHERE id = ?", (partition_id,)
        ).fetchone()
        at_ms = clock.after(partition_id, last_ms)
        _insert_rows(connection, partition_id, end, at_ms, group)
        connection.execute(
            "UPDATE partitions SET end_offset = ?, last_ms = ? WHERE id = ?",
            (end + len(group), at_ms, partition_id),
        )


def _insert_rows(
    connection: sqlite3.Connection,
    partition_id: int,
    offset: int,
    at_ms: int,
    group: Sequence[Message],
) -> None:
    # Few statements of many rows: each statement gives up the interpreter lock once, and a busy
    # thread beside this one keeps it for milliseconds each time.
    done = 0
    while done < len(group):
        size = next(size for size in _ROWS_PER_STATEMENT if size <= len(group) - done)
        values: list[int | bytes | None] = []
        for number, message in enumerate(group[done : done + size], start=offset + done):
            values += (number, at_ms, message.key, message.value)
        connection.execute(
            f"INSERT INTO records_{partition_id:d} VALUES {_ROWS[size]}",  # noqa: S608
            values,
        )
        done += size


_ROWS: Final = {size: ", ".join(["(?, ?, ?, ?)"] * size) for size in _ROWS_PER_STATEMENT}


def read(
    connection: sqlite3.Connection,
    partition_id: int,
    partition: Partition,
    *,
    offset: int,
    max_records: int,
) -> list[Record]:
    """Return the next records of a partition from an offset on."""
    rows = connection.execute(
        f"SELECT offset, at_ms, key, value FROM records_{partition_id:d}"  # noqa: S608
        " WHERE offset >= ? ORDER BY offset LIMIT ?",
        (offset, max_records),
    ).fetchall()
    return [Record(partition, *row) for row in rows]


def drop(connection: sqlite3.Connection, partition_id: int, *, before_ms: int) -> int:
    """Drop a partition's oldest records appended before a time, a few thousand at most.

    Returns:
        How many were dropped; 0: none is left to drop.
    """
    start: int
    end: int
    start, end = connection.execute(
        "SELECT start_offset, end_offset FROM partitions WHERE id = ?", (partition_id,)
    ).fetchone()
    limit = min(end, start + _ROWS_PER_DROP)
    kept = connection.execute(
        f"SELECT offset FROM records_{partition_id:d}"  # noqa: S608
        " WHERE offset < ? AND at_ms >= ? ORDER BY offset LIMIT 1",
        (limit, before_ms),
    ).fetchone()
    until: int = kept[0] if kept else limit
    if until > start:
        # Overwritten in place first: SQLite moves rows about while it deletes others, and leaves
        # copies behind.
        connection.execute(
            f"UPDATE records_{partition_id:d} SET key = zeroblob(length(key)),"  # noqa: S608
            " value = zeroblob(length(value)) WHERE offset < ?",
            (until,),
        )
        connection.execute(
            f"DELETE FROM records_{partition_id:d} WHERE offset < ?",  # noqa: S608
            (until,),
        )
        connection.execute(
            "UPDATE partitions SET start_offset = ? WHERE id = ?", (until, partition_id)
        )
    return until - start
