"""What every process of the ring tells of itself: version, start, what it uses, its disk."""

import shutil
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_KEPT: Final = (
    "process_start_time_seconds",
    "process_cpu_seconds",
    "process_resident_memory_bytes",
)


def running_version() -> str:
    """Return the version of Quintet that runs."""
    try:
        return version("quintet")
    except PackageNotFoundError:
        return "unknown"


class ProcessMetrics(Collector):
    """Metrics that begin with the process's name.

    Args:
        process: `service`, `aggregate`, `train` or `console`.
        data_dir: whose disk is looked at.
        registry: where they are registered.
    """

    def __init__(self, process: str, data_dir: Path, registry: CollectorRegistry) -> None:
        self._process, self._data_dir = process, data_dir
        self._usage = ProcessCollector(namespace=process, registry=None)
        registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """Yield them; a disk that is not there has none."""
        build = GaugeMetricFamily(
            f"{self._process}_build_info", "Always 1: which version runs.", labels=["version"]
        )
        build.add_metric([running_version()], 1)
        yield build
        for family in self._usage.collect():
            if family.name.endswith(_KEPT):
                yield family
        try:
            disk = shutil.disk_usage(self._data_dir)
        except OSError:
            return
        yield GaugeMetricFamily(
            f"{self._process}_disk_free_bytes",
            "Free on the data directory's disk.",
            value=disk.free,
        )
        yield GaugeMetricFamily(
            f"{self._process}_disk_size_bytes",
            "Size of the data directory's disk.",
            value=disk.total,
        )
