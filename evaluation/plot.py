"""Learning curves as one self-contained page."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evaluation.learn import LearnResults


def write_plot(results: "LearnResults", path: Path) -> None:
    """Write the curves of every rival, mean over seeds, as HTML that needs no other host."""
    from plotly import graph_objects

    figure = graph_objects.Figure()
    for name, curve in results.curves.items():
        figure.add_scatter(x=results.marks, y=curve, name=name, mode="lines")
    figure.update_layout(
        title="Expected reward per banner while learning, mean over seeds",
        xaxis_title="banners",
        yaxis_title="reward per banner",
        template="plotly_white",
    )
    figure.write_html(path, include_plotlyjs=True)
