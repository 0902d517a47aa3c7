"""Dashboards as Grafana reads them: the only module that knows its words."""

from collections.abc import Iterator
from typing import Final

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, text, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
)
from grafana_foundation_sdk.models.text import TextMode

from deploy.dashboards.parts import Board, Panel

TAG: Final = "quintet"
_SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
_HEIGHT: Final = {"lines": 8, "number": 5}
_GREEN, _RED = "green", "red"


def rendered(board: Board) -> str:
    """Return a dashboard as JSON, the same text for the same board."""
    made = (
        dashboard.Dashboard(board.title)
        .uid(f"{TAG}-{board.name}")
        .tags([TAG])
        .readonly()
        .refresh("10s")
        .time("now-1h", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(
            dashboard.DashboardLink("Quintet")
            .type(DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .include_vars(True)
            .keep_time(True)
        )
        .with_variable(
            dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus")
        )
        .with_variable(
            dashboard.TextBoxVariable("runbook")
            .label("Runbook")
            .description("Where docs/runbook.md is published; links of this page lead there.")
            .default_value("docs/runbook.md")
        )
        .with_panel(_purpose(board))
    )
    numbers = iter(range(2, 1_000))
    for row in board.rows:
        made = made.with_row(dashboard.Row(row.title).id(next(numbers)))
        for panel in row.panels:
            draw = _number(panel) if panel.kind == "number" else _lines(panel)
            made = made.with_panel(draw.id(next(numbers)))
    encoded: str = JSONEncoder(sort_keys=True, indent=2).encode(made.build())
    return encoded + "\n"


def _purpose(board: Board) -> text.Panel:
    links = " · ".join(f"[{alert}](${{runbook}}#{alert.lower()})" for alert in board.alerts)
    return (
        text.Panel()
        .id(1)
        .title("What this page answers")
        .description("The question of this page, and sections of the runbook that belong to it.")
        .mode(TextMode.MARKDOWN)
        .content(f"{board.purpose}\n\nRunbook: {links}")
        .span(24)
        .height(4)
    )


def _number(panel: Panel) -> stat.Panel:
    made = (
        stat.Panel()
        .title(panel.title)
        .description(panel.description)
        .datasource(_SOURCE)
        .unit(panel.unit)
        .graph_mode(BigValueGraphMode.AREA)
        .color_mode(BigValueColorMode.VALUE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(_thresholds(panel))
        .no_value("nothing scraped")
        .span(panel.width)
        .height(_HEIGHT[panel.kind])
    )
    for query in _queries(panel):
        made = made.with_target(query)
    return made


def _lines(panel: Panel) -> timeseries.Panel:
    style = GraphThresholdsStyleMode.OFF
    if panel.low is not None or panel.high is not None:
        style = GraphThresholdsStyleMode.DASHED
    made = (
        timeseries.Panel()
        .title(panel.title)
        .description(panel.description)
        .datasource(_SOURCE)
        .unit(panel.unit)
        .axis_soft_min(0)
        .line_width(1)
        .fill_opacity(8)
        .thresholds(_thresholds(panel))
        .thresholds_style(common.GraphThresholdsStyleConfig().mode(style))
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
        .span(panel.width)
        .height(_HEIGHT[panel.kind])
    )
    for query in _queries(panel):
        made = made.with_target(query)
    return made


def _queries(panel: Panel) -> Iterator[prometheus.Dataquery]:
    for letter, query in zip("ABCDEFGH", panel.queries, strict=False):
        yield (
            prometheus.Dataquery()
            .expr(query.expression)
            .legend_format(query.legend or panel.title)
            .datasource(_SOURCE)
            .range()
            .ref_id(letter)
        )


def _thresholds(panel: Panel) -> dashboard.ThresholdsConfig:
    """Return colours: green inside the bounds, red beyond."""
    steps = [Threshold(value=None, color=_GREEN if panel.low is None else _RED)]
    if panel.low is not None:
        steps.append(Threshold(value=panel.low, color=_GREEN))
    if panel.high is not None:
        steps.append(Threshold(value=panel.high, color=_RED))
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
