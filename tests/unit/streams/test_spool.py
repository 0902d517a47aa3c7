"""The queue on disk: bounded, in order, found again whatever became of its process."""

import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streams.errors import SpoolFull
from streams.port import Message
from streams.spooled import Spool
from streams.spooled.file import weight
from tests.servers import REPOSITORY

LIMIT = 10**6


def messages(first: int, last: int, key: bytes = b"k") -> list[Message]:
    return [Message(key, b"%d" % number) for number in range(first, last)]


def drained(spool: Spool, *, max_records: int = 7) -> list[tuple[str, bytes | None]]:
    found = []
    while batch := spool.first(max_records=max_records):
        found += [(batch.topic, message.value) for message in batch.messages]
        spool.remove(batch)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def test_what_is_put_comes_out_in_order_a_topic_at_a_time(folder: Path):
    spool = Spool(folder, limit_bytes=LIMIT)
    spool.put("events", messages(0, 20))
    spool.put("products", [Message(b"p", None), Message(None, b"x")])
    spool.put("events", messages(20, 25))

    first = spool.first(max_records=100)

    assert first is not None
    assert (first.topic, list(first.messages)) == ("events", messages(0, 20))
    assert drained(spool) == [
        *(("events", b"%d" % number) for number in range(20)),
        ("products", None),
        ("products", b"x"),
        *(("events", b"%d" % number) for number in range(20, 25)),
    ]
    assert (spool.records, spool.size_bytes) == (0, 0)


def test_an_empty_spool_leaves_no_file_and_begins_anew(folder: Path):
    spool = Spool(folder, limit_bytes=LIMIT)
    for _ in range(2):
        spool.put("events", messages(0, 3))
        assert list(folder.glob("*.db"))
        assert len(drained(spool)) == 3
        spool.tidy()
        assert not list(folder.glob("*.db*"))


def test_a_message_that_does_not_fit_is_refused_with_all_that_came_with_it(folder: Path):
    room = 10 * weight(Message(b"k", b"0"))
    spool = Spool(folder, limit_bytes=room)
    spool.put("events", messages(0, 8))

    with pytest.raises(SpoolFull):
        spool.put("events", messages(0, 3))

    spool.put("events", messages(8, 10))
    assert spool.size_bytes == room
    assert [value for _, value in drained(spool)] == [b"%d" % number for number in range(10)]
    spool.put("events", messages(0, 9))


def test_one_batch_is_bounded_in_bytes_so_that_memory_is(folder: Path):
    spool = Spool(folder, limit_bytes=10**8)
    spool.put("events", [Message(b"k", bytes(400_000)) for _ in range(5)])
    spool.put("events", [Message(b"k", bytes(3_000_000))])

    sizes = []
    while batch := spool.first(max_records=100):
        sizes.append(len(batch.messages))
        spool.remove(batch)

    assert sizes == [2, 2, 1, 1]


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Make the disk seem full for files beyond a size: the write fails, SQLite sees it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def test_a_disk_without_room_counts_as_full_and_loses_nothing(folder: Path):
    spool = Spool(folder, limit_bytes=10**9)
    spool.put("events", messages(0, 100))
    with file_size_limit(200_000):
        with pytest.raises(SpoolFull):
            spool.put("events", [Message(b"k", bytes(500_000))])
        # What is sent leaves the queue even where the disk cannot note it.
        batch = spool.first(max_records=10)
        assert batch is not None
        spool.remove(batch)
    spool.put("events", messages(100, 110))

    assert [value for _, value in drained(spool)] == [b"%d" % number for number in range(10, 110)]


def test_a_folder_that_cannot_be_made_counts_as_full_until_it_can(tmp_path: Path):
    (tmp_path / "spool").write_text("in the way")
    spool = Spool(tmp_path / "spool", limit_bytes=LIMIT)

    with pytest.raises(SpoolFull):
        spool.put("events", messages(0, 1))

    (tmp_path / "spool").unlink()
    spool.put("events", messages(0, 1))
    assert len(drained(spool)) == 1


def test_a_full_disk_with_a_spool_left_on_it_counts_as_full_until_it_has_room(folder: Path):
    left = [Spool(folder, limit_bytes=LIMIT) for _ in range(2)]
    for number, each in enumerate(left):
        each.put("events", messages(number, number + 1))
    for each in left:
        each.close()
    with file_size_limit(16_384):  # less than SQLite wants to open one
        spool = Spool(folder, limit_bytes=LIMIT)
        assert (spool.is_open, spool.records) == (False, 0)
        with pytest.raises(SpoolFull):
            spool.put("events", messages(2, 3))

    heir = Spool(folder, limit_bytes=LIMIT)  # nobody holds a lock
    assert heir.records == 2
    heir.close()
    spool.open()

    assert spool.is_open
    assert sorted(drained(spool)) == [("events", b"0"), ("events", b"1")]


def test_what_a_closed_spool_held_goes_before_what_its_successor_puts(folder: Path):
    before = Spool(folder, limit_bytes=LIMIT)
    before.put("events", messages(0, 5))
    size = before.size_bytes
    before.close()

    after = Spool(folder, limit_bytes=LIMIT)
    assert (after.records, after.size_bytes) == (5, size)
    after.put("events", messages(5, 9))

    assert [value for _, value in drained(after)] == [b"%d" % number for number in range(9)]


def test_processes_have_files_of_their_own_and_take_over_those_of_the_dead(folder: Path):
    one, other = (Spool(folder, limit_bytes=LIMIT) for _ in range(2))
    one.put("events", messages(0, 3, b"one"))
    other.put("events", messages(0, 3, b"other"))
    assert (one.records, other.records) == (3, 3)
    one.close()
    other.close()

    heir = Spool(folder, limit_bytes=LIMIT)
    second = Spool(folder, limit_bytes=LIMIT)

    assert (heir.records, second.records) == (6, 0)
    heir.put("events", messages(3, 4, b"heir"))
    assert len(drained(heir)) == 7
    heir.close()
    second.close()
    assert not list(folder.glob("*.db*"))


PUTTING = """
import json, sys
from pathlib import Path
from streams.port import Message
from streams.spooled import Spool
spool = Spool(Path(sys.argv[1]), limit_bytes=10**9)
number = 0
while True:
    spool.put("events", [Message(b"k", b"%d" % n) for n in range(number, number + 3)])
    number += 3
    print(number, flush=True)
"""


def test_what_was_put_survives_kill_9(folder: Path):
    said = 0
    for _ in range(3):
        started = subprocess.Popen(
            [sys.executable, "-c", PUTTING, str(folder)],
            cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, env=os.environ,
        )  # fmt: skip
        assert started.stdout is not None
        for _ in range(20):
            number = json.loads(started.stdout.readline())
        started.kill()
        rest, _ = started.communicate()
        number = max([number, *(int(line) for line in rest.split("\n")[:-1])])
        said = max(said, number)

        spool = Spool(folder, limit_bytes=LIMIT)
        found = [value for _, value in drained(spool, max_records=500)]
        spool.close()

        assert len(found) in (number, number + 3)
        assert found == [b"%d" % n for n in range(len(found))]
    assert said > 0


def test_a_file_that_cannot_be_read_is_put_aside_and_the_spool_works(folder: Path):
    folder.mkdir()
    (folder / "0.db").write_bytes(b"not a database" * 1_000)

    spool = Spool(folder, limit_bytes=LIMIT)
    spool.put("events", messages(0, 2))

    assert len(drained(spool)) == 2
    assert (folder / "0.unreadable-0").read_bytes().startswith(b"not a database")


def test_a_file_of_the_spool_syncs_every_commit(folder: Path):
    spool = Spool(folder, limit_bytes=LIMIT)
    spool.put("events", messages(0, 1))

    connection = spool._files[-1]._connection
    assert connection is not None
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    with sqlite3.connect(folder / "0.db") as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    other.close()
