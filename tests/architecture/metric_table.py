"""Every metric of every process, as the rows of ARCHITECTURE.md's table.

`python tests/architecture/metric_table.py` prints them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from prometheus_client import CollectorRegistry

from cli.clock import now_ms
from console.audit import AuditSettings
from console.experiment import Experiment
from console.follower import View
from console.metrics import ConsoleMetrics, RingCollector
from projections.history.metrics import HistoryMetrics
from rewards.metrics import AggregatorMetrics
from service.metrics import Metrics
from trainer.metrics import TrainerMetrics

ROOT = Path(__file__).parents[2]


class Row(NamedTuple):
    """One metric."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str

    def text(self) -> str:
        """Return the row as Markdown."""
        labels = ", ".join(f"`{label}`" for label in self.labels)
        meaning = self.meaning[:1].lower() + self.meaning[1:].rstrip(".")
        return f"| `{self.name}` | {self.kind} | {labels} | {meaning} |"


def rows() -> Iterator[Row]:
    """Yield every metric once, as exposed."""
    registry = CollectorRegistry()
    for room in (Metrics, AggregatorMetrics, HistoryMetrics, TrainerMetrics, ConsoleMetrics):
        room(registry)
    for collector in registry._collector_to_names:
        suffix = "_total" if collector._type == "counter" else ""
        yield Row(
            collector._name + suffix,
            collector._type,
            tuple(collector._labelnames),
            collector._documentation,
        )
    report = Experiment(AuditSettings()).report()
    view = View(report, (), caught_up=True, read_at_ms=now_ms())
    for family in RingCollector(lambda: view).collect():
        labels = tuple(family.samples[0].labels)
        yield Row(family.name, family.type, labels, family.documentation)


if __name__ == "__main__":
    import sys

    sys.stdout.write("\n".join(row.text() for row in rows()) + "\n")
