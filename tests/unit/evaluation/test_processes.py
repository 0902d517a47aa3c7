"""Seeds in processes of their own: what they tell, and that they end with who asked."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from evaluation.errors import SeedEnded
from evaluation.processes import Told, in_processes

PATIENCE_SECONDS = 40.0
ASKING = """
from pathlib import Path
from functools import partial
from evaluation.processes import in_processes
from tests.unit.evaluation.test_processes import wait_for_ever

if __name__ == "__main__":
    in_processes(partial(wait_for_ever, Path({folder!r})), (1, 2), processes=2, told=print)
"""


def square(seed: int, told: Told) -> int:
    told(f"seed {seed}", 1.0)
    return seed * seed


def wait_for_ever(folder: Path, seed: int, _told: Told) -> None:
    (folder / f"{seed}").write_text(f"{os.getpid()} {os.getppid()}")
    while True:
        time.sleep(0.1)


def fail(seed: int, _told: Told) -> None:
    raise ValueError(f"seed {seed} cannot be")


def one_fails(folder: Path, seed: int, told: Told) -> None:
    """Seed 1 fails as soon as seed 2 is being played; the others go on for ever."""
    if seed != 1:
        wait_for_ever(folder, seed, told)
    (folder / "1").touch()
    other = folder / "2"
    until(lambda: other.exists() and other.read_text())
    fail(seed, told)


def vanish(_seed: int, _told: Told) -> None:
    os._exit(3)


def test_every_seed_is_played_and_heard() -> None:
    heard: list[tuple[str, float]] = []

    def told(what: str, done: float) -> None:
        heard.append((what, done))

    assert in_processes(square, (3, 1), processes=2, told=told) == [9, 1]
    assert sorted(heard) == [("seed 1", 1.0), ("seed 3", 1.0)]


def test_what_seeds_find_is_in_their_order_with_fewer_processes_than_seeds() -> None:
    told: list[str] = []

    found = in_processes(
        square, (5, 3, 5, 1, 2), processes=2, told=lambda what, _done: told.append(what)
    )

    assert found == [25, 9, 25, 1, 4]
    assert sorted(told) == ["seed 1", "seed 2", "seed 3", "seed 5", "seed 5"]


def test_what_a_seed_raises_is_raised() -> None:
    with pytest.raises(ValueError, match="seed 1 cannot be"):
        in_processes(fail, (1,), processes=2, told=print)


def test_where_one_seed_fails_no_other_is_begun_and_none_is_waited_for(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="seed 1 cannot be"):
        in_processes(partial(one_fails, tmp_path), (1, 2, 3, 4), processes=2, told=print)

    begun = {path.name for path in tmp_path.iterdir()}
    assert begun == {"1", "2"}
    assert not is_alive(int((tmp_path / "2").read_text().split()[0]))


def test_a_process_that_ends_without_a_word_is_named() -> None:
    with pytest.raises(SeedEnded, match="seed 7: its process ended with status 3"):
        in_processes(vanish, (7,), processes=2, told=print)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=lambda how: how.name)
def test_no_seed_outlives_the_process_that_asked(tmp_path: Path, how: signal.Signals) -> None:
    script = tmp_path / "asking.py"
    script.write_text(ASKING.format(folder=str(tmp_path)))
    asking = subprocess.Popen(
        [sys.executable, script], env={**os.environ, "PYTHONPATH": str(Path.cwd())}
    )
    children: set[int] = set()
    try:
        until(lambda: all((tmp_path / name).exists() for name in "12"))
        children = children_of(asking.pid)
        assert len(children) >= 2  # the seeds, and what Python itself starts beside them

        asking.send_signal(how)
        asking.wait(PATIENCE_SECONDS)

        until(lambda: not any(map(is_alive, children)))
    finally:
        asking.kill()
        asking.wait()
        for child in filter(is_alive, children):
            os.kill(child, signal.SIGKILL)


def until(holds: object) -> None:
    """Wait until something holds, as long as a slow machine may take."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


def children_of(parent: int) -> set[int]:
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, rest = status.read_text().split(" ", 1)
        except OSError:
            continue
        if int(rest.rpartition(")")[2].split()[1]) == parent:
            found.add(int(pid))
    return found


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
