"""What a history in SQLite promises beside the contract."""

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from projections.errors import HistoryUnavailable
from projections.history.sqlite import SqliteHistoryReader, SqliteHistoryStore
from projections.orders import with_order
from schemas import history as histories
from schemas.history import EMPTY
from tests.contracts.histories import ANN, BOB, EVENTS, Adapter, read, value

HALF_A_WRITE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
connection.execute("DELETE FROM shoppers")
print("in the middle", flush=True)
input()
"""


def test_a_sqlite_history_is_read_while_another_process_writes(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    SqliteHistoryStore(path).apply({ANN: value([1])}, {EVENTS: 1}, since={})
    writer = subprocess.Popen(
        [sys.executable, "-c", HALF_A_WRITE, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"in the middle\n"

    found = read(Adapter(lambda: SqliteHistoryStore(path), lambda: SqliteHistoryReader(path)), ANN)

    assert found == [histories.pack(with_order(EMPTY, [1]))]
    writer.communicate(b"\n")


def test_a_damaged_value_is_one_shoppers_problem(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    SqliteHistoryStore(path).apply({ANN: value([1]), BOB: value([2])}, {EVENTS: 4}, since={})
    with contextlib.closing(sqlite3.connect(path)) as file, file:
        (number,) = file.execute("SELECT user_key FROM shoppers WHERE user_key > 0").fetchone()
        file.execute("UPDATE shoppers SET value = x'00' WHERE user_key = ?", (number,))

    async def ask() -> Sequence[object]:
        reader = SqliteHistoryReader(path)
        try:
            return await reader.read_many([ANN, BOB])
        finally:
            await reader.close()

    damaged, sound = asyncio.run(ask())
    assert isinstance(damaged, HistoryUnavailable)
    assert sound == histories.pack(with_order(EMPTY, [2]))


def test_a_sqlite_file_that_is_none_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    path.write_bytes(b"not a database" * 100)
    adapter = Adapter(lambda: SqliteHistoryStore(path), lambda: SqliteHistoryReader(path))

    with pytest.raises(HistoryUnavailable, match="not a database"):
        read(adapter, ANN)
    with pytest.raises(HistoryUnavailable, match="not a database"):
        adapter.store().positions()
