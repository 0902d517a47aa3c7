"""A backup belongs together, whatever the ring does meanwhile; it is put back whole or not."""

import hashlib
import itertools
import json
import sqlite3
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli.backup import Backup, make_backup, put_back, read_backup
from cli.errors import BadUsage, CommandFailed
from cli.settings import Settings
from cli.wiring import open_log, open_registry
from policy.registry import Registry
from streams.local import LocalLog
from streams.port import Message
from streams.spooled.spool import Spool
from tests.policies import weights_of
from trainer.checkpoint import CheckpointFolder, Progress

NOW = 1_800_000_000_000


def settings_of(data_dir: Path) -> Settings:
    return Settings(_env_file=None, data_dir=data_dir)  # type: ignore[call-arg]


def silent(*_: object) -> None:
    pass


def values(log: LocalLog | Any, topic: str = "events") -> list[bytes | None]:
    with closing(log.consumer([topic], group=None)) as reader:
        return [record.value for record in reader.poll(max_records=999, timeout_seconds=0.0)]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data directory with everything that a ring leaves in one."""
    data_dir = tmp_path / "data"
    registry = open_registry(settings_of(data_dir))
    registry.publish_foundation(weights_of(8, seed=1), catalogue_version=8)
    registry.promote(1, reason="the foundation")
    publish(registry, 2)
    with closing(open_log(settings_of(data_dir), member="test")) as log:
        log.append("events", [Message(b"k", b"one"), Message(b"k", b"two")])
    with closing(sqlite3.connect(data_dir / "history.db")) as history:
        history.execute("PRAGMA journal_mode=WAL")
        history.execute("CREATE TABLE shoppers (value BLOB)")
        history.execute("INSERT INTO shoppers VALUES (x'01')")
        history.commit()
    (data_dir / "checkpoints").mkdir()
    for number in (6, 7):
        (data_dir / "checkpoints" / f"{number:012d}.safetensors").write_bytes(b"%d" % number)
    (data_dir / "secret").write_text("s" * 64)
    (data_dir / "secret").chmod(0o600)
    (data_dir / "processes").mkdir()
    (data_dir / "processes" / "train.json").write_text("{}")
    return data_dir


def publish(registry: Registry, version: int) -> None:
    registry.publish(
        weights_of(8, seed=version), parent=1, foundation=1, catalogue_version=8, updates=1,
        banners=9,
    )  # fmt: skip
    registry.promote(version, reason="trained")


def back_up(data_dir: Path, target: Path, watch: Any = silent) -> Backup:
    return make_backup(data_dir, open_registry(settings_of(data_dir)), target, NOW, watch)


def test_what_is_put_back_is_what_was_there(data_dir: Path, tmp_path: Path) -> None:
    made = back_up(data_dir, tmp_path / "backup")
    put_back(tmp_path / "backup", tmp_path / "again", silent)

    again = tmp_path / "again"
    with closing(open_log(settings_of(again), member="test")) as log:
        assert values(log) == [b"one", b"two"]
        log.append("events", [Message(b"k", b"three")])
    for name in ("log.db", "history.db"):
        with closing(sqlite3.connect(again / name)) as database:
            assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with closing(sqlite3.connect(again / "history.db")) as history:
        assert history.execute("SELECT value FROM shoppers").fetchall() == [(b"\x01",)]
    registry = open_registry(settings_of(again))
    live = registry.live()
    assert live is not None
    assert live.version == made.live == 2
    assert [registry.load(version).manifest.version for version in (1, 2)] == [1, 2]
    assert (again / "checkpoints" / "000000000007.safetensors").read_bytes() == b"7"
    assert (again / "secret").read_text() == "s" * 64
    assert stat.S_IMODE((again / "secret").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "backup").stat().st_mode) == 0o700
    assert not (again / "processes").exists()


def test_what_happens_while_it_is_copied_is_in_none_of_its_parts(
    data_dir: Path, tmp_path: Path
) -> None:
    """The ring publishes, learns and appends while snapshots are being copied."""
    registry = open_registry(settings_of(data_dir))
    happened: list[str] = []

    def meanwhile(what: str, *_: object) -> None:
        if what == "snapshots" and not happened:
            happened.append(what)
            publish(registry, 3)
            (data_dir / "checkpoints" / "000000000008.safetensors").write_bytes(b"8")
            with closing(open_log(settings_of(data_dir), member="test")) as log:
                log.append("events", [Message(b"k", b"later")])

    made = back_up(data_dir, tmp_path / "backup", meanwhile)
    put_back(tmp_path / "backup", tmp_path / "again", silent)

    assert happened
    assert (made.live, made.versions) == (2, 2)
    again = open_registry(settings_of(tmp_path / "again"))
    assert [manifest.version for manifest in again.manifests()] == [1, 2]
    assert [path.name for path in sorted((tmp_path / "again" / "checkpoints").iterdir())] == [
        "000000000006.safetensors", "000000000007.safetensors",
    ]  # fmt: skip
    with closing(open_log(settings_of(tmp_path / "again"), member="test")) as log:
        assert values(log) == [b"one", b"two"]


def test_checkpoints_may_be_dropped_at_any_moment(data_dir: Path, tmp_path: Path) -> None:
    """A trainer saves as fast as it can, and every save drops the oldest."""
    folder, done = CheckpointFolder(data_dir / "checkpoints"), threading.Event()

    def learn() -> None:
        for number in itertools.count(8):
            if done.is_set():
                return
            progress = Progress(
                number=number, offset=0, next_version=3, parent=2, promoted=2, foundation=1,
                catalogue_version=8,
            )  # fmt: skip
            folder.save(progress, {"weights": np.zeros(8)})

    with ThreadPoolExecutor(1) as trainer:
        learning = trainer.submit(learn)
        try:
            made = [back_up(data_dir, tmp_path / f"backup-{number}") for number in range(40)]
        finally:
            done.set()
        learning.result()

    for number, each in enumerate(made):
        kept = [name for name in each.files if name.startswith("checkpoints/")]
        assert len(kept) in {1, 2}
        put_back(tmp_path / f"backup-{number}", tmp_path / f"again-{number}", silent)


def test_a_snapshot_that_is_pruned_meanwhile_is_left_out_whole(
    data_dir: Path, tmp_path: Path
) -> None:
    snapshots = data_dir / "registry" / "snapshots"

    def prune(what: str, count: int, _: int) -> None:
        if what == "snapshots" and count == 1:
            (snapshots / "00000002").rename(snapshots / ".tmp-2")

    made = back_up(data_dir, tmp_path / "backup", prune)

    assert made.versions == 1
    assert not [name for name in made.files if "00000002" in name]


@pytest.mark.parametrize("harm", ["flip", "cut", "remove"])
def test_a_damaged_backup_is_refused_and_nothing_is_put_back(
    data_dir: Path, tmp_path: Path, harm: str
) -> None:
    back_up(data_dir, tmp_path / "backup")
    victim = next((tmp_path / "backup").rglob("weights.safetensors"))
    content = bytearray(victim.read_bytes())
    content[99] ^= 1
    victim.write_bytes(content if harm == "flip" else content[:-1])
    if harm == "remove":
        victim.unlink()

    with pytest.raises(CommandFailed, match=r"weights\.safetensors"):
        put_back(tmp_path / "backup", tmp_path / "again", silent)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup", "data"]


def test_nothing_is_put_back_over_what_is_there(data_dir: Path, tmp_path: Path) -> None:
    back_up(data_dir, tmp_path / "backup")

    with pytest.raises(BadUsage, match="not empty"):
        put_back(tmp_path / "backup", data_dir, silent)
    with pytest.raises(BadUsage, match="not empty"):
        back_up(data_dir, tmp_path / "backup")


def test_a_folder_that_is_no_backup_and_one_of_tomorrow_are_refused(
    data_dir: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadUsage, match="holds no backup"):
        read_backup(data_dir)
    back_up(data_dir, tmp_path / "backup")
    told = json.loads((tmp_path / "backup" / "backup.json").read_text())
    (tmp_path / "backup" / "backup.json").write_text(json.dumps(told | {"layout": 2}))

    with pytest.raises(BadUsage, match="layout"):
        read_backup(tmp_path / "backup")


def test_a_data_directory_of_a_cluster_has_no_log_to_copy(data_dir: Path, tmp_path: Path) -> None:
    for path in data_dir.glob("*.db*"):
        if path.is_file():
            path.unlink()

    made = back_up(data_dir, tmp_path / "backup")

    assert not made.log
    assert made.live == 2


@pytest.mark.parametrize("name", ["../stolen", "registry/../../stolen", "ABSOLUTE"])
def test_a_backup_that_names_files_outside_its_folder_is_refused(
    data_dir: Path, tmp_path: Path, name: str
) -> None:
    back_up(data_dir, tmp_path / "backup")
    outside = tmp_path / "stolen"
    outside.write_bytes(b"not of the backup")
    told = json.loads((tmp_path / "backup" / "backup.json").read_text())
    named = str(outside) if name == "ABSOLUTE" else name
    told["files"][named] = hashlib.sha256(outside.read_bytes()).hexdigest()
    (tmp_path / "backup" / "backup.json").write_text(json.dumps(told))

    with pytest.raises(BadUsage, match="stolen"):
        put_back(tmp_path / "backup", tmp_path / "again", silent)

    assert not (tmp_path / "again").exists()


def test_what_waits_for_kafka_is_never_left_out_without_a_word(
    data_dir: Path, tmp_path: Path
) -> None:
    spool = Spool(data_dir / "spool", limit_bytes=10_000)
    batch = spool.put("events", [Message(b"k", b"answered 202")])

    with pytest.raises(CommandFailed, match="service_spool_records"):
        back_up(data_dir, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()

    spool.remove(batch)
    spool.tidy()
    spool.close()
    back_up(data_dir, tmp_path / "backup")
