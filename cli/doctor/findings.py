"""What the doctor says of one thing: how it is, what was found, and what to do."""

from typing import Literal

import msgspec

Status = Literal["ok", "warn", "fail"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table.

    Attributes:
        area: what was looked at.
        status: `warn` is worth a look, with `fail` something does not work or is not safe.
        found: one sentence.
        remedy: what to do; empty where nothing is to be done.
    """

    area: str
    status: Status
    found: str
    remedy: str = ""


def ok(area: str, found: str) -> Finding:
    """Return a finding that nothing is wrong."""
    return Finding(area=area, status="ok", found=found)


def warn(area: str, found: str, remedy: str) -> Finding:
    """Return a finding that is worth a look."""
    return Finding(area=area, status="warn", found=found, remedy=remedy)


def fail(area: str, found: str, remedy: str) -> Finding:
    """Return a finding that something does not work or is not safe."""
    return Finding(area=area, status="fail", found=found, remedy=remedy)


def ago(now_ms: int, at_ms: int) -> str:
    """Return how long ago something was, in words.

    Example:
        >>> ago(10_000, 7_500), ago(7_200_000, 0), ago(0, 5)
        ('2.5 s ago', '2.0 h ago', 'just now')
    """
    seconds = (now_ms - at_ms) / 1000
    if seconds < 0:
        return "just now"
    for span, name in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * span or (seconds >= span and name != "min"):
            return f"{seconds / span:.1f} {name} ago"
    return f"{seconds:.1f} s ago"


def size(count: float) -> str:
    """Return bytes in words.

    Example:
        >>> size(999), size(2_500_000), size(3.2e9)
        ('999 B', '2.5 MB', '3.2 GB')
    """
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "KB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count:.0f} B"
