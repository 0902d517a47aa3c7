import os
from pathlib import Path
from typing import Any

import pytest
import structlog

from cli import process_file, supervisor
from cli.commands import processes
from cli.commands.ring import children
from cli.settings import Settings
from cli.supervisor import Child, Supervisor, after_exit, give_way
from service import server


def test_delays_double_up_to_four_seconds_and_start_over_after_a_calm_life():
    child = Child("serve", ())

    dues = [after_exit(child, 0.0) for _ in range(7)]
    child.started_at = 100.0
    calm = after_exit(child, 131.0)

    assert dues == [0.2, 0.4, 0.8, 1.6, 3.2, 4.0, 4.0]
    assert calm == 131.2


def test_what_dies_is_started_again_when_it_is_due(tmp_path: Path):
    child = Child("broken", ["no-such-command"], logs=tmp_path / "logs" / "broken.log")
    parent = Supervisor([child])

    parent.step(0.0)
    assert child.process is not None
    child.process.wait()
    parent.step(1.0)
    parent.step(1.1)
    waiting = child.process
    parent.step(1.3)
    parent.end()

    assert waiting is None
    assert child.starts == 2
    assert "No such command" in (tmp_path / "logs" / "broken.log").read_text()


def test_what_dies_again_and_again_is_told_with_where_to_look(tmp_path: Path):
    child = Child("broken", ["no-such-command"], logs=tmp_path / "broken.log")
    parent = Supervisor([child])

    with structlog.testing.capture_logs() as said:
        for life in range(6):
            child.due_at = 0.0
            parent.step(float(life))
            assert child.process is not None
            child.process.wait()
            parent.step(float(life))

    told = [line for line in said if line["event"] == "child_does_not_stay_up"]
    assert [line["died_in_a_row"] for line in told] == [5]
    assert str(tmp_path / "broken.log") in told[0]["hint"]


def test_ending_ends_every_child():
    children = [Child("help", ["--help"]), Child("settings", ["settings"])]
    parent = Supervisor(children)
    parent.step(0.0)
    processes = [child.process for child in children]

    parent.end()

    assert all(process is not None and process.poll() is not None for process in processes)


def test_ctrl_c_is_the_supervisors_to_hear():
    child = Child("settings", ["settings"])

    child.start(0.0)
    assert child.process is not None
    session = os.getsid(child.process.pid)
    Supervisor([child]).end()

    assert session == child.process.pid


@pytest.fixture
def niceness(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What is added to this process's own, which stays as it is; the kernel says 7 in all."""
    added: list[int] = []

    def nice(more: int) -> int:
        added.append(more)
        return 7

    monkeypatch.setattr(os, "nice", nice)
    return added


def test_who_gives_way_does_so_with_its_whole_session(tmp_path: Path, niceness: list[int]):
    give_way(5, autogroup=tmp_path / "autogroup")

    assert niceness == [5]
    assert (tmp_path / "autogroup").read_text() == "7"


def test_the_kernel_is_asked_again_while_it_is_busy(
    tmp_path: Path, niceness: list[int], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(supervisor, "_AUTOGROUP_SECONDS", 0.0)
    write, busy = Path.write_text, iter([True, True, False])

    def taken_at_last(path: Path, text: str) -> int:
        if next(busy):
            raise BlockingIOError
        return write(path, text)

    monkeypatch.setattr(Path, "write_text", taken_at_last)
    give_way(5, autogroup=tmp_path / "autogroup")

    assert (tmp_path / "autogroup").read_text() == "7"


def test_a_kernel_that_stays_busy_is_not_asked_for_ever(
    tmp_path: Path, niceness: list[int], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(supervisor, "_AUTOGROUP_SECONDS", 0.0)
    asked: list[str] = []

    def busy(_: Path, text: str) -> int:
        asked.append(text)
        raise BlockingIOError

    monkeypatch.setattr(Path, "write_text", busy)
    give_way(5, autogroup=tmp_path / "autogroup")

    assert 1 < len(asked) < 100


def test_who_keeps_the_usual_priority_changes_no_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(os, "nice", lambda more: more)

    give_way(0, autogroup=tmp_path / "autogroup")

    assert not (tmp_path / "autogroup").exists()


def test_where_sessions_have_no_niceness_the_process_has(tmp_path: Path, niceness: list[int]):
    give_way(5, autogroup=tmp_path / "absent" / "autogroup")

    assert niceness == [5]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What children would inherit."""
    own = dict(os.environ)
    monkeypatch.setattr(os, "environ", own)
    return own


def test_two_children_on_one_machine_are_not_given_one_metrics_port(
    environment: dict[str, str], tmp_path: Path
) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path, metrics_port=9090)  # type: ignore[call-arg]

    names = [child.name for child in children(settings)]

    assert {"aggregate", "train"} <= set(names)
    assert environment["QUINTET_METRICS_PORT"] == "0"


def test_workers_have_longer_to_end_than_slow_clients_and_their_supervisor_longer_than_they() -> (
    None
):
    assert server._GRACE_SECONDS < processes.WORKERS_GRACE_SECONDS
    assert Supervisor([]).grace_seconds > processes.WORKERS_GRACE_SECONDS


def test_workers_at_any_free_port_say_which_it_is(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told: list[process_file.ProcessFile | None] = []

    class Looking(Supervisor):
        def run(self) -> None:
            assert self.grace_seconds == processes.WORKERS_GRACE_SECONDS
            told.append(process_file.find(tmp_path, "serve"))

    monkeypatch.setattr(processes, "Supervisor", Looking)
    monkeypatch.setattr(processes, "_stop_event", lambda: None)
    given: dict[str, Any] = {"data_dir": tmp_path, "port": 0, "workers": 2}

    processes._serve_workers(Settings(_env_file=None, **given), None)  # type: ignore[call-arg]

    assert told[0] is not None
    assert int(told[0].targets[0].rpartition(":")[2]) > 0
    assert told[0].labels["instance"] == "serve-" + told[0].targets[0].rpartition(":")[2]
