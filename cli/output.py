"""What a command tells people (standard error) and programs (standard output)."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from unicodedata import category

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

PIPE_COLUMNS = 200


@dataclass(frozen=True, slots=True)
class Output:
    """Standard output carries one JSON object with `--json`, else what a person reads.

    Attributes:
        as_json: print results as one JSON object on standard output.
        people: where sentences, tables and progress go.
    """

    as_json: bool = False
    people: Console = field(default_factory=lambda: Console(stderr=True, highlight=False))

    def say(self, sentence: str) -> None:
        """Tell people something; no line is broken, so that a path in it can be copied."""
        self.people.print(plain(sentence), markup=False, soft_wrap=True)

    def result(self, value: Any, text: str | Table | None = None) -> None:  # noqa: ANN401 - JSON
        """Print a result: `value` as JSON, or `text` for people (JSON again when there is none)."""
        if self.as_json or text is None:
            encoded = msgspec.json.format(msgspec.json.encode(value), indent=2)
            sys.stdout.write(encoded.decode() + "\n")
            sys.stdout.flush()
        elif isinstance(text, Table):
            # Where no person watches there is no edge to cut names at.
            width = None if sys.stdout.isatty() else PIPE_COLUMNS
            Console(highlight=False, width=width).print(text)
        else:
            sys.stdout.write(text + "\n")

    def progress(self) -> Progress:
        """Return a progress display for long work; silent where no person watches."""
        return Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self.people,
            disable=not self.people.is_terminal,
        )


def plain(text: str) -> str:
    r"""Return text of anybody's that a terminal only shows: control characters are written out.

    Example:
        >>> plain("\x1b[2J\r\n")
        '\\x1b[2J\\x0d\n'
    """
    return "".join(
        f"\\x{ord(each):02x}" if category(each) == "Cc" and each not in "\n\t" else each
        for each in text
    )


def table(title: str, rows: Sequence[Mapping[str, object]]) -> Table:
    """Return a table with the keys of the first row as headers.

    Values are shown as they are, brackets too; one that is to have a colour is a `rich.text.Text`.
    """
    made = Table(title=escape(plain(title)), title_justify="left")
    for name in rows[0] if rows else ():
        made.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        made.add_row(*(_cell(value) for value in row.values()))
    return made


def _cell(value: object) -> Text:
    return value if isinstance(value, Text) else Text("" if value is None else plain(str(value)))
