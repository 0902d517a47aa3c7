"""The copy of a partition's state on disk: never ahead, never torn, never somebody else's."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.kafka import kept_state
from streams.kafka.kept_state import KeptState, StateDoubtful, StateHeld, discard, discard_old

DAY_MS = 86_400_000
Open = Callable[..., KeptState]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "group" / "events-0.db"


@pytest.fixture
def opened(path: Path) -> Iterator[Open]:
    """Open the copy; what is still open in the end is closed."""
    made: list[KeptState] = []

    def open_copy(origin: str = "here") -> KeptState:
        for earlier in made:
            earlier.close()
        made.append(KeptState(path, origin))
        return made[-1]

    yield open_copy
    for each in made:
        each.close()


def test_what_was_noted_is_there_again_with_the_offset_it_reaches(opened: Open) -> None:
    first = opened()
    assert (first.load(), first.position) == ({}, 0)
    first.note({b"a": b"1", b"b": b"2"}, 7, 1_000)
    first.note({b"a": b"3", b"b": None, b"\x00": b""}, 9, 1_500)

    again = opened()

    assert again.load() == {b"a": b"3", b"\x00": b""}
    assert (again.position, again.complete_ms) == (9, 1_500)


def test_what_a_killed_process_had_only_noted_is_missing_with_its_offset(
    opened: Open, path: Path, tmp_path: Path
) -> None:
    running = opened()
    running.note({b"a": b"1"}, 7, 10_000)
    running.note({b"a": b"2"}, 9, 10_001)
    killed = tmp_path / "killed.db"
    for name in (path.name, f"{path.name}-wal"):
        (tmp_path / name.replace("events-0", "killed")).write_bytes(
            path.with_name(name).read_bytes()
        )

    left = KeptState(killed, "here")

    assert (left.load(), left.position) == ({b"a": b"1"}, 7)
    left.close()


def test_what_a_full_disk_refused_is_missing_with_its_offset(opened: Open) -> None:
    full = opened()
    full.load()
    full.note({b"a": b"1"}, 7, 10_000)
    (pages,) = full._connection.execute("PRAGMA page_count").fetchone()
    full._connection.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StateDoubtful, match="full"):
        full.note({b"a": bytes(100_000)}, 9, 20_000)

    again = opened()

    assert (again.load(), again.position, again.complete_ms) == ({b"a": b"1"}, 7, 10_000)


def test_a_copy_of_something_else_is_emptied(opened: Open) -> None:
    opened("one topic").note({b"a": b"1"}, 7, 10_000)

    other = opened("another topic of that name")

    assert (other.load(), other.position) == ({}, 0)
    assert opened("one topic").load() == {}


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from([b"%d" % number for number in range(12)]),
            st.none() | st.binary(max_size=4),
            max_size=8,
        ),
        max_size=30,
    ),
    st.sets(st.integers(0, 30)),
    st.sampled_from([3_000, DAY_MS // 4]),
)
def test_after_any_changes_and_restarts_it_holds_the_last_value_of_each_key(
    tmp_path_factory: pytest.TempPathFactory,
    told: list[dict[bytes, bytes | None]],
    restarts: set[int],
    every_ms: int,
) -> None:
    path = tmp_path_factory.mktemp("copy") / "events-0.db"
    expected: dict[bytes, bytes] = {}
    with pytest.MonkeyPatch.context() as patched:
        # Small enough that chunks are parted and taken up within a few changes.
        patched.setattr(kept_state, "_OUTDATED_AT_LEAST", 2)
        patched.setattr(kept_state, "_TAKEN_UP_AT_LEAST", 1)
        patched.setattr(kept_state, "_CHUNK_BYTES", 6)
        copy = KeptState(path, "here")
        copy.load()
        for number, changes in enumerate(told):
            copy.note(changes, number + 1, number * every_ms)
            expected |= {key: value for key, value in changes.items() if value is not None}
            for key in [key for key, value in changes.items() if value is None]:
                expected.pop(key, None)
            if number in restarts:
                copy.close()
                copy = KeptState(path, "here")
                assert copy.load() == expected
        copy.close()
        copy = KeptState(path, "here")
        assert (copy.load(), copy.position) == (expected, len(told))
        copy.close()


def test_the_file_does_not_grow_with_the_number_of_changes(opened: Open, path: Path) -> None:
    copy = opened()
    copy.load()
    for number in range(200):
        copy.note({b"%d" % key: bytes(100) for key in range(500)}, number + 1, number * 3_000)
    copy.close()

    entries = 500
    # As many outdated entries as there may be before chunks are taken up, and what holds.
    assert path.stat().st_size < 2 * (entries + kept_state._OUTDATED_AT_LEAST) * 110


def test_what_was_forgotten_is_gone_from_the_bytes_within_a_day(opened: Open, path: Path) -> None:
    copy = opened()
    copy.load()
    copy.note({b"erased": b"a secret of hers", b"kept": b"x"}, 1, 10_000)
    copy.note({b"erased": None}, 2, 20_000)
    copy.note({b"kept": b"y"}, 3, 20_000 + DAY_MS)
    copy.close()

    assert b"a secret of hers" not in path.read_bytes()
    assert opened().load() == {b"kept": b"y"}


def test_a_damaged_copy_is_doubtful_and_can_be_made_anew(opened: Open, path: Path) -> None:
    opened().note({b"a": b"value"}, 7, 10_000)
    opened().close()
    whole = path.read_bytes()
    assert whole.count(b"value") == 1
    path.write_bytes(whole.replace(b"value", b"valve"))

    with pytest.raises(StateDoubtful, match="damaged"):
        opened().load()

    discard(path)
    assert opened().load() == {}


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\x00" + bytes(90)])
def test_a_file_that_is_no_copy_is_doubtful_or_begins_empty(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)

    try:
        copy = KeptState(path, "here")
    except StateDoubtful:
        discard(path)
        copy = KeptState(path, "here")

    assert (copy.load(), copy.position) == ({}, 0)
    copy.close()


def test_a_copy_of_another_layout_is_doubtful(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()

    with pytest.raises(StateDoubtful, match="layout 99"):
        KeptState(path, "here")


def test_one_process_has_a_copy_at_a_time(opened: Open, path: Path) -> None:
    opened()

    with pytest.raises(StateHeld):
        KeptState(path, "here")


def test_copies_nobody_writes_to_any_more_are_removed(opened: Open, path: Path) -> None:
    opened().note({b"a": b"1"}, 1, 10_000)
    opened().close()
    written_ms = round(path.stat().st_mtime * 1_000)

    discard_old(path.parent, now_ms=written_ms + DAY_MS)
    assert path.exists()
    discard_old(path.parent, now_ms=written_ms + 3 * DAY_MS)
    assert not path.exists()


def test_a_copy_that_is_written_to_is_not_removed_though_its_file_stands_still(
    opened: Open, path: Path
) -> None:
    opened().note({b"a": b"1"}, 1, 10_000)
    now_ms = round(path.with_name(f"{path.name}-wal").stat().st_mtime * 1_000)
    os.utime(path, ns=(0, (now_ms - 3 * DAY_MS) * 1_000_000))

    discard_old(path.parent, now_ms=now_ms)

    assert opened().load() == {b"a": b"1"}
