"""One command keeps the ring's processes alive, and leaves none of them behind."""

import shutil
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from tests.faults.conftest import KilledRing
from tests.rings import Ring, Shown, open_shop, until


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[Ring]:
    ring = Ring(tmp_path, workers="2")
    open_shop(ring)
    yield ring
    ring.end()


def run(ring: Ring) -> None:
    ring.start("run")
    until(lambda: len(ring.children()) == 4, "four processes")
    until(ring.is_ready, "the service is ready")


def test_one_ctrl_c_ends_run_and_leaves_no_process(ring: Ring) -> None:
    run(ring)

    ring.interrupt()

    assert ring.wait(20) == 0
    assert ring.group() == []
    assert "child_died" not in ring.said
    assert "Traceback" not in ring.said


def test_one_ctrl_c_ends_a_demo_and_leaves_no_process(
    killed_ring: KilledRing, tmp_path: Path
) -> None:
    ring = Ring(tmp_path)
    shutil.copytree(killed_ring.ring.data_dir, ring.data_dir)
    try:
        ring.start("demo", "--world", "synthetic", "--headless", "--rate", "20", "--seed", "7")
        with closing(ring.log()) as log, closing(Shown(log)) as shown:
            shown.reach(len(killed_ring.told.banners) + 20)

        ring.interrupt()

        assert ring.wait(20) == 0
        assert ring.group() == []
        assert "going on with the policy and the log of an earlier demo" in ring.said
        assert "child_died" not in ring.said
        assert "Traceback" not in ring.said
    finally:
        ring.end()


def test_a_killed_supervisor_leaves_no_process(ring: Ring) -> None:
    run(ring)
    everyone = ring.group()

    assert ring.process is not None
    ring.process.send_signal(signal.SIGKILL)
    ring.process.wait()

    assert len(everyone) >= 7  # the command, its four children, two workers
    until(lambda: ring.group() == [], "every process has ended")


def test_on_one_machine_shoppers_who_wait_come_before_what_they_earn_and_teach(ring: Ring) -> None:
    run(ring)
    assert ring.process is not None
    own = psutil.Process(ring.process.pid).nice()

    def nicer() -> dict[str, int]:
        return {name: child.nice() - own for name, child in ring.children().items()}

    wanted = {"serve": 0, "aggregate": 4, "train": 15, "console": 15}
    until(lambda: nicer() == wanted, "each knows its place")
    assert [worker.nice() for worker in ring.children()["serve"].children()] == [own, own]
    files = {name: Path(f"/proc/{child.pid}/autogroup") for name, child in ring.children().items()}
    if not files["serve"].exists():  # processors are not shared by sessions here
        return

    def shared() -> dict[str, int]:
        return {name: int(file.read_text().split()[-1]) - own for name, file in files.items()}

    until(lambda: shared() == wanted, "so do their sessions")


def test_a_killed_worker_is_replaced_while_the_others_answer(ring: Ring) -> None:
    run(ring)
    workers = ring.children()["serve"].children()

    workers[0].send_signal(signal.SIGKILL)

    until(lambda: len(ring.children()["serve"].children()) == 2, "two workers")
    assert workers[1].is_running()
    until(ring.is_ready, "somebody answers")


def test_run_without_a_policy_says_what_to_do_and_exits_2(tmp_path: Path) -> None:
    ring = Ring(tmp_path)

    ring.start("run")

    assert ring.wait(30) == 2
    assert "run `quintet import` and `quintet pretrain` first" in ring.said
