"""Parquet files by day, written in bounded memory."""

from collections import OrderedDict, defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from cli.export_rows import Row

ROWS_IN_MEMORY: Final = 20_000
"""Of one table."""
OPEN_FILES: Final = 8


class DayTable:
    """One table in a folder: `day=2026-11-22/part-00000.parquet`, days in UTC by append time.

    Args:
        folder: made here.
        schema: of its rows; each has `appended_at`, in milliseconds since 1970.
    """

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        folder.mkdir()
        self.rows = 0
        self._folder = folder
        self._schema = schema
        self._waiting: dict[str, list[Row]] = defaultdict(list)
        self._count = 0
        self._files: OrderedDict[str, pq.ParquetWriter] = OrderedDict()
        self._parts: dict[str, int] = defaultdict(int)

    def add(self, row: Row) -> None:
        """Take a row; write what waits when there is enough of it."""
        day = datetime.fromtimestamp(row["appended_at"] / 1000, UTC).strftime("%Y-%m-%d")
        self._waiting[day].append(row)
        self.rows += 1
        self._count += 1
        if self._count >= ROWS_IN_MEMORY:
            self._write()

    def _write(self) -> None:
        for day, rows in self._waiting.items():
            self._file(day).write_table(pa.Table.from_pylist(rows, schema=self._schema))
        self._waiting.clear()
        self._count = 0

    def _file(self, day: str) -> pq.ParquetWriter:
        """Return the day's open file; of many days the one not written to for longest is closed."""
        if day not in self._files:
            while len(self._files) >= OPEN_FILES:
                self._files.popitem(last=False)[1].close()
            folder = self._folder / f"day={day}"
            folder.mkdir(exist_ok=True)
            part = folder / f"part-{self._parts[day]:05d}.parquet"
            self._parts[day] += 1
            self._files[day] = pq.ParquetWriter(part, self._schema, compression="zstd")
        self._files.move_to_end(day)
        return self._files[day]

    def finish(self) -> None:
        """Write the rest; a table without rows is one empty file, so that it can be read too."""
        self._write()
        if not self._parts:
            pq.write_table(self._schema.empty_table(), self._folder / "part-00000.parquet")
        self.close()

    def close(self) -> None:
        """Close the files."""
        while self._files:
            self._files.popitem()[1].close()
