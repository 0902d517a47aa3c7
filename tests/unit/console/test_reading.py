"""Reading a part of the log."""

from collections.abc import Callable
from typing import Any

import pytest

from console.reading import offset_at, read_to_end
from streams.local import LocalLog
from streams.port import Partition

EVENTS = Partition("events", 0)


@pytest.mark.parametrize(("second", "offset"), [(-5, 0), (0, 0), (1, 1), (3, 3), (99, 7)])
def test_the_offset_of_a_time_is_the_first_record_not_older(
    log: LocalLog, clock: Any, append: Callable[..., None], second: int, offset: int
) -> None:
    start = clock()
    for _ in range(7):
        append("events", b"{}", key=None)
        clock.pass_seconds(1)

    assert offset_at(log, EVENTS, start + 1000 * second) == offset


def test_a_trimmed_log_is_searched_from_what_it_still_holds(
    log: LocalLog, clock: Any, append: Callable[..., None]
) -> None:
    for _ in range(6):
        append("events", b"{}", key=None)
        clock.pass_seconds(1)
    log.trim("events", before_ms=clock() - 3000)

    assert offset_at(log, EVENTS, 0) == log.start_offsets("events")[EVENTS] > 0


def test_only_what_was_there_at_the_start_is_read(
    log: LocalLog, append: Callable[..., None]
) -> None:
    append("events", b"1", b"2", key=None)
    read = []

    for record in read_to_end(log, ("events",), only={EVENTS: 1}):
        append("events", b"later", key=None)
        read.append(record.value)

    assert read == [b"2"]
