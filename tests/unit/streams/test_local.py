"""What only the local log promises: one file, several processes, room and retention."""

import resource
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from streams.errors import LogError, LogUnavailable, TopicMismatch
from streams.local import LocalLog
from streams.local.records import Onward
from streams.port import Message, Output, Partition, StateChange

EVENTS = Partition("events", 0)
NOW = 1_750_000_000_000
ROOT = Path(__file__).resolve().parents[3]

OPEN_AND_APPEND = """
import sys
from pathlib import Path
from streams.local import LocalLog
from streams.port import Message
sys.stdin.readline()
log = LocalLog(Path(sys.argv[1]), clock=lambda: 1)
for number in range(20):
    log.append("events", [Message(None, b"%s %d" % (sys.argv[2].encode(), number))])
log.close()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "log"


@pytest.fixture
def log(path: Path) -> Iterator[LocalLog]:
    with closing(LocalLog(path, clock=lambda: 1_000)) as opened:
        yield opened


def values(log: LocalLog, topic: str = "events") -> list[bytes | None]:
    with closing(log.consumer([topic], group=None)) as reader:
        return [r.value for r in reader.poll(max_records=100_000, timeout_seconds=0.0)]


def test_processes_that_open_a_new_log_at_once_all_find_it_whole(path: Path) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN_AND_APPEND, str(path), name],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            text=True,
        )
        for name in "abcd"
    ]

    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in started:
        process.communicate()
        assert process.returncode == 0

    with closing(LocalLog(path, clock=lambda: 1)) as log:
        found = values(log)
        for name in "abcd":
            own = [value for value in found if value and value.startswith(name.encode())]
            assert own == [b"%s %d" % (name.encode(), number) for number in range(20)]
        assert len(found) == 80


def test_an_append_is_stamped_with_the_clock_and_never_before_the_last_one(path: Path) -> None:
    times = iter([5, 3, 9])
    with closing(LocalLog(path, clock=lambda: next(times))) as log:
        for _ in range(3):
            log.append("events", [Message(None, b"x")])
        with closing(log.consumer(["events"], group=None)) as reader:
            records = reader.poll(max_records=9, timeout_seconds=0.0)

    assert [record.appended_at_ms for record in records] == [5, 5, 9]
    assert [record.offset for record in records] == [0, 1, 2]


def test_batches_of_any_size_are_appended_whole(log: LocalLog) -> None:
    for size in range(150):
        log.append("events", [Message(None, b"%d" % size)] * size)

    assert values(log) == [b"%d" % size for size in range(150) for _ in range(size)]


def test_another_number_of_partitions_than_the_file_has_is_refused(path: Path) -> None:
    LocalLog(path, clock=lambda: 1, partitions={"events": 2}).close()

    with pytest.raises(TopicMismatch, match=r"'events' has 2 partitions .* declared are 1"):
        LocalLog(path, clock=lambda: 1)


def test_a_file_of_a_newer_version_is_refused(log: LocalLog, path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version=99")

    with pytest.raises(LogError, match="newer version"):
        LocalLog(path, clock=lambda: 1)


def test_a_file_that_is_no_log_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"not a database at all" * 100)

    with pytest.raises(LogError, match="cannot be used"):
        LocalLog(path, clock=lambda: 1)


def test_a_file_somebody_keeps_locked_is_unavailable_and_then_not(path: Path) -> None:
    with closing(LocalLog(path, clock=lambda: 1, busy_seconds=0.05)) as log:
        reader = log.consumer(["events"], group="g")
        reader.poll(max_records=1, timeout_seconds=0.0)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")

            with pytest.raises(LogUnavailable, match="locked"):
                log.append("events", [Message(None, b"lost")])
            with pytest.raises(LogUnavailable, match="locked"):
                reader.commit({EVENTS: 1}, outputs=[Output("rewards", b"a", b"b")])

        log.append("events", [Message(None, b"kept")])
        assert values(log) == [b"kept"]
        assert values(log, "rewards") == []
        reader.close()


def test_a_full_disk_is_unavailable_and_costs_nothing_already_appended(path: Path) -> None:
    with closing(LocalLog(path, clock=lambda: 1)) as log:
        log.append("events", [Message(None, b"before")])
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        size = max(file.stat().st_size for file in path.parent.iterdir() if file.is_file())
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 65_536, hard))
        try:
            with pytest.raises(LogUnavailable):
                log.append("events", [Message(None, bytes(1_000_000))])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        log.append("events", [Message(None, b"after")])

        assert values(log) == [b"before", b"after"]


def test_a_failed_commit_gives_the_group_back_and_the_next_poll_begins_anew(path: Path) -> None:
    told: list[str] = []
    with closing(LocalLog(path, clock=lambda: 1, busy_seconds=0.05)) as log:
        log.append("events", [Message(None, b"1")])
        reader = log.consumer(
            ["events"],
            group="g",
            on_assigned=lambda _: told.append("assigned"),
            on_revoked=lambda _: told.append("revoked"),
        )
        first = reader.poll(max_records=9, timeout_seconds=0.0)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(LogUnavailable):
                reader.commit({EVENTS: 1})
        assert reader.assignment() == frozenset()

        again = reader.poll(max_records=9, timeout_seconds=0.0)

        assert again == first
        assert told == ["assigned", "revoked", "assigned"]
        reader.close()


def test_promise_10_what_is_older_than_the_retention_time_is_gone_from_the_bytes(
    path: Path,
) -> None:
    now = [0]
    with closing(LocalLog(path, clock=lambda: now[0])) as log:
        for at_ms in (10, 20, 30):
            now[0] = at_ms
            log.append("events", [Message(None, b"secret-%d" % at_ms)] * 4_000)

        assert log.trim("events", 30) == 8_000
        assert log.trim("events", 30) == 0

        assert log.start_offsets("events") == {EVENTS: 8_000}
        assert log.end_offsets("events") == {EVENTS: 12_000}
        assert values(log) == [b"secret-30"] * 4_000
        log.append("events", [Message(None, b"next")])
        assert log.end_offsets("events") == {EVENTS: 12_001}
    files = b"".join(file.read_bytes() for file in path.parent.iterdir() if file.is_file())
    assert b"secret-10" not in files
    assert b"secret-20" not in files
    assert b"secret-30" in files


def test_trimming_everything_keeps_the_offsets_growing(log: LocalLog) -> None:
    log.append("events", [Message(None, b"x")] * 3)

    assert log.trim("events", 5_000) == 3

    assert log.start_offsets("events") == log.end_offsets("events") == {EVENTS: 3}
    log.append("events", [Message(None, b"y")])
    assert values(log) == [b"y"]


def test_a_topic_that_is_kept_cannot_be_trimmed(log: LocalLog) -> None:
    with pytest.raises(LogError, match="kept for ever"):
        log.trim("products", 5_000)


def test_a_busy_partition_does_not_starve_the_others(path: Path) -> None:
    with closing(LocalLog(path, clock=lambda: 1, partitions={"events": 2})) as log:
        log.append("events", [Message(b"%d" % number, b"x") for number in range(100)])
        with closing(log.consumer(["events"], group=None)) as reader:
            seen = {
                record.partition.number
                for _ in range(2)
                for record in reader.poll(max_records=10, timeout_seconds=0.0)
            }

    assert seen == {0, 1}


def test_state_may_be_committed_without_moving_the_offset(log: LocalLog) -> None:
    with closing(log.consumer(["events"], group="g")) as reader:
        reader.poll(max_records=1, timeout_seconds=0.0)
        reader.commit({}, state=[StateChange(EVENTS, b"k", b"v")])

    log.append("events", [Message(None, b"first")])
    with closing(log.consumer(["events"], group="g")) as reader:
        assert [r.offset for r in reader.poll(max_records=1, timeout_seconds=0.0)] == [0]
        assert dict(reader.load_state(EVENTS)) == {b"k": b"v"}


def test_time_goes_on_after_the_clock_was_put_back(path: Path) -> None:
    now = [NOW + 3_600_000]
    with closing(LocalLog(path, clock=lambda: now[0])) as log:
        log.append("events", [Message(b"k", b"an hour early")])
        now[0] = NOW
        log.append("events", [Message(b"k", b"put back")])
        log.append("rewards", [Message(b"k", b"another topic, whose time was right")])
        now[0] = NOW + 5_000
        log.append("events", [Message(b"k", b"five seconds later")])
        now[0] = NOW + 4_000_000
        log.append("events", [Message(b"k", b"caught up")])
        with closing(log.consumer(["events"], group=None)) as reader:
            times = [r.appended_at_ms - NOW for r in reader.poll(max_records=9, timeout_seconds=0)]

    assert times == [3_600_000, 3_600_000, 3_602_500, 4_000_000]


def test_time_goes_on_in_every_process_that_appends_to_a_log_from_the_future(path: Path) -> None:
    with closing(LocalLog(path, clock=lambda: NOW + 3_600_000)) as early:
        early.append("events", [Message(b"k", b"an hour early")])
    now = [NOW]
    with closing(LocalLog(path, clock=lambda: now[0])) as log:
        for _ in range(3):
            log.append("events", [Message(b"k", b"now")])
            now[0] += 700
        with closing(log.consumer(["events"], group=None)) as reader:
            times = [r.appended_at_ms - NOW for r in reader.poll(max_records=9, timeout_seconds=0)]

    assert times == [3_600_000, 3_600_000, 3_600_350, 3_600_700]


def test_a_clock_that_was_put_back_is_caught_up_with_while_records_come() -> None:
    now, last = [NOW], NOW + 60_000
    clocks = [Onward(lambda: now[0]) for _ in range(2)]
    times = []
    for number in range(1_301):
        now[0] = NOW + 100 * number
        last = clocks[number % 2].after(1, last)
        times.append(last - NOW)

    assert times == sorted(times)
    assert times[600] == pytest.approx(90_000, abs=100)  # half a minute in a minute
    assert times[1_100] > 110_000  # not caught up yet
    assert times[1_200:] == [100 * number for number in range(1_200, 1_301)]


def test_time_goes_on_after_the_clock_was_put_back_once_more() -> None:
    now = [NOW]
    clock = Onward(lambda: now[0])
    last = NOW + 60_000
    now[0] += 20_000
    last = clock.after(1, last)
    assert last == NOW + 60_000
    now[0] += 20_000
    last = clock.after(1, last)
    assert last == NOW + 70_000
    now[0] -= 10_000  # still after the time it was put back to first
    last = clock.after(1, last)
    assert last == NOW + 70_000
    now[0] += 2_000
    assert clock.after(1, last) == NOW + 71_000
