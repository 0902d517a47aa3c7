"""`quintet export`: the log as tables, for a notebook."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cli import wiring
from cli.errors import BadUsage
from cli.output import Output
from cli.settings import Settings

Moment = Annotated[
    str | None, typer.Option(help="RFC 3339, or YYYY-MM-DD; without an offset it is UTC")
]


def export(
    settings: Settings,
    output: Output,
    folder: Annotated[Path, typer.Argument(help="made; if it is there it must be empty")],
    since: Moment = None,
    until: Moment = None,
) -> None:
    """Write banners, events and rewards as Parquet, by day, for a data scientist's notebook.

    Shoppers are pseudonyms, and what erased users did is left out. `export.json` in the folder says
    what each column means. --since and --until choose by the log's append time; a banner's rewards
    may come up to a day after it, so let rewards have that day.

    Example: quintet export november --since 2026-11-01 --until 2026-12-01
    """
    from cli.exporting import Span
    from cli.exporting import export as write
    from cli.importing import Watch

    span = Span(since_ms=moment_ms(since, "--since"), until_ms=moment_ms(until, "--until"))
    if span.since_ms is not None and span.until_ms is not None and span.since_ms >= span.until_ms:
        raise BadUsage(f"--since {since} is not before --until {until}")
    if settings.streams == "local" and not wiring.log_file(settings).is_file():
        raise BadUsage(f"{settings.data_dir} holds no log: give --data-dir")
    with wiring.opened_log(settings, member="export") as log, output.progress() as progress:
        exported = write(log, folder, span, Watch(progress).step)
    output.result(
        exported,
        f"{exported.banners:,} banners, {exported.events:,} events, {exported.rewards:,} rewards "
        f"and {exported.products:,} products in {folder}; left out {exported.erased:,} records of "
        f"erased users and {exported.unreadable:,} that cannot be read",
    )


def moment_ms(text: str | None, option: str) -> int | None:
    """Return a time of the command line in milliseconds since 1970; None stays None.

    Raises:
        BadUsage: it is no time.

    Example:
        >>> moment_ms("1970-01-02", "--since"), moment_ms("1970-01-01T01:00:00+01:00", "--since")
        (86400000, 0)
    """
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadUsage(f"{option} {text}: write 2026-11-01 or 2026-11-01T09:30:00Z") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)
