"""Weights that are damaged, that load and are bad, or that change all the time."""

import errno
import os
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np
import safetensors.numpy

from policy.errors import PolicyError
from policy.registry import Registry
from policy.snapshot import MANIFEST_FILE, WEIGHTS_FILE, digest, tensor_specs
from schemas.codec import decode_announcement, encode
from schemas.policies import Announcement, Live, Manifest
from tests import ring_checks
from tests.faults.suite.catalogue import fault
from tests.faults.suite.judge import judge
from tests.faults.suite.scene import Scene, in_log
from tests.rings import until

Weights = dict[str, np.ndarray]  # type: ignore[type-arg]
_FIRST = 9_000
"""Versions of damaged snapshots begin here, far beyond the trainer's."""
SWAPPED = 0.1
"""Of the pointer's moves so many must be followed: each swap verifies and compiles anew."""


def _whole(folder: Path, version: int, like: Manifest, weights: Weights) -> None:
    """Write a snapshot whose manifest is true of its weights, whatever they are."""
    content = safetensors.numpy.save(weights)
    folder.mkdir()
    (folder / WEIGHTS_FILE).write_bytes(content)
    manifest = msgspec.structs.replace(
        like, version=version, sha256=digest(content), size_bytes=len(content),
        tensors=tensor_specs(weights),
    )  # fmt: skip
    (folder / MANIFEST_FILE).write_bytes(encode(manifest))


def _damaged_weights(weights: Weights, name: str) -> Weights:
    damaged = dict(weights)
    bias = weights["bias_rows"]
    if name == "NaN":
        damaged["bias_rows"] = np.where(np.arange(len(bias)) == 3, np.nan, bias).astype(bias.dtype)
    elif name == "wrong shape":
        damaged["bias_rows"] = bias[:-1].copy()
    elif name == "wrong dtype":
        damaged["bias_rows"] = bias.astype(np.float64)
    elif name == "wrong names":
        damaged["bias_columns"] = damaged.pop("bias_rows")
    elif name == "huge":
        damaged["bias_rows"] = (bias + 1e30).astype(bias.dtype)
    return damaged


def _truncate(folder: Path) -> None:
    path = folder / WEIGHTS_FILE
    path.write_bytes(path.read_bytes()[:-1000])


def _flip(folder: Path) -> None:
    content = bytearray((folder / WEIGHTS_FILE).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / WEIGHTS_FILE).write_bytes(content)


def _edit(folder: Path, old: bytes, new: bytes) -> None:
    path = folder / MANIFEST_FILE
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))


def _misname_digest(folder: Path) -> None:
    manifest = msgspec.json.decode((folder / MANIFEST_FILE).read_bytes())
    _edit(folder, manifest["sha256"].encode(), b"0" * 64)


def _link(folder: Path) -> None:
    path = folder / WEIGHTS_FILE
    path.rename(folder / "elsewhere")
    path.symlink_to(folder / "elsewhere")


def _pickle(folder: Path) -> None:
    content = b"\x80\x04cposix\nsystem\n\x8c\x06false\n\x85R."
    (folder / WEIGHTS_FILE).write_bytes(content)
    manifest = msgspec.json.decode((folder / MANIFEST_FILE).read_bytes(), type=Manifest)
    manifest = msgspec.structs.replace(manifest, sha256=digest(content), size_bytes=len(content))
    (folder / MANIFEST_FILE).write_bytes(encode(manifest))


_SOUND = "sound"
_IN_THE_WEIGHTS = {
    "NaN": "finite: bias_rows",
    "wrong shape": "manifest: unexpected bias_rows",
    "wrong dtype": "manifest: unexpected bias_rows",
    "wrong names": "manifest: unexpected bias_columns, bias_rows",
    "huge": "canary: bias_rows",
}
"""What is wrong, and words of the reason for which it must be refused."""
_IN_THE_FILES: dict[str, tuple[Callable[[Path], None], str]] = {
    "truncated": (_truncate, "size: "),
    "a bit flipped": (_flip, "sha256: "),
    "wrong digest": (_misname_digest, "sha256: "),
    "an old manifest": (
        lambda f: _edit(f, b'"schema_version":1', b'"schema_version":0'), "schema_version"
    ),
    "a link": (_link, os.strerror(errno.ELOOP)),
    "a pickle renamed": (_pickle, "safetensors: "),
    "no manifest": (lambda folder: (folder / MANIFEST_FILE).unlink(), os.strerror(errno.ENOENT)),
}  # fmt: skip


@fault("F12", "damaged weights of every kind")
def weights_are_damaged(scene: Scene) -> None:
    registry = scene.ring.registry()
    snapshots = scene.ring.data_dir / "registry" / "snapshots"
    scene.strike()
    trainer = scene.stopped("train", "saved")  # it would move the pointer too
    before = _live(registry)
    good = registry.load(before.version)
    words = _IN_THE_WEIGHTS | {name: word for name, (_, word) in _IN_THE_FILES.items()}
    for number, name in enumerate([_SOUND, *words]):
        version = _FIRST + number
        folder = snapshots / f"{version:08d}"
        _whole(folder, version, good.manifest, _damaged_weights(dict(good.weights), name))
        if name in _IN_THE_FILES:
            _IN_THE_FILES[name][0](folder)
        _point(scene, before, version)
        if name == _SOUND:  # else what follows might be refused whatever it is
            until(lambda: _FIRST in _versions(scene, "served"), "sound ones serve", seconds=15)
            continue
        until(lambda version=version: _refused(scene, version), f"{name} is refused", seconds=15)
        reason = _refused(scene, version)
        scene.finding.check(words[name] in reason, f"{name} was refused with: {reason}")
    back = scene.ring.command("policies", "rollback", "--to", str(before.version))
    scene.finding.check(back.returncode == 0, f"no way back: {back.stderr[-300:]}")
    scene.ring.command("policies", "resume")
    trainer.resume()
    scene.heal()
    scene.recover()
    damaged = {_FIRST + number for number in range(1, 1 + len(words))}
    drew = {answer.version for answer in scene.load.answers if answer.source == "policy"}
    wrong = damaged & (_versions(scene, "served") | drew)
    scene.finding.check(not wrong, f"damaged weights served: {sorted(wrong)}")
    scene.finding.told.append(f"{len(words)} kinds refused, each for its own reason")
    judge(scene, versions=False)


@fault("F13", "weights that load and are bad")
def weights_load_and_are_bad(scene: Scene) -> None:
    registry = scene.ring.registry()
    snapshots = scene.ring.data_dir / "registry" / "snapshots"
    scene.strike()
    for name, make in (("uniform", _uniform), ("collapsed", _collapsed)):
        trainer = scene.stopped("train", "saved")  # it would move the pointer too
        before = _live(registry)
        good = registry.load(before.version)
        weights = make(dict(good.weights))
        try:
            published = registry.publish(
                weights, parent=before.version, foundation=before.foundation,
                catalogue_version=good.manifest.catalogue_version, updates=1, banners=1,
            )  # fmt: skip
            scene.finding.check(False, f"{name} weights became version {published.version}")
        except PolicyError as refusal:
            scene.finding.told.append(f"{name}: {refusal}")
        started, bad = time.monotonic(), registry.next_version()
        _whole(snapshots / f"{bad:08d}", bad, good.manifest, weights)
        _point(scene, before, bad)
        until(lambda bad=bad: _refused(scene, bad), f"{name} weights are refused", seconds=15)
        trainer.resume()
        _come_back_sound(scene, name, bad, since=started)
    scene.recover()
    judge(scene, versions=False)


def _come_back_sound(scene: Scene, name: str, bad: int, *, since: float) -> None:
    """Kill the server that refused; whoever follows it serves sound weights, soon newer ones."""
    before = _versions(scene, "served")
    scene.kill(scene.ring.children()["serve"])
    scene.kills.append(time.monotonic())
    scene.heal()
    family = {bad}

    def newer() -> set[int]:
        for manifest in scene.ring.registry().manifests():
            if manifest.parent in family:
                family.add(manifest.version)
        served = _versions(scene, "served") - before - family
        return {version for version in served if version > bad}

    try:
        until(newer, f"newer, sound weights serve after {name} ones", seconds=30)
    except AssertionError as problem:
        scene.finding.check(False, str(problem))
    drawn = [each.version for each in scene.answered_since(since) if each.source == "policy"]
    wrong = [version for version in drawn if version in family]
    scene.finding.check(
        not wrong, f"{len(wrong)} banners came from {name} weights or from what learned from them"
    )


# Few versions: what drew a banner must still be kept when everything is over.
@fault(
    "F14", "the live pointer moves 50 times a second", begins=False, p99=2.0, batch_banners="128"
)  # fmt: skip
def weights_change_all_the_time(scene: Scene) -> None:
    scene.order("serve.eager")
    scene.open()
    scene.start()
    scene.shoppers()
    scene.calm()
    registry = scene.ring.registry()
    first, second = [manifest.version for manifest in registry.manifests()][-2:]
    before = scene.metrics("serve")["service_swaps_total", "swapped"]
    scene.strike()
    until_at, moves = time.monotonic() + (20.0 if scene.long else 6.0), 0
    while time.monotonic() < until_at:
        registry.promote((first, second)[moves % 2], reason="again")
        moves += 1
        time.sleep(max(0.0, scene.struck_at + moves / 50 - time.monotonic()))
    swaps = scene.metrics("serve")["service_swaps_total", "swapped"] - before
    scene.heal()
    scene.recover()
    scene.load.stop()
    failed = len(scene.load.failed)
    scene.finding.check(not failed, f"{failed} requests failed")
    scene.finding.check(
        swaps >= SWAPPED * moves, f"only {swaps:.0f} swaps while the pointer moved {moves} times"
    )
    scene.finding.told.append(f"the pointer moved {moves} times, {swaps:.0f} swaps")
    judge(scene, versions=False)
    with closing(scene.ring.log()) as log:
        told = ring_checks.read(log)
        drawn = ring_checks.check_log_probs(told, log, registry)
    scene.finding.told.append(f"{drawn} banners were drawn by the one version they name")


def _uniform(good: Weights) -> Weights:
    flat = {name: np.zeros_like(tensor) for name, tensor in good.items()}
    return flat | {name: good[name] for name in ("popularity", "sharpness", "neighbour_rows")}


def _collapsed(good: Weights) -> Weights:
    bias = good["bias_rows"].copy()
    bias[0] += 1e4
    return good | {"bias_rows": bias}


def _live(registry: Registry) -> Live:
    live = registry.live()
    assert live is not None
    return live


def _point(scene: Scene, sound: Live, version: int) -> None:
    """Move the live pointer by hand, as nobody should."""
    pointer = msgspec.structs.replace(
        sound, version=version, previous=(*sound.previous, sound.version),
        changed_at_ms=sound.changed_at_ms + version, reason="by hand",
    )  # fmt: skip
    path = scene.ring.data_dir / "registry" / "live.json"
    beside = path.with_suffix(".hand")
    beside.write_bytes(encode(pointer))
    beside.rename(path)


def _versions(scene: Scene, kind: str) -> set[int]:
    return {each.version for each in _told(scene, kind)}


def _told(scene: Scene, kind: str) -> list[Announcement]:
    told = [decode_announcement(record.value) for record in in_log(scene.ring, "policies")[0]]
    return [each for each in told if each.kind == kind]


def _refused(scene: Scene, version: int) -> str:
    """Return why a version was refused; empty: it was not."""
    reasons = [each.reason for each in _told(scene, "rejected") if each.version == version]
    return (reasons[-1] or "no reason") if reasons else ""
