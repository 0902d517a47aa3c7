"""`/metrics` of several serving processes on one port: whichever is asked answers for all of them.

Each worker also shows its own metrics on a loopback port that it writes down. The one that is asked
asks the others and gives every series the label `worker`. So a counter is the same series at every
scrape, whoever answers, and starts anew only when its worker does. A worker that does not answer is
left out.
"""

import urllib.request
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from cli.process_file import found

log = structlog.get_logger(__name__)
LABEL: Final = "worker"
_ANSWER_SECONDS: Final = 2.0
_AT_ONCE: Final = 8


class _Given(Collector):
    """Families as they are."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families

    def describe(self) -> Iterable[Metric]:
        return []


class WorkersExposition:
    """Gives the metrics of all workers as text; may be called from any thread.

    Args:
        path: where this one writes down its port; the others' files lie beside it.
        own: the metrics of this one.
    """

    def __init__(self, path: Path, own: CollectorRegistry) -> None:
        self._path, self._own = path, own

    def __call__(self) -> bytes:
        """Return the text."""
        workers = found(self._path.parent)
        others = [name for name in workers if name != self._path.stem]
        texts = {self._path.stem: generate_latest(self._own).decode()}
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            answers = pool.map(_ask, (workers[name].targets[0] for name in others))
            texts |= {name: text for name, text in zip(others, answers, strict=True) if text}
        together = CollectorRegistry()
        together.register(_Given(merged(texts)))
        return generate_latest(together)


def merged(texts: dict[str, str]) -> list[Metric]:
    r"""Return the families of some workers as one list, each series with its worker's name.

    Args:
        texts: metrics in Prometheus' text format, by worker.

    Example:
        >>> one = "# TYPE a_total counter\na_total 2.0\n"
        >>> [family] = merged({"0": one, "1": one})
        >>> [(sample.labels, sample.value) for sample in family.samples]
        [({'worker': '0'}, 2.0), ({'worker': '1'}, 2.0)]
    """
    families: dict[str, Metric] = {}
    for worker, text in sorted(texts.items()):
        for family in text_string_to_metric_families(text):
            there = families.setdefault(
                family.name, Metric(family.name, family.documentation, family.type)
            )
            there.samples += [
                sample._replace(labels=sample.labels | {LABEL: worker}) for sample in family.samples
            ]
    return list(families.values())


def _ask(target: str) -> str:
    try:
        with urllib.request.urlopen(f"http://{target}/metrics", timeout=_ANSWER_SECONDS) as answer:
            text: str = answer.read().decode()
    except OSError as problem:
        log.warning("worker_metrics_missing", target=target, problem=str(problem))
        return ""
    return text
