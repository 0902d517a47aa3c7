"""Processes that die or are taken for dead."""

import time
from collections.abc import Sequence
from contextlib import closing, suppress

from tests.faults.suite import replay
from tests.faults.suite.catalogue import fault
from tests.faults.suite.finding import Finding
from tests.faults.suite.judge import judge
from tests.faults.suite.scene import SETTINGS, Scene
from tests.rings import until

NOTICED_SECONDS = 0.2
"""So long a client may take a connection for open that its server's death has closed."""
UNDER_WAY_SECONDS = 1.0
"""A request sent so long before the kill may have been under way."""


@fault("F1", "kill -9 a serving worker", workers="2")
def a_serving_worker_dies(scene: Scene) -> None:
    workers = scene.ring.children()["serve"].children()
    victim = scene.rng.choice(workers)
    for _ in range(3 if scene.long else 1):
        scene.strike()
        scene.kill(victim)
        scene.kills.append(time.monotonic())
        scene.heal()
        scene.recover()
        until(lambda: len(scene.ring.children()["serve"].children()) == 2, "two workers")
        victim = scene.rng.choice(scene.ring.children()["serve"].children())
    judge(scene, versions=False)
    check_failed_under_way(scene.finding, scene.load.failed, scene.kills)


def check_failed_under_way(
    finding: Finding, failed: Sequence[float], kills: Sequence[float]
) -> None:
    """No request may have failed but those that a killed worker was answering."""
    others = [
        at for at in failed
        if not any(-UNDER_WAY_SECONDS <= at - kill <= NOTICED_SECONDS for kill in kills)
    ]  # fmt: skip
    finding.check(not others, f"{len(others)} requests failed that no killed worker had")
    finding.told.append(f"{len(failed) - len(others)} requests under way failed")


@fault("F2", "kill -9 the aggregator at each crash point")
def the_aggregator_dies_at_each_crash_point(scene: Scene) -> None:
    _die(scene, "aggregate", ["after_poll", "before_commit", "after_commit"])
    judge(scene)


@fault("F2k", "the same between the steps of Kafka's transaction", kafka=True)
def the_aggregator_dies_inside_a_transaction(scene: Scene) -> None:
    _die(scene, "aggregate", ["after_poll", "after_produce", "after_offsets", "after_transaction"])
    judge(scene)


@fault("F3", "kill -9 the trainer at each crash point")
def the_trainer_dies_at_each_crash_point(scene: Scene) -> None:
    points = [
        "learned", "wrote_weights", "wrote_manifest", "published", "promoted", "announced",
        "mid_save", "saved",
    ]  # fmt: skip
    _die(scene, "train", points if scene.long else ["wrote_weights", "mid_save", "promoted"])
    judge(scene)
    check_same_weights(scene)


@fault("F4", "kill -9 everything at once, again and again")
def everything_dies_at_once(scene: Scene) -> None:
    for number in range(20 if scene.long else 2):
        time.sleep(scene.rng.uniform(0.5, 2.5))
        if number == 0:
            scene.strike()
        group = scene.ring.group()
        for process in group:
            scene.kill(process)
        scene.kills.append(time.monotonic())
        until(lambda: not scene.ring.group(), "everybody is dead")
        scene.ring.process.wait()
        scene.heal()  # that it has to start is part of the recovery
        if number % 2:
            scene.start()
        else:  # not even ready before it dies again
            scene.ring.start("run")
            until(lambda: len(scene.ring.children()) == 4, "four processes")
    scene.recover()
    judge(scene)
    if scene.long:
        check_same_weights(scene)


@fault("F5", "SIGSTOP the aggregator past its session, SIGCONT", kafka=True)
def an_aggregator_taken_for_dead_comes_back(scene: Scene) -> None:
    second = scene.ring.start_beside("aggregate", "--member", "second")
    scene.aggregators_beside.append(second)
    with closing(scene.ring.log()) as log:
        parts = log.partitions("events")
    until(lambda: 0 < _partitions_of(scene, second) < parts, "the second works beside the first")
    first = scene.stopped("aggregate", "before_commit")
    scene.strike()
    until(lambda: _partitions_of(scene, second) == parts, "the second has taken over", seconds=90)
    first.resume()
    scene.heal()
    scene.recover()
    fenced = scene.metrics_of(first.pid)["aggregate_restarts_total", ""]
    scene.finding.check(fenced, "the first aggregator's commit was not refused")
    judge(scene)


def _partitions_of(scene: Scene, aggregator: int) -> int:
    """Return of how many partitions an aggregator has committed records so far."""
    with suppress(AssertionError, OSError):
        counted = scene.metrics_of(aggregator)
        return sum(name == "aggregate_stream_time_timestamp_seconds" for name, _ in counted)
    return 0


@fault("F16", "SIGTERM under load, two workers", workers="2")
def a_worker_is_asked_to_end(scene: Scene) -> None:
    scene.strike()
    for _ in range(6 if scene.long else 2):
        workers = scene.ring.children()["serve"].children()
        victim = scene.rng.choice(workers)
        victim.terminate()
        until(lambda pid=victim.pid: pid not in _workers(scene), "it ends", seconds=20)
        until(lambda: len(_workers(scene)) == 2, "two workers")
        time.sleep(scene.rng.uniform(2.0, 4.0))
    for name in ("aggregate", "train"):
        scene.ring.children()[name].terminate()
    scene.heal()
    scene.recover()
    scene.load.stop()
    failed = len(scene.load.failed)
    scene.finding.check(not failed, f"{failed} requests failed: {scene.load.failures[:3]}")
    judge(scene, versions=False)


def _workers(scene: Scene) -> list[int]:
    return [each.pid for each in scene.ring.children()["serve"].children()]


def _die(scene: Scene, name: str, points: list[str]) -> None:
    """Have a process kill itself at each point under load, one after the other."""
    for number, point in enumerate(points):
        time.sleep(scene.rng.uniform(0.0, 1.5))
        until(lambda: name in scene.ring.children(), f"{name} runs")
        if number == 0:
            scene.strike()
        pid = scene.ring.children()[name].pid
        scene.order(f"{name}.{point}")
        scene.obeyed(f"{name}.{point}")
        scene.heal()
        scene.ring.restarted(name, killed=pid)
    scene.recover()


def check_same_weights(scene: Scene) -> None:
    """Bit by bit the weights are those of a trainer never stopped."""
    scene.ring.end()
    made = replay.shelf(scene.ring.registry())
    peace = replay.weights_in_peace(
        scene.ring, scene.folder / "peace", batch_banners=SETTINGS["batch_banners"]
    )
    both = made.keys() & peace.keys()
    scene.finding.check(len(both) >= min(len(made), 20), f"only {len(both)} versions to compare")
    wrong = sorted(version for version in both if made[version] != peace[version])
    scene.finding.check(not wrong, f"versions {wrong[:5]} are not those of a trainer in peace")
    scene.finding.told.append(f"{len(both)} versions, bit by bit those of a trainer in peace")
