"""Learning curves as one self-contained page."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from evaluation.results import LearnResults

_POINTS: Final = 60
_POLICY: Final = "#c2185b"
_BAND: Final = "rgba(194, 24, 91, 0.15)"
_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse}td,th{text-align:left;padding:.15rem .8rem .15rem 0;"
    "border-bottom:1px solid #ddd}"
)


def write_plot(results: "LearnResults", path: Path) -> None:
    """Write the curves of every contender, mean over seeds, as HTML that needs no other host.

    The policy's band reaches from its worst seed to its best.
    """
    _figure(results).write_html(path, include_plotlyjs=True)


def write_page(
    title: str,
    rows: Sequence[Mapping[str, object]],
    parts: Mapping[str, "LearnResults"],
    path: Path,
) -> None:
    """Write a table and the curves of several studies as HTML that needs no other host.

    Args:
        title: of the page.
        rows: of the table, all with the keys of the first.
        parts: results by the name of the study.
        path: of the page.
    """
    heads = "".join(f"<th>{escape(name)}</th>" for name in (rows[0] if rows else ()))
    lines = "".join(
        f"<tr>{''.join(f'<td>{escape(str(value))}</td>' for value in row.values())}</tr>\n"
        for row in rows
    )
    curves = "".join(
        f"<h2>{escape(name)}</h2>\n"
        + _figure(results).to_html(full_html=False, include_plotlyjs=number == 0)
        for number, (name, results) in enumerate(parts.items())
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}'
        f"</title><style>{_STYLE}</style></head><body>\n<h1>{escape(title)}</h1>\n"
        f"<table><tr>{heads}</tr>\n{lines}</table>\n{curves}</body></html>\n",
        encoding="utf-8",
    )


def _figure(results: "LearnResults") -> Any:  # noqa: ANN401 - plotly is not typed
    from plotly import graph_objects

    figure, ends = graph_objects.Figure(), _ends(results)
    if "policy" in results.contenders and len(results.seeds) > 1:
        curves = _coarse(results.curve("policy"))
        edge = {"mode": "lines", "line": {"width": 0}, "showlegend": False, "hoverinfo": "skip"}
        figure.add_scatter(x=ends, y=curves.min(axis=0), **edge)
        figure.add_scatter(x=ends, y=curves.max(axis=0), fill="tonexty", fillcolor=_BAND, **edge)
    for name in results.contenders:
        line = {"width": 4, "color": _POLICY} if name == "policy" else {"width": 2}
        mean = _coarse(results.curve(name)).mean(axis=0)
        figure.add_scatter(x=ends, y=mean, name=name, mode="lines", line=line)
    figure.update_layout(
        title=f"{_where(results)}: share of the best possible reward while learning, mean of "
        f"{len(results.seeds)} seeds",
        xaxis_title="banners",
        yaxis_title="share of the oracle's expected reward",
        yaxis_rangemode="tozero",
        template="plotly_white",
    )
    return figure


def _where(results: "LearnResults") -> str:
    told = (results.world, results.knobs, f"{results.products:,} products")
    return ", ".join(filter(None, told))


def _coarse(curves: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return (seeds, points) means of neighbouring bins."""
    group = -(-curves.shape[1] // _POINTS)
    starts = range(0, curves.shape[1], group)
    return np.stack([curves[:, at : at + group].mean(axis=1) for at in starts], axis=1)


def _ends(results: "LearnResults") -> list[int]:
    """Return the banners after which each point of `_coarse` was taken."""
    bins = len(results.oracle[0])
    group = -(-bins // _POINTS)
    ends = (min(at + group, bins) * results.bin_banners for at in range(0, bins, group))
    return [min(end, results.banners) for end in ends]
