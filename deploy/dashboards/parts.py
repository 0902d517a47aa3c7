"""What a dashboard is made of, without a word of Grafana; and the few shapes its queries have."""

from dataclasses import dataclass
from typing import Final, Literal

WINDOW: Final = "$__rate_interval"
"""As long as Grafana finds right for the time shown."""
Unit = Literal["reqps", "cps", "s", "dtdurations", "percentunit", "short", "none", "bytes"]
"""As Grafana names them: requests and counts a second, seconds twice, a share of 1, ..."""


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a panel.

    Attributes:
        expression: PromQL.
        legend: what its series are called; `{{label}}` is replaced.
    """

    expression: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture.

    Attributes:
        title: what is shown.
        description: what it says, what is right, and what to do when it is not.
        unit: of all its values.
        queries: what is drawn.
        kind: lines over time, or one number that is read from afar.
        low, high: a value beyond is drawn in red; None: no bound.
        width: of the 24 columns.
    """

    title: str
    description: str
    unit: Unit
    queries: tuple[Query, ...]
    kind: Literal["lines", "number"] = "lines"
    low: float | None = None
    high: float | None = None
    width: int = 8


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard.

    Attributes:
        name: of its file, and part of its address.
        title: as people see it.
        purpose: which question it answers, and how to read it; Markdown.
        alerts: whose sections of the runbook it links.
        rows: in the order in which data flows.
    """

    name: str
    title: str
    purpose: str
    alerts: tuple[str, ...]
    rows: tuple[Row, ...]


def rate(selector: str, by: str = "", *, window: str = WINDOW) -> str:
    """Return the query of a counter's increase per second, summed over all processes.

    Example:
        >>> rate('service_swaps_total{result="swapped"}', "result", window="5m")
        'sum by (result) (rate(service_swaps_total{result="swapped"}[5m]))'
    """
    grouped = f" by ({by}) " if by else ""
    return f"sum{grouped}(rate({selector}[{window}]))"


def share(part: str, whole: str) -> str:
    """Return the query of a share; 0 where there is nothing of the part, nothing without a whole.

    Args:
        part: a query that gives one series or none.
        whole: a query that gives one series.

    Example:
        >>> share("a", "b")
        '(a or 0 * b) / b'
    """
    return f"({part} or 0 * {whole}) / {whole}"


def or_zero(query: str, beside: str) -> str:
    """Return a query that is 0 while it has no series, as long as another has some.

    What never happened has no series; a wrong name has none either, and stays without.

    Example:
        >>> or_zero("a", "b")
        'a or on() 0 * b'
    """
    return f"{query} or on() 0 * {beside}"


def quantile(q: float, histogram: str, *, labels: str = "", window: str = WINDOW) -> str:
    """Return the query of a histogram's quantile over all processes.

    Example:
        >>> quantile(0.5, "train_update_seconds", window="5m")
        'histogram_quantile(0.5, sum by (le) (rate(train_update_seconds_bucket[5m])))'
    """
    return f"histogram_quantile({q}, {rate(histogram + '_bucket' + labels, 'le', window=window)})"


def quantiles(histogram: str, *, labels: str = "", window: str = WINDOW) -> tuple[Query, ...]:
    """Return the queries of a histogram's median, 95th and 99th percentile."""
    return tuple(
        Query(quantile(q, histogram, labels=labels, window=window), f"{100 * q:.0f}%")
        for q in (0.5, 0.95, 0.99)
    )
