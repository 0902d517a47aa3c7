"""What `make load` found, as one page that needs no other host."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

from load.goals import Goal
from load.traffic import Played
from load.watching import Look

_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse}td,th{text-align:left;padding:.15rem .8rem .15rem 0;"
    "border-bottom:1px solid #ddd}.missed{color:#b00020;font-weight:600}"
    "@media(max-width:40rem){body{margin:1rem auto}table{font-size:13px}}"
)
_COLOURS: Final = {"offered": "#888", "good": "#2e7d32", "shed": "#ef6c00", "wrong": "#b00020"}


def write_page(
    path: Path,
    *,
    told: str,
    goals: Sequence[Goal],
    played: Sequence[tuple[str, Played]],
    looks: Sequence[Look],
) -> None:
    """Write the page.

    Args:
        path: of the page.
        told: where and how it was measured, in a sentence or two.
        goals: the table.
        played: curves by name.
        looks: at the ring, one a second.
    """
    rows = "".join(_row(goal) for goal in goals)
    figures = [(name, _requests(one)) for name, one in played]
    if looks:
        figures += [
            ("Memory of each process", _memory(looks)),
            ("Event loop: the latest answer to a probe in each second", _stalls(looks)),
            ("Turned away since the start", _refused(looks)),
        ]
    curves = "".join(
        f"<h2>{escape(name)}</h2>\n"
        + figure.to_html(full_html=False, include_plotlyjs=number == 0)
        for number, (name, figure) in enumerate(figures)
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width"><title>Load</title><style>{_STYLE}</style></head><body>\n'
        f"<h1>Load</h1>\n<p>{escape(told)}</p>\n"
        "<table><tr><th>figure</th><th>must</th><th>aim</th><th>reached</th><th></th></tr>\n"
        f"{rows}</table>\n{curves}</body></html>\n",
        encoding="utf-8",
    )


def _row(goal: Goal) -> str:
    cells = "".join(f"<td>{escape(text)}</td>" for text in goal.shown)
    return f"<tr{'' if goal.met else ' class=missed'}>{cells}</tr>\n"


def _figure(left: str) -> Any:  # noqa: ANN401 - plotly is not typed
    from plotly import graph_objects

    figure = graph_objects.Figure()
    figure.update_layout(
        template="plotly_white", height=340, margin={"t": 20, "b": 40}, xaxis_title="seconds",
        yaxis_title=left, yaxis_rangemode="tozero", legend={"orientation": "h", "y": 1.15},
    )  # fmt: skip
    return figure


def _requests(played: Played) -> Any:  # noqa: ANN401 - plotly is not typed
    figure, at = _figure("requests a second"), list(range(len(played.seconds)))
    for what, colour in _COLOURS.items():
        values = [getattr(second, what) for second in played.seconds]
        figure.add_scatter(x=at, y=values, name=what, line={"color": colour})
    for what, dash in (("p50_ms", "dot"), ("p99_ms", "dash")):
        values = [getattr(second, what) for second in played.seconds]
        line = {"color": "#1565c0", "dash": dash}
        figure.add_scatter(x=at, y=values, name=what[:3] + ", ms", yaxis="y2", line=line)
    second_axis = {"title": "ms", "overlaying": "y", "side": "right", "rangemode": "tozero"}
    return figure.update_layout(yaxis2=second_axis)


def _memory(looks: Sequence[Look]) -> Any:  # noqa: ANN401 - plotly is not typed
    figure = _figure("resident MB")
    for name in sorted({name for look in looks for name in look.memory_mb}):
        some = [look for look in looks if name in look.memory_mb]
        figure.add_scatter(
            x=[look.at for look in some], y=[look.memory_mb[name] for look in some], name=name
        )
    return figure


def _stalls(looks: Sequence[Look]) -> Any:  # noqa: ANN401 - plotly is not typed
    figure = _figure("ms")
    figure.add_scatter(x=[look.at for look in looks], y=[look.stall_ms for look in looks])
    return figure


def _refused(looks: Sequence[Look]) -> Any:  # noqa: ANN401 - plotly is not typed
    figure = _figure("requests")
    for reason in sorted(
        {reason for look in looks for reason, count in look.refused.items() if count}
    ):
        at, values = [look.at for look in looks], [look.refused.get(reason, 0) for look in looks]
        figure.add_scatter(x=at, y=values, name=reason)
    return figure
