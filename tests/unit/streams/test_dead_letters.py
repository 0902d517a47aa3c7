"""What could not be read is kept with its reason and goes back once, as it was."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from schemas.codec import decode_dead_letter
from streams.dead_letters import GROUP, Wanted, bury, letters, read_all, replay
from streams.errors import LogUnavailable
from streams.local import LocalLog
from streams.port import Message, Partition, Record
from tests.memory_log import MemoryLog

POISON = b'\xff\x00{"type": nonsense'


@pytest.fixture
def log(tmp_path: Path) -> Iterator[LocalLog]:
    with closing(LocalLog(tmp_path / "log", clock=lambda: 1_000)) as opened:
        yield opened


def record(value: bytes | None = POISON, *, key: bytes | None = b"\xfe", offset: int = 7) -> Record:
    return Record(Partition("events", 0), offset, 900, key, value)


def bury_all(log: LocalLog, *records: Record) -> None:
    outputs = [bury(each, "not JSON", "aggregate") for each in records]
    log.append("events.dead", [Message(output.key, output.value) for output in outputs])


def contents(log: LocalLog, topic: str) -> list[tuple[bytes | None, bytes | None]]:
    with closing(log.consumer([topic], group=None)) as reader:
        return [(r.key, r.value) for r in reader.poll(max_records=9_999, timeout_seconds=0.0)]


def test_a_dead_letter_says_where_it_stood_why_and_what_it_was() -> None:
    output = bury(record(), "not JSON: at byte 0", "aggregate")

    letter = decode_dead_letter(output.value)
    assert output.topic == "events.dead"
    assert (letter.topic, letter.partition, letter.offset) == ("events", 0, 7)
    assert (letter.reason, letter.reader) == ("not JSON: at byte 0", "aggregate")
    assert (letter.key, letter.value, letter.appended_at_ms) == (b"\xfe", POISON, 900)


def test_a_replay_puts_the_original_bytes_back_once(log: LocalLog) -> None:
    bury_all(log, record(), record(b"two", offset=8), record(None, offset=9))

    assert replay(log) == 3
    assert replay(log) == 0

    assert contents(log, "events") == [(b"\xfe", POISON), (b"\xfe", b"two"), (b"\xfe", None)]


def test_chosen_letters_alone_are_replayed_and_the_rest_later(log: LocalLog) -> None:
    bury_all(log, *(record(b"%d" % n, offset=n) for n in range(4)))

    assert replay(log, Wanted(numbers=[2, 99])) == 1
    assert [found.replayed for found in read_all(log)] == [False, False, True, False]
    assert replay(log) == 3

    assert [value for _, value in contents(log, "events")] == [b"2", b"0", b"1", b"3"]
    assert [found.number for found in read_all(log)] == [0, 1, 2, 3]


def test_many_letters_are_replayed_in_order(log: LocalLog) -> None:
    bury_all(log, *(record(b"%d" % n, offset=n) for n in range(1_200)))

    assert replay(log) == 1_200

    assert [value for _, value in contents(log, "events")] == [b"%d" % n for n in range(1_200)]


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (Wanted(reason="VERSION"), [1, 3]),
        (Wanted(reader="train"), [2, 3]),
        (Wanted(reason="version", reader="train"), [3]),
        (Wanted(numbers=[0, 3], reason="version"), [3]),
        (Wanted(topic="inbox"), []),
        (Wanted(), [0, 1, 2, 3]),
    ],
)
def test_letters_are_chosen_by_reason_reader_topic_and_number(
    log: LocalLog, wanted: Wanted, numbers: list[int]
) -> None:
    for reader in ("aggregate", "train"):
        for reason in ("not JSON", "unknown schema version 2"):
            output = bury(record(reason.encode()), reason, reader)
            log.append(output.topic, [Message(output.key, output.value)])

    assert [found.number for found in letters(log) if wanted.takes(found)] == numbers
    assert replay(log, wanted) == len(numbers)
    assert [found.number for found in letters(log) if found.replayed] == numbers


def test_a_dead_letter_nobody_can_read_does_not_keep_the_others(log: LocalLog) -> None:
    log.append("events.dead", [Message(None, b"not a letter"), Message(b"k", None)])
    bury_all(log, record())

    assert [found.number for found in read_all(log)] == [2]
    assert replay(log) == 1


def test_without_dead_letters_there_is_nothing_to_do(log: LocalLog) -> None:
    assert read_all(log) == []
    assert replay(log) == 0


class Promising(LocalLog):
    """A log that says its end is further than it can be read: it is away, or dropped records."""

    def end_offsets(self, topic: str) -> dict[Partition, int]:
        return {partition: end + 1 for partition, end in super().end_offsets(topic).items()}


def test_letters_that_never_come_are_waited_for_no_longer_than_told(tmp_path: Path) -> None:
    with closing(Promising(tmp_path / "log", clock=lambda: 1_000)) as log:
        bury_all(log, record())
        found = letters(log, wait_seconds=0.2)

        assert next(found).number == 0
        with pytest.raises(LogUnavailable, match="number 1 or a later"):
            next(found)


def test_a_reader_that_lost_the_letters_says_so_and_skips_none() -> None:
    log = MemoryLog(lambda: 1_000)
    outputs = [bury(record(offset=number), "not JSON", "aggregate") for number in range(501)]
    log.append("events.dead", [Message(output.key, output.value) for output in outputs])
    found = letters(log)  # type: ignore[arg-type]
    for number in range(500):
        assert next(found).number == number

    log.consumer(["events.dead"], group=GROUP).close()

    with pytest.raises(LogUnavailable, match="lost"):
        next(found)


def test_two_replays_at_once_do_not_double(log: LocalLog) -> None:
    bury_all(log, record())
    with closing(log.consumer(["events.dead"], group=GROUP)) as other:
        other.poll(max_records=1, timeout_seconds=0.0)

        with pytest.raises(LogUnavailable, match="another process"):
            replay(log, wait_seconds=0.0)

    assert replay(log) == 1
