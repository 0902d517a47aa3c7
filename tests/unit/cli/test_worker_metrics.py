import json
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server
from prometheus_client.parser import text_string_to_metric_families

from cli import process_file
from cli.process_metrics import ProcessMetrics
from cli.worker_metrics import WorkersExposition


class Worker:
    def __init__(self, path: Path, requests: int) -> None:
        self.path = path
        self.registry = CollectorRegistry()
        self.requests = Counter("service_x_total", "Requests.", ["route"], registry=self.registry)
        self.requests.labels("/recommend").inc(requests)
        Histogram("service_y_seconds", "Time.", registry=self.registry).observe(0.5)

    def shown(self) -> dict[str, float]:
        """Return the requests by worker as this one tells them."""
        families = text_string_to_metric_families(
            WorkersExposition(self.path, self.registry)().decode()
        )
        return {
            sample.labels["worker"]: sample.value
            for family in families
            for sample in family.samples
            if sample.name == "service_x_total"
        }


@contextmanager
def listening(worker: Worker):
    server, _ = start_http_server(0, "127.0.0.1", worker.registry)
    with process_file.described(worker.path, target=f"127.0.0.1:{server.server_port}", job="serve"):
        yield
    server.shutdown()
    server.server_close()


def test_every_worker_tells_the_same_of_all(tmp_path):
    workers = [Worker(tmp_path / f"{n}.json", requests=n + 1) for n in range(3)]

    with ExitStack() as running:
        for worker in workers:
            running.enter_context(listening(worker))
        told = [worker.shown() for worker in workers]

    assert told == [{"0": 1.0, "1": 2.0, "2": 3.0}] * 3


def test_a_worker_that_does_not_answer_is_left_out(tmp_path):
    alone, dead = (Worker(tmp_path / f"{n}.json", requests=1) for n in range(2))
    process_file.described(dead.path, target="127.0.0.1:9", job="serve").__enter__()

    with listening(alone):
        assert alone.shown() == {"0": 1.0}


def test_a_process_file_is_a_target_list_of_prometheus_and_goes_with_its_process(tmp_path):
    path = process_file.path_of(tmp_path, "aggregate")

    with process_file.described(path, target="127.0.0.1:4711", job="aggregate"):
        (target,) = json.loads(path.read_text())
        assert target["targets"] == ["127.0.0.1:4711"]
        assert target["labels"]["job"] == target["labels"]["instance"] == "aggregate"
        found = process_file.find(tmp_path, "aggregate")
        assert found is not None
        assert found.pid > 0

    assert process_file.find(tmp_path, "aggregate") is None
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"[]", b'{"pid": 1, "metrics_port": 2}', b"[{}]"])
def test_a_process_file_that_cannot_be_read_is_as_none(tmp_path, content):
    path = process_file.path_of(tmp_path, "aggregate")
    path.parent.mkdir()
    path.write_bytes(content)

    assert process_file.find(tmp_path, "aggregate") is None


def test_a_process_tells_its_start_its_memory_and_its_disk(tmp_path):
    registry = CollectorRegistry()
    ProcessMetrics("train", tmp_path, registry)

    assert registry.get_sample_value("train_process_start_time_seconds") > 1.6e9
    assert registry.get_sample_value("train_process_resident_memory_bytes") > 1e6
    size = registry.get_sample_value("train_disk_size_bytes")
    assert 0 < registry.get_sample_value("train_disk_free_bytes") <= size


def test_a_disk_that_is_not_there_hides_nothing_else(tmp_path):
    registry = CollectorRegistry()
    ProcessMetrics("train", tmp_path / "gone", registry)

    assert registry.get_sample_value("train_disk_size_bytes") is None
    assert registry.get_sample_value("train_process_start_time_seconds") > 0
