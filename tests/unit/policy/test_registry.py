"""The registry: what is kept, what is live, and that nothing half-done is ever seen."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from policy.errors import (
    NoLiveSnapshot,
    PolicyError,
    RegistryHeld,
    SnapshotRejected,
    SnapshotUnknown,
    VersionTaken,
)
from policy.registry import Registry
from schemas.policies import Manifest
from tests.policies import weights_of

HOUR_MS = 3_600_000


class Clock:
    """Milliseconds that move when told to."""

    def __init__(self) -> None:
        self.now_ms = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry(tmp_path: Path, clock: Clock) -> Registry:
    return Registry(tmp_path, clock=clock)


def publish(registry: Registry, *, seed: int = 0, version: int | None = None) -> Manifest:
    """Publish a child of version 1."""
    return registry.publish(
        weights_of(4, seed=seed), parent=1, foundation=1, catalogue_version=0, updates=seed,
        banners=256 * seed, version=version,
    )  # fmt: skip


def with_versions(registry: Registry, count: int) -> None:
    """Publish and promote a foundation and its children, `count` versions in all."""
    registry.publish_foundation(weights_of(4), catalogue_version=0)
    registry.promote(1, reason="pretrained")
    for version in range(2, count + 1):
        publish(registry, seed=version)
        registry.promote(version, reason="learned")


def damage(registry: Registry, version: int) -> None:
    path = registry._folder(version) / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def test_a_foundation_is_its_own_reference(registry: Registry) -> None:
    manifest = registry.publish_foundation(weights_of(4), catalogue_version=9)

    assert (manifest.version, manifest.foundation, manifest.parent) == (1, 1, None)
    assert registry.load(1).manifest == manifest
    assert registry.live() is None


def test_versions_grow(registry: Registry) -> None:
    with_versions(registry, 3)

    assert [manifest.version for manifest in registry.manifests()] == [1, 2, 3]
    assert registry.next_version() == 4


def test_publishing_the_same_weights_again_changes_nothing(
    registry: Registry, clock: Clock
) -> None:
    with_versions(registry, 2)
    before = registry.manifests()
    clock.now_ms += 1000

    again = publish(registry, seed=2, version=2)

    assert again == before[1]
    assert registry.manifests() == before


def test_other_weights_under_a_taken_number_are_refused(registry: Registry) -> None:
    with_versions(registry, 2)

    with pytest.raises(VersionTaken, match="version 2 exists with other weights"):
        publish(registry, seed=5, version=2)

    assert registry.load(2).manifest.updates == 2


def test_a_number_is_never_reused_after_pruning(registry: Registry) -> None:
    with_versions(registry, 60)
    dropped = registry.prune()

    with pytest.raises(VersionTaken, match="has passed"):
        publish(registry, seed=99, version=dropped[0])

    assert registry.next_version() == 61


def test_promotion_remembers_what_was_live_before(registry: Registry, clock: Clock) -> None:
    with_versions(registry, 3)

    live = registry.live()

    assert live is not None
    assert (live.version, live.foundation, live.hold) == (3, 1, False)
    assert live.previous == (1, 2)
    assert live.changed_at_ms == clock.now_ms


def test_promoting_what_is_live_changes_nothing(registry: Registry) -> None:
    with_versions(registry, 2)
    before = registry.live()

    assert registry.promote(2, reason="again") == before


def test_the_memory_of_what_was_live_is_bounded(registry: Registry) -> None:
    with_versions(registry, 60)

    live = registry.live()

    assert live is not None
    assert live.previous == tuple(range(10, 60))


def test_an_unknown_version_is_not_promoted(registry: Registry) -> None:
    with_versions(registry, 1)

    with pytest.raises(SnapshotUnknown, match="no version 2"):
        registry.promote(2, reason="by hand")


def test_promise_5_a_damaged_version_is_not_promoted(registry: Registry) -> None:
    with_versions(registry, 1)
    publish(registry, seed=2)
    damage(registry, 2)

    with pytest.raises(SnapshotRejected, match="sha256"):
        registry.promote(2, reason="learned")

    live = registry.live()
    assert live is not None
    assert live.version == 1


def test_promise_5_a_rollback_holds_until_somebody_resumes(registry: Registry) -> None:
    with_versions(registry, 3)

    rolled_back = registry.rollback(reason="lift fell")

    assert (rolled_back.version, rolled_back.hold, rolled_back.previous) == (2, True, (1,))
    with pytest.raises(RegistryHeld, match="lift fell"):
        registry.promote(3, reason="learned")
    resumed = registry.resume()
    assert (resumed.version, resumed.hold) == (2, False)
    assert registry.promote(3, reason="learned").previous == (1, 2)


def test_rolling_back_twice_goes_back_twice(registry: Registry) -> None:
    with_versions(registry, 3)

    registry.rollback(reason="one")

    assert registry.rollback(reason="two").version == 1
    with pytest.raises(SnapshotUnknown, match="nothing sound"):
        registry.rollback(reason="three")


def test_a_rollback_can_name_its_version(registry: Registry) -> None:
    with_versions(registry, 4)

    rolled_back = registry.rollback(reason="by hand", to=2)

    assert (rolled_back.version, rolled_back.previous) == (2, (1,))


def test_a_rollback_passes_over_damaged_versions(registry: Registry) -> None:
    with_versions(registry, 3)
    damage(registry, 2)

    assert registry.rollback(reason="by hand").version == 1


def test_nothing_is_rolled_back_or_resumed_before_the_first_promotion(registry: Registry) -> None:
    for change in (lambda: registry.rollback(reason="x"), registry.resume):
        with pytest.raises(NoLiveSnapshot, match="quintet pretrain"):
            change()


def test_a_live_pointer_that_cannot_be_read_is_said(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "live.json").write_text("{")

    with pytest.raises(PolicyError, match=r"live\.json"):
        registry.live()


def test_pruning_keeps_foundations_the_live_one_the_newest_and_one_an_hour(
    registry: Registry, clock: Clock
) -> None:
    for version in range(1, 5):  # 1 and 2 a week and a half ago, 3 and 4 in the same recent hour
        if version == 3:
            clock.now_ms += 10 * 24 * HOUR_MS
        registry.publish(
            weights_of(4, seed=version), parent=None if version == 1 else 1, foundation=1,
            catalogue_version=0, updates=0, banners=0,
        )  # fmt: skip
    clock.now_ms += 2 * HOUR_MS
    for version in range(5, 55):
        publish(registry, seed=version)
    registry.promote(54, reason="learned")

    dropped = registry.prune()

    assert dropped == [2, 3]
    assert [m.version for m in registry.manifests()] == [1, 4, *range(5, 55)]


def test_pruning_keeps_what_is_live_however_old(registry: Registry) -> None:
    with_versions(registry, 2)
    for version in range(3, 63):
        publish(registry, seed=version)

    registry.prune()

    assert registry.load(2).manifest.version == 2


def test_a_damaged_manifest_hides_only_its_own_version(registry: Registry) -> None:
    with_versions(registry, 3)
    (registry._folder(2) / "manifest.json").write_text("{}")

    assert [manifest.version for manifest in registry.manifests()] == [1, 3]


def test_what_the_dead_left_behind_is_swept_away(
    registry: Registry, tmp_path: Path, clock: Clock
) -> None:
    with_versions(registry, 1)
    left = tmp_path / "snapshots" / ".tmp-abc"
    left.mkdir()
    (left / "weights.safetensors").write_bytes(b"half")

    Registry(tmp_path, clock=clock)

    assert [path.name for path in (tmp_path / "snapshots").iterdir()] == ["00000001"]


CRASH = """
import os, sys
from pathlib import Path
from policy import snapshot
from policy.registry import Registry
from tests.policies import weights_of

root, point = Path(sys.argv[1]), sys.argv[2]
registry = Registry(root, clock=lambda: 1)
real_write, real_rename, calls = snapshot._write, Path.rename, []

def write(path, content):
    if point == path.name:
        path.write_bytes(content[: len(content) // 2])
        os.kill(os.getpid(), 9)
    real_write(path, content)

def rename(path, target):
    if point == "rename":
        os.kill(os.getpid(), 9)
    result = real_rename(path, target)
    if point == "renamed":
        os.kill(os.getpid(), 9)
    return result

snapshot._write, Path.rename = write, rename
registry.publish(weights_of(4, seed=2), parent=1, foundation=1, catalogue_version=0, updates=1,
                 banners=1, version=2)
"""


def run(code: str, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


@pytest.mark.parametrize("point", ["weights.safetensors", "manifest.json", "rename", "renamed"])
def test_a_publisher_killed_anywhere_leaves_a_whole_snapshot_or_none(
    registry: Registry, tmp_path: Path, clock: Clock, point: str
) -> None:
    with_versions(registry, 1)

    assert run(CRASH, str(tmp_path), point).wait() == -9

    whole = [1, 2] if point == "renamed" else [1]
    assert [manifest.version for manifest in registry.manifests()] == whole
    survivor = Registry(tmp_path, clock=clock)
    assert publish(survivor, seed=2, version=2).version == 2
    assert np.array_equal(
        survivor.load(2).weights["output_rows"], weights_of(4, seed=2)["output_rows"]
    )


PROMOTE = """
import sys
from pathlib import Path
from policy.registry import Registry
from tests.policies import weights_of

registry = Registry(Path(sys.argv[1]), clock=lambda: 1)
for number in range(6):
    manifest = registry.publish(weights_of(4, seed=int(sys.argv[2]) * 100 + number), parent=1,
        foundation=1, catalogue_version=0, updates=1, banners=1)
    registry.promote(manifest.version, reason=sys.argv[2])
"""


def test_processes_that_promote_at_once_lose_nothing(registry: Registry, tmp_path: Path) -> None:
    with_versions(registry, 1)

    processes = [run(PROMOTE, str(tmp_path), str(number)) for number in range(3)]

    assert [process.wait() for process in processes] == [0, 0, 0]
    assert [manifest.version for manifest in registry.manifests()] == list(range(1, 20))
    live = registry.live()
    assert live is not None
    assert sorted([live.version, *live.previous]) == list(range(1, 20))


def test_reading_needs_no_lock(registry: Registry) -> None:
    with_versions(registry, 1)

    with registry._locked():
        reads: list[Callable[[], object]] = [
            registry.live, registry.manifests, lambda: registry.load(1)
        ]  # fmt: skip
        found = [read() for read in reads]

    assert all(found)


def test_a_damaged_pointer_is_made_anew_by_a_rollback_that_names_its_version(
    registry: Registry, tmp_path: Path
) -> None:
    with_versions(registry, 3)
    (tmp_path / "live.json").write_text('{"version": "x')

    with pytest.raises(PolicyError, match="rollback --to"):
        registry.rollback(reason="by hand")
    rolled_back = registry.rollback(reason="by hand", to=2)

    assert (rolled_back.version, rolled_back.hold) == (2, True)
    assert registry.live() == rolled_back


def test_a_snapshot_that_could_not_be_written_leaves_nothing_behind(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(folder: Path, *_: object) -> None:
        (folder / "weights.safetensors").write_bytes(b"half of it")
        raise OSError("No space left on device")

    monkeypatch.setattr("policy.registry.write_snapshot", full)
    for _ in range(3):
        with pytest.raises(OSError, match="No space left"):
            registry.publish_foundation(weights_of(4), catalogue_version=0)

    assert list((tmp_path / "snapshots").iterdir()) == []
