"""What the doctor makes of the machine, the registry, the processes and the ring."""

import json
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, start_http_server

from cli.doctor import gathering, machine, parts, turning
from cli.doctor.findings import Finding
from cli.process_file import described, path_of
from cli.settings import Settings
from console.audit import Counts
from schemas.policies import Live

NOW = 1_800_000_000_000


@pytest.mark.parametrize(
    ("changes", "statuses"),
    [
        ({}, ["ok"]),
        ({"exists": False}, ["warn"]),
        ({"unwritable": "read-only file system"}, ["fail"]),
        ({"free_bytes": 10_000_000}, ["fail"]),
        ({"free_bytes": 2_000_000_000}, ["warn"]),
        ({"free_bytes": 9_000_000_000, "log_bytes": 80_000_000_000}, ["warn"]),
        ({"secret_mode": 0o600, "secret_bytes": 64}, ["ok"]),
        ({"secret_mode": 0o644, "secret_bytes": 64}, ["fail"]),
        ({"secret_mode": 0o600, "secret_bytes": 3}, ["fail"]),
        ({"secret_mode": 0o644, "secret_bytes": 3, "secret_given": True}, ["ok"]),
    ],
    ids=str,
)
def test_the_data_directory(changes: dict[str, Any], statuses: list[str]) -> None:
    place = machine.Place(**{"path": "d", "exists": True, "free_bytes": 10**11, **changes})

    assert [finding.status for finding in machine.judge_place(place)] == statuses


@pytest.mark.parametrize(
    ("ahead_ms", "status"), [(-5, "ok"), (1_000, "ok"), (60_000, "warn"), (3_600_000, "fail")]
)
def test_a_clock_that_is_behind_what_was_written_down(ahead_ms: int, status: str) -> None:
    assert machine.judge_clock(NOW, {"topic events": NOW + ahead_ms}).status == status


def test_a_clock_that_shows_the_last_century() -> None:
    assert machine.judge_clock(0, {}).status == "fail"


def live(**changes: Any) -> Live:
    return Live(**{"version": 9, "foundation": 1, "changed_at_ms": NOW, "reason": "r", **changes})


@pytest.mark.parametrize(
    ("facts", "statuses"),
    [
        (parts.RegistryFacts(live=None), ["warn"]),
        (parts.RegistryFacts(live=None, pointer_problem="not JSON"), ["fail"]),
        (parts.RegistryFacts(live=live(), damaged={9: "", 1: ""}), ["ok"]),
        (parts.RegistryFacts(live=live(), damaged={9: "digest", 1: ""}), ["fail"]),
        (parts.RegistryFacts(live=live(), damaged={9: "", 1: "digest"}), ["warn"]),
        (parts.RegistryFacts(live=live(hold=True), damaged={9: ""}), ["warn"]),
    ],
    ids=str,
)
def test_the_registry(facts: parts.RegistryFacts, statuses: list[str]) -> None:
    assert [finding.status for finding in parts.judge_registry(facts, NOW)] == statuses


def process(name: str, *, up: bool = True, answers: bool = True) -> parts.ProcessFacts:
    return parts.ProcessFacts(name, up=up, answers=answers)


def test_a_ring_that_lacks_a_process_fails_where_it_is_alone() -> None:
    everyone = [process(name, up=name != "train") for name in parts.RING]

    (finding,) = parts.judge_processes(everyone, alone=True)

    assert finding.status == "fail"
    assert "train is not up: learning stands still" in finding.found
    assert [f.status for f in parts.judge_processes(everyone, alone=False)] == ["ok"]


def test_a_process_whose_metrics_do_not_answer_fails() -> None:
    findings = parts.judge_processes([process("aggregate", answers=False)], alone=False)

    assert [finding.status for finding in findings] == ["fail"]


def test_processes_of_other_hosts_are_not_looked_at_and_the_doctor_says_so(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path)  # type: ignore[call-arg]
    own = path_of(tmp_path, "train")
    with described(own, target="127.0.0.1:9", job="train"):
        other = path_of(tmp_path, "aggregate-2")
        told = json.loads(own.read_text().replace('"train"', '"aggregate"'))
        told[0]["labels"]["__meta_quintet_host"] = "container-2"
        other.write_text(json.dumps(told))

        found = {one.name: one for one in gathering.processes(settings)}
        elsewhere = gathering.elsewhere(settings)

    assert (found["train"].up, found["train"].answers) == (True, False)
    assert not found["aggregate"].up
    assert elsewhere == ["aggregate-2 on container-2"]
    *_, said = parts.judge_processes([*found.values()], alone=False, elsewhere=elsewhere)
    assert said.status == "ok"
    assert said.found == "not looked at, for they are on other machines: aggregate-2 on container-2"


@pytest.mark.parametrize(
    ("folder", "moved", "owned"), [("", 0, True), ("another", 0, False), ("", 1, False)]
)
def test_a_service_at_the_port_counts_where_it_is_of_this_data_directory(
    folder: str, moved: int, owned: bool, tmp_path: Path
) -> None:
    registry = CollectorRegistry()
    Counter("service_requests", "Requests.", registry=registry)
    server, _ = start_http_server(0, "127.0.0.1", registry)
    port = server.server_port
    settings = Settings(_env_file=None, data_dir=tmp_path, port=port, console_port=0)  # type: ignore[call-arg]
    path = path_of(tmp_path / folder, f"serve-{port}")
    with described(path, target=f"127.0.0.1:{port + moved}", job="serve"):
        found = {one.name: one for one in gathering.processes(settings)}
        asked = next(one for one in gathering.ports(settings) if one.number == port)
    server.shutdown()
    server.server_close()

    assert found["serve"].up is owned
    assert asked.ours is owned
    assert asked.refused


def test_a_ring_that_does_not_run_is_no_fault() -> None:
    findings = parts.judge_processes([process("serve", up=False)], alone=True)

    assert [finding.status for finding in findings] == ["warn"]


TURNING: dict[str, Any] = {
    "now_ms": NOW, "banner_ms": NOW - 100, "due_ms": NOW - 40_000, "reward_ms": NOW - 900,
    "update_ms": NOW - 3_000, "live_version": 9, "live_ms": NOW - 3_000, "served_version": 9,
    "served_ms": NOW - 2_900, "lag": 3, "counts": Counts(expected=50), "serving": True,
}  # fmt: skip


def judged(**changes: Any) -> dict[str, Finding]:
    found = turning.judge_ring(turning.RingFacts(**(TURNING | changes)))
    return {finding.area: finding for finding in found if finding.status != "ok"}


def test_a_ring_that_turns_is_fine() -> None:
    assert judged() == {}


@pytest.mark.parametrize(
    ("changes", "area", "status"),
    [
        ({"banner_ms": None, "due_ms": None}, "banners", "warn"),
        ({"reward_ms": NOW - 50_000}, "rewards", "fail"),
        ({"reward_ms": None}, "rewards", "fail"),
        ({"lag": 50_000}, "rewards", "warn"),
        ({"untrained": 5_000, "update_ms": NOW - 90_000}, "training", "fail"),
        ({"refused": True}, "training", "fail"),
        ({"live_version": None}, "serving", "warn"),
        ({"served_version": 8, "live_ms": NOW - 60_000}, "serving", "fail"),
        ({"rejected": "digest"}, "serving", "fail"),
        ({"counts": Counts(expected=50, lost=1)}, "exactly once", "fail"),
        ({"counts": Counts(expected=50, doubled=1)}, "exactly once", "fail"),
        ({"counts": Counts(expected=50, waiting=1)}, "exactly once", "warn"),
        ({"letters": {"not JSON": 2}}, "dead letters", "warn"),
    ],
    ids=str,
)
def test_each_link_that_does_not_turn_is_named_with_what_to_do(
    changes: dict[str, Any], area: str, status: str
) -> None:
    found = judged(**changes)

    assert list(found) == [area]
    assert found[area].status == status
    assert found[area].remedy


@pytest.mark.parametrize(
    "changes",
    [
        {"due_ms": None, "reward_ms": None},  # the first banners, not due so far
        {"untrained": 5_000},  # behind, but learning
        {"untrained": 200, "update_ms": NOW - 10**9},  # no traffic, not one batch
        {"served_version": 8},  # swapped this moment
        {"served_version": 8, "live_ms": NOW - 60_000, "serving": False},
        {"counts": None},
    ],
    ids=str,
)
def test_what_only_takes_its_time_is_no_fault(changes: dict[str, Any]) -> None:
    assert judged(**changes) == {}


def test_packages_are_imported_in_a_process_of_their_own() -> None:
    assert gathering.packages("json", "nowhere_to_be_found", seconds=60) == {
        "json": "=2.0.9",
        "nowhere_to_be_found": "ModuleNotFoundError: No module named 'nowhere_to_be_found'",
    }


@pytest.mark.parametrize(
    ("version", "said", "status"),
    [
        ((3, 11), {"numba": "=0.68.1"}, "ok"),
        ((3, 15), {"numba": "=0.68.1"}, "warn"),
        ((3, 11), {"numba": "ImportError: no LLVM"}, "fail"),
    ],
    ids=str,
)
def test_python_and_what_serving_needs(
    version: tuple[int, int], said: dict[str, str], status: str
) -> None:
    assert [finding.status for finding in machine.judge_python(version, said)] == [status]


def test_without_torch_a_machine_can_serve() -> None:
    assert machine.judge_torch({"torch": "ModuleNotFoundError: torch"}).status == "warn"
    assert "H100" in machine.judge_torch({"torch": "=2.13", "cuda": "=NVIDIA H100"}).found
    assert "no CUDA" in machine.judge_torch({"torch": "=2.13", "cuda": "="}).found
