"""Tables in files, CSV or Parquet, as rows of text with their line numbers.

A file that cannot be understood as a whole (its header, its encoding, its kind) is refused whole. A
row that cannot be is refused alone, with its line, and counted; the rest is taken.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final

from cli.errors import BadUsage

EXAMPLES: Final = 1_000
_FOUND_CHARACTERS: Final = 60
_SWALLOWED: Final = "quotes are not closed, or a value is far too long"
_READABLE_TYPES: Final = (
    "string", "large_string", "string_view", "int", "uint", "float", "double", "halffloat", "bool",
    "timestamp", "date32", "null",
)  # fmt: skip


class FileRefused(BadUsage):
    """A file cannot be used; nothing of it was taken.

    Args:
        path: the file.
        problem: what is wrong.
        remedy: what to do about it.
        line: where, from 1; None: nowhere in particular.
    """

    def __init__(self, path: Path, problem: str, remedy: str, *, line: int | None = None) -> None:
        self.path = path
        self.line = line
        where = f"{path}" if line is None else f"{path}, line {line}"
        super().__init__(f"{where}: {problem}; {remedy}")


class RowRefused(ValueError):
    """A row cannot be taken.

    Args:
        reason: what is wrong, in words that are the same for every such row.
        found: what stands there instead.
    """

    def __init__(self, reason: str, found: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.found = found


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """Where a row was refused and why. Lines count from 1, the header is the first."""

    path: Path
    line: int
    reason: str
    found: str

    def __str__(self) -> str:
        return f"{self.path}, line {self.line}: {self.reason} (found {self.found})"


@dataclass(slots=True)
class Refusals:
    """Counts refused rows by reason and keeps the first ones as examples."""

    path: Path
    examples: list[RefusedRow] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, line: int, refusal: RowRefused) -> None:
        """Count one row."""
        self.reasons[refusal.reason] += 1
        if len(self.examples) < EXAMPLES:
            found = repr(refusal.found[:_FOUND_CHARACTERS])
            self.examples.append(RefusedRow(self.path, line, refusal.reason, found))


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns a table has to have and which it may have."""

    required: tuple[str, ...]
    optional: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, in the order in which rows give their values."""
        return self.required + self.optional

    def places(self, path: Path, header: Sequence[str]) -> list[int]:
        """Return where each of `names` stands in the header; its width where it does not.

        Raises:
            FileRefused: a column is missing, unknown, or stands there twice.
        """
        self._check(path, header)
        place = {name: number for number, name in enumerate(header)}
        return [place.get(name, len(header)) for name in self.names]

    def _check(self, path: Path, header: Sequence[str]) -> None:
        expected = f"the header must have {','.join(self.required)}"
        if self.optional:
            expected += f" and may have {','.join(self.optional)}"
        twice = [name for name, count in Counter(header).items() if count > 1]
        unknown = [name for name in header if name not in self.names]
        missing = [name for name in self.required if name not in header]
        if len(header) == 1 and any(sign in header[0] for sign in ";\t|"):
            raise FileRefused(path, "the columns are not separated by commas", expected, line=1)
        for problem, names in (("missing", missing), ("unknown", unknown), ("repeated", twice)):
            if names:
                shown = ", ".join(repr(name[:_FOUND_CHARACTERS]) for name in names[:5])
                raise FileRefused(path, f"{problem} column {shown}", expected, line=1)


def rows_of(
    path: Path, columns: Columns, refusals: Refusals
) -> Iterator[tuple[int, Sequence[str]]]:
    """Yield (line, values) of every row that has all columns; values as text, "" where empty.

    Args:
        path: a `.csv` (UTF-8, commas, a header) or `.parquet` file.
        columns: what it must and may have; values come in the order of `columns.names`.
        refusals: takes the rows that cannot be read.

    Raises:
        FileRefused: the file cannot be read or understood.
    """
    if path.is_dir():
        raise FileRefused(path, "this is a folder", "give a .csv or .parquet file")
    if not path.exists():
        raise FileRefused(path, "there is no such file", "check the path")
    kind = path.suffix.lower()
    if kind == ".csv":
        return _csv_rows(path, columns, refusals)
    if kind == ".parquet":
        return _parquet_rows(path, columns)
    raise FileRefused(path, f"the ending {kind!r} is not known", "give a .csv or .parquet file")


def _csv_rows(
    path: Path, columns: Columns, refusals: Refusals
) -> Iterator[tuple[int, Sequence[str]]]:
    text = io.StringIO(_text(path), newline="")
    reader = csv.reader(text, strict=True)
    try:
        header = [name.strip() for name in next(reader)]
    except (StopIteration, csv.Error) as problem:
        raise FileRefused(path, "there is no header", _header(columns), line=1) from problem
    places = columns.places(path, header)
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as problem:
            if "expected after" not in str(problem):  # the rest of the file was swallowed
                remedy = "close the quotes, and double a quote inside quoted text"
                raise FileRefused(path, _SWALLOWED, remedy, line=line) from problem
            refusals.add(line, RowRefused("a quoted value goes on after its quotes", "text after"))
            continue
        if len(row) == len(header):
            row.append("")
            yield line, [row[place] for place in places]
        elif row:
            reason = f"the row has not the header's {len(header)} columns (quote inner commas)"
            refusals.add(line, RowRefused(reason, ",".join(row)))


def _header(columns: Columns) -> str:
    return f"the first line must name the columns: {','.join(columns.names)}"


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as problem:
        reason = problem.strerror or str(problem)
        raise FileRefused(path, f"cannot be read: {reason}", "check its permissions") from problem
    remedy = "save it as UTF-8 (in Excel: 'CSV UTF-8')"
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise FileRefused(path, "the text is UTF-16", remedy)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = content.count(b"\n", 0, problem.start) + 1
        found = f"byte 0x{content[problem.start]:02x} is not UTF-8"
        raise FileRefused(path, found, remedy, line=line) from problem
    if not text.strip():
        raise FileRefused(path, "the file is empty", "give a file with a header and rows")
    return text


def _parquet_rows(path: Path, columns: Columns) -> Iterator[tuple[int, Sequence[str]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            places = columns.places(path, file.schema_arrow.names)
            table = file.read()
    except (pa.ArrowException, OSError) as problem:
        why = str(problem).splitlines()[0]
        raise FileRefused(path, f"no Parquet file: {why}", "write it again") from problem
    found: Mapping[str, Any] = dict(zip(table.column_names, table.columns, strict=True))
    empty = [""] * table.num_rows
    values = [
        _as_text(path, name, found[name]) if place < table.num_columns else empty
        for name, place in zip(columns.names, places, strict=True)
    ]
    # Line 1 would be the header, so that both kinds of file count alike.
    return enumerate(zip(*values, strict=True), start=2)


def _as_text(path: Path, name: str, column: Any) -> list[str]:  # noqa: ANN401  (pyarrow is untyped)
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not str(column.type).startswith(_READABLE_TYPES):
        remedy = "use text, numbers, booleans or timestamps"
        raise FileRefused(path, f"column {name!r} holds {column.type}", remedy)
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    if len(column) == 0:
        return []
    try:
        # Files repeat their users, products and times: every distinct value is put in words once.
        encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
        words = [_cell(value) for value in encoded.dictionary.to_pylist()]
        return [words[place] for place in encoded.indices.to_pylist()]
    except (UnicodeDecodeError, pa.ArrowException, OverflowError) as problem:
        raise FileRefused(path, f"column {name!r}: {problem}", "write it again") from problem


def _cell(value: object) -> str:
    match value:
        case str():
            return value
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float():
            # A column of whole numbers with gaps often comes as floats: 499.0, NaN.
            return "" if value != value else str(int(value)) if value.is_integer() else str(value)
        case date():
            return value.isoformat()
        case _:
            return str(value)
