"""A log with a spool before it: what happens when the log fails, hangs, comes back, is slow."""

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from streams.errors import LogUnavailable, MessageTooLarge, SpoolFull, TopicMismatch
from streams.port import Message, Partition
from streams.spooled import Spool, SpooledLog, SpoolSettings

WAIT_SECONDS = 10.0


class Away:
    """A log that keeps what it is given, refuses while told to, and can hold an append back."""

    def __init__(self) -> None:
        self.records: list[tuple[str, Message]] = []
        self.problem: Exception | None = None
        self.loses_answers = False
        self.poison: bytes | None = None
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.asked = threading.Event()

    def append(self, topic: str, messages: Sequence[Message]) -> None:
        self.asked.set()
        assert self.may_answer.wait(WAIT_SECONDS)
        if self.problem is not None:
            raise self.problem
        if any(message.value == self.poison for message in messages):
            raise MessageTooLarge("too large")
        self.records += [(topic, message) for message in messages]
        if self.loses_answers:
            raise LogUnavailable("the connection was cut before the answer")

    def end_offsets(self, topic: str) -> dict[Partition, int]:
        if self.problem is not None:
            raise self.problem
        return {Partition(topic, 0): len(self.records)}

    def close(self) -> None:
        pass

    @property
    def values(self) -> list[bytes | None]:
        return [message.value for _, message in self.records]


class Counts:
    def __init__(self) -> None:
        self.out = self.lost = self.refusals = 0

    def drained(self, records: int) -> None:
        self.out += records

    def passed_over(self, records: int) -> None:
        self.lost += records

    def refused(self) -> None:
        self.refusals += 1


def message(number: int) -> Message:
    return Message(b"k", b"%d" % number)


class Bench:
    """A spooled log over one that fails; its feeder runs in a thread, or by `step` where told."""

    def __init__(
        self,
        folder: Path,
        *,
        limit_bytes: int = 10**6,
        patience: float = 0.05,
        reopen_seconds: float = 60.0,
    ) -> None:
        self.log = Away()
        self.counts = Counts()
        self.spool = Spool(folder, limit_bytes=limit_bytes)
        self.spooled = SpooledLog(
            self.log,  # type: ignore[arg-type]
            self.spool,
            meter=self.counts,
            settings=SpoolSettings(
                patience_seconds=patience,
                retry_seconds=0.01,
                reopen_seconds=reopen_seconds,
                drain_records=4,
            ),
        )

    def go_away(self) -> None:
        """Have the log refuse, and the first append of it spooled."""
        self.log.problem = LogUnavailable("away")

    def until(self, condition: Callable[[], bool]) -> None:
        tick = threading.Event()
        for _ in range(1_000):
            if condition():
                return
            tick.wait(0.01)
        raise AssertionError("waited in vain")


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def bench(*, start: bool = True, **options: object) -> Bench:
        found = Bench(tmp_path / "spool", **options)  # type: ignore[arg-type]
        if start:
            found.spooled.start()
        made.append(found)
        return found

    yield bench
    for each in made:
        each.log.may_answer.set()
        each.spooled.close()


def test_a_log_that_answers_is_all_there_is(make: Callable[..., Bench], tmp_path: Path):
    bench = make(patience=WAIT_SECONDS)

    for number in range(5):
        bench.spooled.append("events", [message(number)])
        assert bench.log.values[-1] == b"%d" % number

    assert not bench.spooled.spooling
    assert not list((tmp_path / "spool").glob("*.db"))


def test_what_the_log_refuses_waits_on_disk_and_drains_in_order(make: Callable[..., Bench]):
    bench = make(patience=WAIT_SECONDS)
    bench.spooled.append("events", [message(0)])
    bench.go_away()
    for number in range(1, 20):
        bench.spooled.append("products" if number == 9 else "events", [message(number)])
    assert bench.spooled.spooling
    assert bench.spool.records == 19
    assert bench.log.values == [b"0"]

    bench.log.problem = None
    bench.until(lambda: not bench.spooled.spooling)
    bench.spooled.append("events", [message(20)])

    assert bench.log.values == [b"%d" % number for number in range(21)]
    assert [topic for topic, _ in bench.log.records].index("products") == 9
    assert bench.counts.out == 19


def test_an_append_that_hangs_is_spooled_after_the_patience_and_later_ones_at_once(
    make: Callable[..., Bench],
):
    bench = make(patience=0.2)
    bench.log.may_answer.clear()
    bench.go_away()
    bench.spooled.append("events", [message(0)])  # returns although the log hangs

    for number in range(1, 5):
        bench.spooled.append("events", [message(number)])
    assert bench.spool.records == 5

    bench.log.may_answer.set()
    bench.log.problem = None
    bench.until(lambda: not bench.spooled.spooling)
    assert bench.log.values == [b"%d" % number for number in range(5)]


def test_what_a_slow_log_took_after_all_is_not_sent_again(make: Callable[..., Bench]):
    bench = make(patience=0.02)
    bench.log.may_answer.clear()
    bench.spooled.append("events", [message(0), message(1)])
    bench.spooled.append("events", [message(2)])
    assert bench.spool.records == 3

    bench.log.may_answer.set()
    bench.until(lambda: not bench.spooled.spooling)

    assert bench.log.values == [b"0", b"1", b"2"]
    assert bench.counts.out == 3


def test_nothing_passes_what_is_spooled_even_when_the_log_is_back(make: Callable[..., Bench]):
    bench = make(start=False, patience=0.0)
    bench.spooled.append("events", [message(0)])  # the feeder did not even look
    for number in range(1, 6):
        bench.spooled.append("events", [message(number)])

    assert bench.spooled.step()  # what was handed over first
    assert bench.spooled.step()  # four of the spool
    bench.spooled.append("events", [message(6)])
    while bench.spooled.spooling:
        assert bench.spooled.step()

    assert bench.log.values == [b"%d" % number for number in range(7)]


def test_an_answer_that_is_lost_makes_a_double_and_never_a_gap(make: Callable[..., Bench]):
    bench = make(patience=WAIT_SECONDS)
    bench.log.loses_answers = True
    for number in range(3):
        bench.spooled.append("events", [message(number)])

    bench.log.loses_answers = False
    bench.until(lambda: not bench.spooled.spooling)

    assert list(dict.fromkeys(bench.log.values)) == [b"0", b"1", b"2"]
    assert len(bench.log.values) > 3


def test_a_full_spool_refuses_at_once_and_takes_again_when_drained(make: Callable[..., Bench]):
    bench = make(limit_bytes=100, patience=WAIT_SECONDS)
    bench.go_away()
    bench.spooled.append("events", [message(0), message(1)])
    for _ in range(2):
        with pytest.raises(SpoolFull):
            bench.spooled.append("events", [message(2)])
    assert bench.counts.refusals == 2

    bench.log.problem = None
    bench.until(lambda: not bench.spooled.spooling)
    bench.spooled.append("events", [message(3)])

    assert bench.log.values == [b"0", b"1", b"3"]


def test_without_any_room_the_log_is_asked_whether_it_is_back(make: Callable[..., Bench]):
    bench = make(limit_bytes=0, patience=WAIT_SECONDS)
    bench.go_away()
    with pytest.raises(SpoolFull):
        bench.spooled.append("events", [message(0)])
    assert bench.spooled.spooling

    bench.log.problem = None
    bench.until(lambda: not bench.spooled.spooling)
    bench.spooled.append("events", [message(1)])

    assert bench.log.values == [b"1"]


def test_a_bug_of_the_client_counts_as_away(make: Callable[..., Bench]):
    bench = make(patience=WAIT_SECONDS)
    bench.log.problem = ZeroDivisionError()
    bench.spooled.append("events", [message(0)])
    assert bench.spooled.spooling

    bench.log.problem = None
    bench.until(lambda: not bench.spooled.spooling)
    assert bench.log.values == [b"0"]


def test_what_no_try_would_bring_into_the_log_is_told_at_once(make: Callable[..., Bench]):
    bench = make(patience=WAIT_SECONDS)
    bench.log.poison = b"poison"
    with pytest.raises(MessageTooLarge):
        bench.spooled.append("events", [Message(b"k", b"poison")])
    with pytest.raises(TopicMismatch):
        bench.spooled.append("no.such.topic", [message(0)])
    assert not bench.spooled.spooling


def test_what_no_try_would_bring_into_the_log_does_not_block_what_stands_behind_it(
    make: Callable[..., Bench],
):
    bench = make(patience=WAIT_SECONDS)
    bench.go_away()
    bench.spooled.append("events", [message(0), Message(b"k", b"poison"), message(1)])
    bench.spooled.append("events", [message(2)])

    bench.log.poison = b"poison"
    bench.log.problem = None
    bench.until(lambda: not bench.spooled.spooling)

    assert bench.log.values == [b"0", b"1", b"2"]
    assert (bench.counts.out, bench.counts.lost) == (3, 1)


def test_a_log_that_goes_away_while_one_message_is_looked_for_is_left_in_peace(
    make: Callable[..., Bench],
):
    bench = make(start=False, patience=0.0)
    bench.go_away()
    bench.spooled.append("events", [message(0), Message(b"k", b"poison"), message(1)])
    bench.log.poison, bench.log.problem = b"poison", None
    while bench.log.values != [b"0"]:
        assert bench.spooled.step()

    bench.go_away()
    assert not bench.spooled.step(), "a pause is due"

    bench.log.problem = None
    while bench.spooled.spooling:
        assert bench.spooled.step()
    assert bench.log.values == [b"0", b"1"]


def test_what_an_earlier_process_left_goes_before_the_first_message(
    make: Callable[..., Bench], tmp_path: Path
):
    left = Spool(tmp_path / "spool", limit_bytes=10**6)
    left.put("events", [message(0), message(1)])
    left.close()
    bench = make(patience=WAIT_SECONDS)

    bench.spooled.append("events", [message(2)])
    bench.until(lambda: not bench.spooled.spooling)

    assert bench.log.values == [b"0", b"1", b"2"]


@pytest.fixture
def hidden(tmp_path: Path) -> Path:
    """A folder of a spool with two messages, and in its place what cannot be opened."""
    left = Spool(tmp_path / "hidden", limit_bytes=10**6)
    left.put("events", [message(0), message(1)])
    left.close()
    (tmp_path / "spool").write_text("in the way")
    return tmp_path / "hidden"


def show(hidden: Path) -> None:
    spool = hidden.with_name("spool")
    spool.unlink()
    hidden.rename(spool)


def test_what_is_found_only_when_something_is_put_is_sent_too(
    make: Callable[..., Bench], hidden: Path
):
    bench = make(patience=0.02)
    bench.log.may_answer.clear()
    show(hidden)
    bench.spooled.append("events", [message(2)])
    assert bench.spool.records == 3

    bench.log.may_answer.set()  # it was slow, and took the message after all
    bench.until(lambda: not bench.spooled.spooling)

    assert bench.log.values == [b"2", b"0", b"1", b"2"]


def test_what_an_earlier_process_left_is_sent_once_the_spool_can_be_opened(
    make: Callable[..., Bench], hidden: Path
):
    bench = make(patience=WAIT_SECONDS, reopen_seconds=0.02)
    bench.spooled.append("events", [message(2)])
    assert not bench.spooled.spooling

    show(hidden)
    bench.until(lambda: len(bench.log.values) == 3)

    assert bench.log.values == [b"2", b"0", b"1"]


def test_a_stopped_log_leaves_its_spool_to_the_next(make: Callable[..., Bench]):
    bench = make(patience=WAIT_SECONDS)
    bench.go_away()
    bench.spooled.append("events", [message(0)])
    bench.spooled.stop()
    assert not any(thread.name == "feeder" for thread in threading.enumerate())

    heir = make(patience=WAIT_SECONDS)
    heir.until(lambda: not heir.spooled.spooling)

    assert heir.log.values == [b"0"]


def test_appends_of_several_threads_stay_in_each_threads_order(make: Callable[..., Bench]):
    bench = make(patience=WAIT_SECONDS)

    def send(thread: int) -> None:
        for number in range(30):
            if number == 10 * (thread + 1):
                bench.log.problem = None if thread else LogUnavailable("away")
            bench.spooled.append("events", [Message(b"%d" % thread, b"%d" % number)])

    threads = [threading.Thread(target=send, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bench.log.problem = None
    bench.until(lambda: not bench.spooled.spooling)

    for thread_number in range(2):
        own = [m.value for _, m in bench.log.records if m.key == b"%d" % thread_number]
        assert own == [b"%d" % number for number in range(30)]
