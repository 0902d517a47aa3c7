"""One table of what every fault came to."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from tests.faults.suite import TITLES
from tests.faults.suite.finding import Finding

_COLOURS = {"green": "green", "red": "bold red", "not played": "yellow"}


def show(findings: Sequence[Finding], *, console: Console | None = None) -> None:
    """Print the table, then everything that is wrong or worth knowing."""
    console = console or Console(width=130)
    table = Table(title="Faults", title_justify="left")
    for name in ("fault", "what is done"):
        table.add_column(name, overflow="fold")
    for name in ("banners", "events", "lost", "doubled", "recovery s", "p99 ms (calm)", "seconds"):
        table.add_column(name, justify="right")
    table.add_column("verdict")
    for each in findings:
        colour = _COLOURS[each.verdict]
        table.add_row(
            each.fault, TITLES[each.fault], str(each.banners), str(each.events),
            str(each.lost), str(each.doubled), _number(each.recovery_seconds, 1),
            f"{_number(each.p99_ms, 0)} ({_number(each.calm_p99_ms, 0)})",
            f"{each.seconds:.0f}", f"[{colour}]{each.verdict}[/]",
        )  # fmt: skip
    console.print(table)
    for each in findings:
        for sentence in (each.skipped, *each.wrong, *each.slow, *each.told):
            if sentence:
                console.print(f"{each.fault}: {sentence}", markup=False)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
