"""What the machine does to a ring: a full disk, a crowd, a clock that is wrong."""

import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from load.wrk import read_counted
from tests.faults.suite.catalogue import fault
from tests.faults.suite.judge import judge
from tests.faults.suite.pests import IDLE, SLOW, Pests
from tests.faults.suite.play import NotPlayed
from tests.faults.suite.scene import Scene
from tests.servers import REPOSITORY

HOUR_MS = 3_600_000
_DISK_BYTES = 192 * 1024 * 1024
_SCRIPT = REPOSITORY / "load" / "requests.lua"
BACK_TO_NORMAL_SECONDS = 10.0
GOODPUT = 0.8
THERE = 0.8
"""Of the idle and slow connections so many must be open on average: those closed come again."""


@fault("F9", "the disk is full", begins=False)
def the_disk_is_full(scene: Scene) -> None:
    if os.geteuid() != 0:
        raise NotPlayed("a small disk of its own (tmpfs) can be mounted by root alone")
    disk = scene.ring.data_dir
    disk.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        raise NotPlayed("no tmpfs can be mounted here")
    try:
        scene.open()
        scene.start()
        scene.shoppers()
        scene.calm()
        scene.strike()
        ballast = disk / "ballast"
        _fill(ballast)
        serving = len(scene.load.answers)
        for _ in range(20 if scene.long else 8):  # what is freed meanwhile is filled again
            time.sleep(0.5)
            _fill(ballast)
        during = scene.load.answers[serving:]
        versions = {answer.version for answer in during if answer.arm == "policy"}
        scene.finding.check(
            during and all(answer.status == 200 for answer in during), "a banner was refused"
        )
        scene.finding.told.append(
            f"{len(during)} banners on a full disk, of versions {sorted(versions)}; "
            f"events were answered 503 {scene.load.shed} times"
        )
        scene.finding.check(scene.load.shed, "the disk was not full for the log")
        ballast.unlink()
        scene.heal()
        scene.recover()
        judge(scene)
        registry = scene.ring.registry()
        for manifest in registry.manifests():
            registry.load(manifest.version)
    finally:
        scene.ring.end()
        subprocess.run(["umount", "-l", str(disk)], check=False)


def _fill(ballast: Path) -> None:
    with ballast.open("ab", buffering=0) as file, suppress(OSError):
        for size in (1 << 20, 1 << 12, 1):
            with suppress(OSError):
                while True:
                    file.write(b"\0" * size)


# A hundred thousand banners in batches of 32 would be learned from for a quarter of an hour.
@fault("F15", "a crowd, a hot user, idle, slow and aborted requests", batch_banners="1024")
def a_crowd_comes(scene: Scene) -> None:
    if shutil.which("wrk") is None:
        raise NotPlayed("wrk is not installed")
    seconds = 60 if scene.long else 6
    before = _capacity(scene)
    scene.strike()
    pests = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("pests.py")), scene.ring.url, str(seconds)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert pests.stdout is not None
        pests.stdout.readline()  # they have come
        spent = _server_seconds(scene)
        hot = _start_crowd(scene, connections=64, seconds=seconds, shoppers=1)
        crowd = _crowd(scene, connections=256, seconds=seconds, shoppers=5_000)
        favourite = _counted(hot)
        spent = _server_seconds(scene) - spent
        said, _ = pests.communicate(timeout=60)
    finally:
        pests.kill()
        pests.wait()
    together = _Got(crowd.good + favourite.good, crowd.offered + favourite.offered, spent / seconds)
    _check_pests(scene, said, pests.returncode)
    scene.heal()
    scene.recover()
    back = scene.finding.recovery_seconds
    after = _capacity(scene)
    alone = (before.good + after.good) * _alone_seconds(scene)
    scene.crowd_banners = round(together.good * seconds + alone)
    scene.finding.check(
        back is not None and back <= BACK_TO_NORMAL_SECONDS,
        f"not back to normal within {BACK_TO_NORMAL_SECONDS:.0f} s",
    )
    scene.finding.told.append(
        f"{together.good:.0f} banners a second in the crowd, {before.good:.0f} before, "
        f"{after.good:.0f} after; {together.offered / max(before.good, after.good):.1f} times the "
        f"capacity was offered; a second of the server's processor gave {together.of_a_second:.0f} "
        f"in the crowd, {before.of_a_second:.0f} before, {after.of_a_second:.0f} after: it had "
        f"{together.share:.2f} of a core in the crowd, {before.share:.2f}, {after.share:.2f}"
    )
    goodput = 2 * together.of_a_second / (before.of_a_second + after.of_a_second)
    scene.finding.check_time(
        goodput >= GOODPUT,
        f"goodput of the server's processor fell to {goodput:.2f} of what it was",
    )
    scene.load.stop()
    failed = len(scene.load.failed)
    scene.finding.check(not failed, f"{failed} requests of others failed")
    judge(scene)


def _check_pests(scene: Scene, said: str, status: int) -> None:
    """They were there all the time, and those that kept the service waiting were sent away."""
    scene.finding.check(status == 0, f"the slow and idle clients ended with status {status}")
    counted = msgspec.json.decode(said, type=Pests) if said else Pests()
    scene.finding.check(
        counted.idle >= THERE * IDLE and counted.slow >= THERE * SLOW,
        f"only {counted.idle:.0f} idle and {counted.slow:.0f} slow connections were open",
    )
    scene.finding.check(counted.aborted, "no request was given up")
    unseen = scene.metrics("serve")["service_request_seconds_count", "499"]
    sent_away = min(counted.idle_again, counted.slow_again)
    scene.finding.check(sent_away or not scene.long, "nobody was sent away for keeping it waiting")
    scene.finding.told.append(
        f"{counted.idle:.0f} idle connections (opened again {counted.idle_again} times), "
        f"{counted.slow:.0f} slow ones (again {counted.slow_again} times), "
        f"{counted.aborted} requests given up, {unseen:.0f} of them before anything was drawn"
    )


class _Got(NamedTuple):
    """What a crowd got.

    Attributes:
        good, offered: requests a second that got a banner, and all that were answered.
        share: of a core, that the server's event loop had meanwhile.
    """

    good: float
    offered: float
    share: float

    @property
    def of_a_second(self) -> float:
        """Return the banners that a second of the server's processor gave.

        Crowd and ring share two cores here: what the clients take is not the service's loss.
        """
        return self.good / max(self.share, 1e-9)


def _server_seconds(scene: Scene) -> float:
    """Return for how many seconds the server's event loop has run so far.

    https://docs.kernel.org/scheduler/sched-stats.html, "/proc/<pid>/schedstat".
    """
    path = Path("/proc") / str(scene.ring.children()["serve"].pid) / "schedstat"
    return int(path.read_text().split()[0]) / 1e9


def _start_crowd(
    scene: Scene, *, connections: int, seconds: int, shoppers: int
) -> "subprocess.Popen[str]":
    command = [
        "wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s",
        "--timeout", "10s", "--latency", "--script", str(_SCRIPT), scene.ring.url, "--",
        "POST", "/recommend", str(shoppers), "1000", str(scene.finding.seed),
    ]  # fmt: skip
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _counted(crowd: "subprocess.Popen[str]") -> _Got:
    said, _ = crowd.communicate(timeout=120)
    counted = read_counted(said)
    seconds = counted.microseconds / 1e6
    good = counted.requests - counted.refused - counted.broken
    return _Got(good / seconds, counted.requests / seconds, 0.0)


def _capacity(scene: Scene) -> _Got:
    """Return what a crowd gets when nobody is in the way.

    Asked before the crowd and after it, since a machine's own speed drifts by a quarter.
    """
    seconds = _alone_seconds(scene)
    spent = _server_seconds(scene)
    got = _crowd(scene, connections=32, seconds=seconds, shoppers=5_000)
    return got._replace(share=(_server_seconds(scene) - spent) / seconds)


def _alone_seconds(scene: Scene) -> int:
    return 15 if scene.long else 5


def _crowd(scene: Scene, *, connections: int, seconds: int, shoppers: int) -> _Got:
    """Return what a crowd got."""
    crowd = _start_crowd(scene, connections=connections, seconds=seconds, shoppers=shoppers)
    return _counted(crowd)


@fault("F20", "the clock of a process an hour off, and back", attribution_window_seconds="86400")
def a_clock_is_an_hour_off(scene: Scene) -> None:
    scene.strike()
    for kind in ("serve", "aggregate", "train"):
        for offset_ms in (HOUR_MS, 0, -HOUR_MS, 0):
            scene.order(f"{kind}.clock", str(offset_ms))
            time.sleep(4.0 if scene.long else 2.0)
    scene.heal()
    scene.recover()
    scene.finding.told.append(f"{scene.load.refused} events were refused, their tokens too new")
    judge(scene)
