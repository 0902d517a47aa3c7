"""What could not be read: buried with its reason in `events.dead`, listed, and replayed once.

A replay is one commit of a group of its own: the original bytes back in their topic, and the mark
that says so, together or not at all. So a replay cut short is continued, never doubled.
"""

import time
from collections.abc import Collection, Generator, Iterator
from contextlib import closing
from itertools import islice
from typing import Final, NamedTuple

import structlog

from schemas.codec import decode_dead_letter, encode
from schemas.errors import SchemaError
from schemas.events import DeadLetter
from streams.errors import LogUnavailable
from streams.port import Consumer, Log, Output, Partition, Record, StateChange
from streams.topics import DEAD

log = structlog.get_logger(__name__)

GROUP: Final = "dead-letters"
_LETTERS: Final = Partition(DEAD.name, 0)
_LETTERS_PER_COMMIT: Final = 500
_POLL_SECONDS: Final = 0.5


class Found(NamedTuple):
    """A dead letter: its number in the topic, its content, whether it was replayed."""

    number: int
    letter: DeadLetter
    replayed: bool


class Wanted(NamedTuple):
    """Which dead letters are meant: those that all of this is true of.

    Attributes:
        numbers: one of these; None: any.
        reason: stands in the reason, whatever its case.
        reader: could not read it.
        topic: it came from.
    """

    numbers: Collection[int] | None = None
    reason: str = ""
    reader: str = ""
    topic: str = ""

    def takes(self, found: Found) -> bool:
        """Return whether a letter is meant."""
        return (
            (self.numbers is None or found.number in self.numbers)
            and self.reason.casefold() in found.letter.reason.casefold()
            and self.reader in {"", found.letter.reader}
            and self.topic in {"", found.letter.topic}
        )


def bury(record: Record, reason: str, reader: str) -> Output:
    """Return the dead letter of a record, to be committed with the offset that passes it.

    Args:
        record: what could not be read.
        reason: one sentence that says why.
        reader: the process that could not read it.
    """
    letter = DeadLetter(
        topic=record.partition.topic,
        partition=record.partition.number,
        offset=record.offset,
        appended_at_ms=record.appended_at_ms,
        reason=reason,
        reader=reader,
        key=record.key,
        value=record.value,
    )
    return Output(DEAD.name, record.key, encode(letter))


def letters(events: Log, *, wait_seconds: float = 20.0) -> Generator[Found]:
    """Yield every dead letter still kept, oldest first, in bounded memory; close it when done.

    Raises:
        LogUnavailable: the log cannot be read to its end, or another process is replaying.
    """
    with closing(_reader(events, wait_seconds)) as reader:
        yield from _found(events, reader, wait_seconds)


def read_all(events: Log, *, wait_seconds: float = 20.0) -> list[Found]:
    """Return every dead letter still kept, oldest first; raises as `letters`."""
    return list(letters(events, wait_seconds=wait_seconds))


def replay(events: Log, wanted: Wanted | None = None, *, wait_seconds: float = 20.0) -> int:
    """Append dead letters to the topics they came from again, with their keys.

    Args:
        events: the log.
        wanted: which; None: all. What was replayed before is left alone: if it could not be read
            again, it was buried again, under another number.
        wait_seconds: how long to wait for another process that replays, and for the next letter.

    Returns:
        How many were replayed.

    Raises:
        LogUnavailable: the log cannot be used; what was replayed by then is marked so.
        TopicMismatch: the topic of a letter does not exist any more.
    """
    takes = (wanted or Wanted()).takes
    count = 0
    with closing(_reader(events, wait_seconds)) as reader:
        all_found = _found(events, reader, wait_seconds)
        due = (found for found in all_found if not found.replayed and takes(found))
        while chosen := list(islice(due, _LETTERS_PER_COMMIT)):
            _replay(reader, chosen)
            count += len(chosen)
    return count


def _replay(reader: Consumer, chosen: list[Found]) -> None:
    reader.commit(
        {_LETTERS: chosen[-1].number + 1},
        # A record without key and value says nothing; not every log takes it.
        outputs=[
            Output(found.letter.topic, found.letter.key, found.letter.value)
            for found in chosen
            if found.letter.key is not None or found.letter.value is not None
        ],
        state=[StateChange(_LETTERS, b"%d" % found.number, b"replayed") for found in chosen],
    )
    log.info("dead_letters_replayed", count=len(chosen))


def _reader(events: Log, wait_seconds: float) -> Consumer:
    reader = events.consumer([DEAD.name], group=GROUP, on_revoked=_lost)
    try:
        _own(reader, wait_seconds)
    except BaseException:
        reader.close()
        raise
    return reader


def _lost(_: frozenset[Partition]) -> None:
    # Won again, the letters would be read from where the group is, not from where this reader was.
    raise LogUnavailable("the dead letters were lost to another process, or the log was away")


def _own(reader: Consumer, wait_seconds: float) -> None:
    deadline = time.monotonic() + wait_seconds
    while not reader.assignment():
        if time.monotonic() > deadline:
            raise LogUnavailable("another process replays dead letters; wait for its end")
        reader.poll(max_records=1, timeout_seconds=_POLL_SECONDS)


def _found(events: Log, reader: Consumer, wait_seconds: float) -> Iterator[Found]:
    replayed = {int(key) for key, _ in reader.load_state(_LETTERS)}
    start, end = events.start_offsets(DEAD.name)[_LETTERS], events.end_offsets(DEAD.name)[_LETTERS]
    reader.seek(_LETTERS, start)
    position, heard_at = start, time.monotonic()
    while position < end:
        records = reader.poll(max_records=_LETTERS_PER_COMMIT, timeout_seconds=_POLL_SECONDS)
        if not records and time.monotonic() - heard_at > wait_seconds:
            raise LogUnavailable(
                f"no dead letter came for {wait_seconds:g} s, where number {position} or a later"
                " one should be: is the log away?"
            )
        for record in records:
            position = record.offset + 1
            try:
                letter = decode_dead_letter(record.value)
            except SchemaError as problem:
                log.warning("dead_letter_not_readable", number=record.offset, problem=str(problem))
                continue
            yield Found(record.offset, letter, record.offset in replayed)
        if records:
            heard_at = time.monotonic()
