import http.server
import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server
from prometheus_client.parser import text_string_to_metric_families

from cli import process_file
from cli.commands import processes
from cli.process_metrics import ProcessMetrics
from cli.settings import Settings
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


class CutShort(http.server.BaseHTTPRequestHandler):
    """Answers as a worker that is killed while it does."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "100")
        self.end_headers()
        self.wfile.write(b"service_x_total 1\n")

    def log_message(self, *_: object) -> None:
        pass


def test_a_worker_that_is_killed_in_the_middle_of_its_answer_is_left_out(tmp_path):
    alone, killed = (Worker(tmp_path / f"{n}.json", requests=1) for n in range(2))
    with http.server.HTTPServer(("127.0.0.1", 0), CutShort) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        target = f"127.0.0.1:{server.server_port}"

        with listening(alone), process_file.described(killed.path, target=target, job="serve"):
            assert alone.shown() == {"0": 1.0}

        server.shutdown()


def test_workers_are_asked_themselves_where_a_proxy_is_set(tmp_path, monkeypatch):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setattr("urllib.request._opener", None)
    workers = [Worker(tmp_path / f"{n}.json", requests=1) for n in range(2)]

    with listening(workers[0]), listening(workers[1]):
        assert workers[0].shown() == {"0": 1.0, "1": 1.0}


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


def written(data_dir: Path, name: str, *, pid: int, host: str, job: str = "aggregate") -> Path:
    """Write the file of some other process."""
    labels = {"job": job, "instance": name, "__meta_quintet_pid": str(pid)}
    labels["__meta_quintet_host"] = host
    path = process_file.path_of(data_dir, name)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps([{"targets": ["127.0.0.1:1"], "labels": labels}]))
    return path


def ended() -> int:
    """Return the id of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


HERE = socket.gethostname()


@pytest.mark.parametrize(
    ("pid", "host", "name"),
    [
        (os.getppid, HERE, "aggregate-4711"),
        (ended, HERE, "aggregate"),
        (os.getpid, HERE, "aggregate"),
        (ended, "another", "aggregate-4711"),
    ],
    ids=["living", "killed", "its id is mine now", "on another host"],
)
def test_two_of_a_kind_write_two_files_and_a_restart_the_same_one(tmp_path, pid, host, name):
    other = written(tmp_path, "aggregate", pid=pid(), host=host)
    settings = Settings(_env_file=None, data_dir=tmp_path)

    with processes._at_port(settings, "aggregate", 4711):
        assert {path.stem for path in other.parent.iterdir()} == {"aggregate", name}
        told = [file.url for file in process_file.of_kind(tmp_path, "aggregate")]
        assert "http://127.0.0.1:4711" in told

    assert other.exists() == (name != "aggregate")


def test_a_member_has_a_file_of_its_name_and_is_found_by_its_kind(tmp_path):
    named = Settings(_env_file=None, data_dir=tmp_path, member="server-1")

    with (
        processes._at_port(named, "serve", 8080),
        processes._at_port(named, "aggregate", 9090),
    ):
        assert set(process_file.found(tmp_path / "processes")) == {
            "serve-server-1", "aggregate-server-1",
        }  # fmt: skip
        told = process_file.find(tmp_path, "aggregate")
        assert told is not None
        assert told.targets == ("127.0.0.1:9090",)
        process_file.forget(tmp_path, "aggregate")
        assert process_file.find(tmp_path, "aggregate") is None

    assert list((tmp_path / "processes").iterdir()) == []


def test_what_another_host_wrote_is_not_found_here_and_a_successors_file_is_left_alone(tmp_path):
    written(tmp_path, "train-a", pid=os.getpid(), host="another", job="train")
    assert process_file.find(tmp_path, "train") is None
    assert process_file.found(tmp_path / "processes")["train-a"].elsewhere == "another"

    mine = process_file.path_of(tmp_path, "console")
    with process_file.described(mine, target="127.0.0.1:8081", job="console"):
        written(tmp_path, "console", pid=os.getppid(), host=HERE, job="console")

    assert mine.exists()


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
