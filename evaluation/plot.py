"""Learning curves as one self-contained page."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from evaluation.results import LearnResults

_POINTS: Final = 60


def write_plot(results: "LearnResults", path: Path) -> None:
    """Write the curves of every contender, mean over seeds, as HTML that needs no other host.

    The policy's band reaches from its worst seed to its best.
    """
    from plotly import graph_objects

    figure = graph_objects.Figure()
    for name in results.contenders:
        curves, ends = _coarse(results.curve(name)), _ends(results)
        width = 4 if name == "policy" else 2
        if name == "policy" and len(curves) > 1:
            band = {"mode": "lines", "line": {"width": 0}, "showlegend": False}
            figure.add_scatter(x=ends, y=curves.min(axis=0), hoverinfo="skip", **band)
            figure.add_scatter(
                x=ends, y=curves.max(axis=0), fill="tonexty", hoverinfo="skip", **band
            )
        figure.add_scatter(
            x=ends, y=curves.mean(axis=0), name=name, mode="lines", line={"width": width}
        )
    figure.update_layout(
        title=f"{results.world}, {results.products:,} products: share of the best possible reward "
        f"while learning, mean of {len(results.seeds)} seeds",
        xaxis_title="banners",
        yaxis_title="share of the oracle's expected reward",
        yaxis_rangemode="tozero",
        template="plotly_white",
    )
    figure.write_html(path, include_plotlyjs=True)


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
