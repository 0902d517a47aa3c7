"""What every log promises (`streams/port.py`), over every adapter: records and offsets."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from streams.errors import Fenced, LogError, TopicMismatch
from streams.port import Log, Message, Output, Partition, partition_of
from tests.contracts.log_processes import message
from tests.contracts.logs import Installation, everything, next_offsets, own_all, poll_until


def test_records_of_a_partition_are_read_in_the_order_they_were_appended(log: Log) -> None:
    sent = [message(number) for number in range(200)]
    for start in range(0, 200, 50):
        log.append("events", sent[start : start + 50])

    with closing(log.consumer(["events"], group=None)) as reader:
        records = poll_until(reader, 200, max_records=17)

    for number in range(log.partitions("events")):
        own = [record for record in records if record.partition.number == number]
        assert [r.offset for r in own] == sorted({r.offset for r in own})
        assert [(r.key, r.value) for r in own] == [
            m for m in sent if partition_of(m.key, log.partitions("events")) == number
        ]


def test_an_append_time_never_goes_back_inside_a_partition(installation: Installation) -> None:
    times = iter([5_000, 2_000, 7_000])
    log = installation.open(clock=lambda: next(times))
    for number in range(3):
        log.append("inbox", [Message(b"same", b"%d" % number)])

    records = everything(log, "inbox")

    assert [record.value for record in records] == [b"0", b"1", b"2"]
    stamps = [record.appended_at_ms for record in records]
    assert stamps == sorted(stamps)
    assert stamps[0] >= 5_000


def test_a_key_always_goes_to_the_partition_it_names(log: Log) -> None:
    keys = [None, b"", b"a", b"b", *(b"%d" % number for number in range(50))]

    log.append("events", [Message(key, b"x") for key in keys])

    records = everything(log, "events")
    assert Counter(record.key for record in records) == Counter(keys)
    for record in records:
        assert record.partition.number == partition_of(record.key, log.partitions("events"))


def test_a_tombstone_is_read_as_one(log: Log) -> None:
    log.append("products", [Message(b"p1", b"shoes"), Message(b"p1", None)])

    assert [record.value for record in everything(log, "products")] == [b"shoes", None]


def test_what_several_threads_append_is_all_there_in_each_thread_s_order(log: Log) -> None:
    def append(thread: int) -> None:
        for number in range(10):
            log.append("events", [Message(b"%d" % thread, b"%d" % number)])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(append, range(4)))

    records = everything(log, "events")
    for thread in range(4):
        values = [record.value for record in records if record.key == b"%d" % thread]
        assert values == [b"%d" % number for number in range(10)]


def test_a_waiting_poll_returns_what_the_same_process_appends_meanwhile(log: Log) -> None:
    with closing(log.consumer(["events"], group=None)) as reader:
        assert not reader.poll(max_records=10, timeout_seconds=0.3)
        appender = threading.Timer(0.2, log.append, ("events", [Message(b"a", b"1")]))
        appender.start()

        records = reader.poll(max_records=10, timeout_seconds=60.0)

        appender.join()
    assert [record.value for record in records] == [b"1"]


def test_a_poll_without_records_is_empty_and_keeps_the_partitions(log: Log) -> None:
    with closing(log.consumer(["events"], group="g")) as reader:
        own_all(log, reader)

        assert list(reader.poll(max_records=10, timeout_seconds=0.0)) == []
        assert list(reader.poll(max_records=10, timeout_seconds=0.1)) == []

        assert len(reader.assignment()) == log.partitions("events")


def test_a_poll_brings_no_more_records_than_asked_for(log: Log) -> None:
    log.append("events", [message(number) for number in range(40)])

    with closing(log.consumer(["events"], group=None)) as reader:
        sizes = [len(reader.poll(max_records=9, timeout_seconds=0.2)) for _ in range(6)]

    assert max(sizes) <= 9


def test_a_topic_nobody_declared_is_refused_everywhere(log: Log) -> None:
    calls: list[Callable[[], object]] = [
        lambda: log.append("no.such.topic", [Message(b"a", b"b")]),
        lambda: log.consumer(["no.such.topic"], group=None),
        lambda: log.partitions("no.such.topic"),
        lambda: log.end_offsets("no.such.topic"),
        lambda: log.start_offsets("no.such.topic"),
    ]

    for call in calls:
        with pytest.raises(TopicMismatch, match=r"no\.such\.topic"):
            call()


def test_offsets_tell_where_the_readable_records_begin_and_end(log: Log) -> None:
    partitions = {Partition("rewards", 0)}
    assert log.start_offsets("rewards") == dict.fromkeys(partitions, 0)
    assert log.end_offsets("rewards") == dict.fromkeys(partitions, 0)

    log.append("rewards", [message(number) for number in range(5)])

    assert log.start_offsets("rewards") == dict.fromkeys(partitions, 0)
    assert log.end_offsets("rewards") == dict.fromkeys(partitions, 5)


def test_the_end_offset_is_the_one_after_the_last_output_of_a_commit(log: Log) -> None:
    log.append("events", [message(1)])
    with closing(log.consumer(["events"], group="g")) as reader:
        records = poll_until(reader, 1)
        outputs = [Output("rewards", b"k", b"1"), Output("rewards", b"k", b"2")]
        reader.commit(next_offsets(records), outputs=outputs)

    last = everything(log, "rewards", at_least=2)[-1]

    assert last.value == b"2"
    assert log.end_offsets("rewards") == {Partition("rewards", 0): last.offset + 1}


def test_a_reader_without_a_group_has_every_partition_and_cannot_commit(log: Log) -> None:
    told: list[frozenset[Partition]] = []
    with closing(log.consumer(["events"], group=None, on_assigned=told.append)) as reader:
        reader.poll(max_records=1, timeout_seconds=0.1)
        reader.poll(max_records=1, timeout_seconds=0.1)

        assert told == [reader.assignment()]
        assert len(reader.assignment()) == log.partitions("events")
        with pytest.raises(LogError, match="without a group"):
            reader.commit({Partition("events", 0): 0})


def test_a_reader_without_a_group_begins_where_it_is_told(log: Log) -> None:
    log.append("rewards", [message(number) for number in range(30)])

    with closing(log.consumer(["rewards"], group=None)) as reader:
        reader.seek(Partition("rewards", 0), 20)
        first = poll_until(reader, 10)
        reader.seek(Partition("rewards", 0), 5)
        again = poll_until(reader, 25)

    assert [record.offset for record in first] == list(range(20, 30))
    assert [record.offset for record in again] == list(range(5, 30))


def test_a_member_of_a_group_may_seek_what_it_owns(log: Log) -> None:
    log.append("rewards", [message(number) for number in range(10)])

    with closing(log.consumer(["rewards"], group="g")) as reader:
        with pytest.raises(Fenced):
            reader.seek(Partition("rewards", 0), 3)
        poll_until(reader, 10)
        reader.seek(Partition("rewards", 0), 3)
        records = poll_until(reader, 7)

    assert [record.offset for record in records] == list(range(3, 10))
