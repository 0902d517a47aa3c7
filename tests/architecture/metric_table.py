"""Every metric of every process, as the rows of ARCHITECTURE.md's table.

`python tests/architecture/metric_table.py` prints them.
"""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import msgspec
from prometheus_client import CollectorRegistry

from cli.clock import now_ms
from cli.process_metrics import ProcessMetrics
from console.audit import AuditSettings
from console.coverage import Coverage
from console.experiment import Experiment, LiftReport
from console.follower import View
from console.metrics import ConsoleMetrics, RingCollector
from projections.history.metrics import HistoryMetrics, HistoryReadMetrics
from rewards.metrics import AggregatorMetrics
from schemas.policies import Live
from service.metrics import Metrics
from trainer.metrics import TrainerMetrics

ROOT = Path(__file__).parents[2]
ROOMS = (
    Metrics, AggregatorMetrics, HistoryMetrics, HistoryReadMetrics, TrainerMetrics, ConsoleMetrics,
)  # fmt: skip
PROCESSES = ("service", "aggregate", "train", "console")
EACH = "<process>"
"""Stands for each of `PROCESSES` in the metrics that all of them have."""


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
    for room in ROOMS:
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
    report = msgspec.structs.replace(report, lift=LiftReport(estimate=0.0))
    coverage = {"policy": Coverage(5, 1.0)}
    view = View(report, (), caught_up=True, read_at_ms=now_ms(), coverage=coverage)
    live = Live(version=1, foundation=1, changed_at_ms=0, reason="")
    ring = RingCollector(lambda: view, lambda: live)
    own = ProcessMetrics(EACH, ROOT, CollectorRegistry())
    for family in chain(ring.collect(), own.collect()):
        suffix = "_total" if family.type == "counter" else ""
        labels = tuple(family.samples[0].labels)
        yield Row(family.name + suffix, family.type, labels, family.documentation)


def names() -> set[str]:
    """Return the names of all series, as queries may use them."""
    found: set[str] = set()
    for row in rows():
        name, kinds = row.name, ("",)
        if row.kind == "histogram":
            kinds = ("_bucket", "_sum", "_count")
        processes = PROCESSES if name.startswith(EACH) else ("",)
        found |= {name.replace(EACH, each) + kind for each in processes for kind in kinds}
    return found


if __name__ == "__main__":
    import sys

    sys.stdout.write("\n".join(row.text() for row in rows()) + "\n")
