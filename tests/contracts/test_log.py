"""What every log promises (`streams/port.py`), over every adapter."""

import json
import random
import signal
import subprocess
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

from streams.errors import Fenced, LogError, TopicMismatch
from streams.kafka import KafkaLog
from streams.port import (
    Consumer,
    Log,
    Message,
    Output,
    Partition,
    Record,
    StateChange,
    partition_of,
)
from tests.contracts import log_processes
from tests.contracts.log_processes import Copier, message, open_log
from tests.servers import REPOSITORY, KafkaBroker

TRIES = 300  # polls of 0.2 s, before a test gives up waiting


@dataclass(frozen=True)
class Installation:
    """One log that several processes can open."""

    description: str
    kills: int
    opened: ExitStack

    def open(self, clock: Callable[[], int] = log_processes.now_ms) -> Log:
        return self.opened.enter_context(closing(open_log(self.description, clock)))

    @contextmanager
    def process(self, program: str) -> Iterator["Process"]:
        command = [sys.executable, "-m", "tests.contracts.log_processes", program]
        started = subprocess.Popen(
            [*command, self.description],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            yield Process(started)
        finally:
            started.kill()
            started.communicate()

    def take_away(self, process: "Process") -> None:
        """Make the log believe that the owner is gone while it is not."""
        found = json.loads(self.description)
        if found["adapter"] == "kafka":
            process.popen.send_signal(signal.SIGSTOP)
        else:
            Path(found["path"]).with_name("log.groups").joinpath("copiers").unlink()


@dataclass(frozen=True)
class Process:
    popen: "subprocess.Popen[str]"

    def hear(self) -> str:
        """Return the next line it says; empty when it has died."""
        output: IO[str] | None = self.popen.stdout
        assert output is not None
        return output.readline().strip()

    def tell(self) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.write("\n")
        self.popen.stdin.flush()

    def kill(self) -> list[str]:
        """Kill it on the spot and return what it still had said."""
        self.popen.kill()
        rest, _ = self.popen.communicate()
        return rest.splitlines()


@pytest.fixture(params=["local", "local with 4 partitions", "kafka"])
def installation(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Installation]:
    with ExitStack() as opened:
        if request.param == "kafka":
            broker: KafkaBroker = request.getfixturevalue("kafka_broker")
            description = {
                "adapter": "kafka",
                "bootstrap_servers": broker.bootstrap_servers,
                "prefix": f"{uuid.uuid4().hex[:8]}.",
            }
            made = Installation(json.dumps(description), 5, opened)
            log = made.open()
            assert isinstance(log, KafkaLog)
            log.ensure_topics()
        else:
            partitions = 1 if request.param == "local" else 4
            description = {
                "adapter": "local",
                "path": str(tmp_path / "log"),
                "partitions": partitions,
            }
            made = Installation(json.dumps(description), 20 if partitions == 1 else 5, opened)
        yield made


@pytest.fixture
def log(installation: Installation) -> Log:
    return installation.open()


def poll_until(consumer: Consumer, count: int, *, max_records: int = 500) -> list[Record]:
    records: list[Record] = []
    for _ in range(TRIES):
        records += consumer.poll(max_records=max_records, timeout_seconds=0.2)
        if len(records) >= count:
            return records
    raise AssertionError(f"{len(records)} records of {count}")


def own_all(log: Log, consumer: Consumer, topic: str = "events") -> None:
    for _ in range(TRIES):
        consumer.poll(max_records=1, timeout_seconds=0.2)
        if len(consumer.assignment()) == log.partitions(topic):
            return
    raise AssertionError(f"owns {consumer.assignment()}")


def everything(log: Log, topic: str) -> list[Record]:
    """Return all readable records of a topic."""
    ends = log.end_offsets(topic)
    positions = dict(log.start_offsets(topic))
    records: list[Record] = []
    with closing(log.consumer([topic], group=None)) as reader:
        for _ in range(TRIES):
            if positions == ends:
                return records
            for record in reader.poll(max_records=500, timeout_seconds=0.2):
                records.append(record)
                positions[record.partition] = record.offset + 1
    raise AssertionError(f"read up to {positions} of {ends}")


def next_offsets(records: Sequence[Record]) -> dict[Partition, int]:
    return {record.partition: record.offset + 1 for record in records}


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


def test_an_acknowledged_append_survives_kill_nine(installation: Installation, log: Log) -> None:
    with installation.process("append_for_ever") as process:
        said = [process.hear() for _ in range(5)]
        said += process.kill()

    acknowledged = int(said[-1])
    values = Counter(record.value for record in everything(log, "events"))
    assert acknowledged >= 50
    assert all(values[b"value-%d" % number] == 1 for number in range(acknowledged))


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

    last = everything(log, "rewards")[-1]

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


def test_without_a_commit_the_same_records_come_again(log: Log) -> None:
    log.append("events", [message(number) for number in range(20)])
    with closing(log.consumer(["events"], group="g")) as reader:
        first = poll_until(reader, 20)

    with closing(log.consumer(["events"], group="g")) as reader:
        second = poll_until(reader, 20)

    assert set(second) == set(first)


def test_a_group_goes_on_from_its_commit_and_other_groups_do_not(log: Log) -> None:
    log.append("events", [message(number) for number in range(20)])
    with closing(log.consumer(["events"], group="g")) as reader:
        reader.commit(next_offsets(poll_until(reader, 20)))
    log.append("events", [message(20)])

    with closing(log.consumer(["events"], group="g")) as reader:
        assert [record.value for record in poll_until(reader, 1)] == [b"value-20"]
    with closing(log.consumer(["events"], group="other")) as reader:
        assert len(poll_until(reader, 21)) == 21


def test_a_commit_moves_offsets_outputs_and_state_together(log: Log) -> None:
    log.append("events", [message(number) for number in range(20)])
    with closing(Copier(log).consumer) as reader:
        records = poll_until(reader, 20)
        reader.commit(
            next_offsets(records),
            outputs=[Output("rewards", record.key, record.value) for record in records],
            state=[StateChange(record.partition, b"seen", b"yes") for record in records],
        )

    assert sorted(r.value or b"" for r in everything(log, "rewards")) == sorted(
        r.value or b"" for r in records
    )
    with closing(log.consumer(["events"], group="copiers")) as reader:
        own_all(log, reader)
        assert list(reader.poll(max_records=10, timeout_seconds=0.3)) == []
        for partition in {record.partition for record in records}:
            assert dict(reader.load_state(partition)) == {b"seen": b"yes"}


def test_a_commit_may_be_larger_than_any_message(log: Log) -> None:
    log.append("events", [Message(b"a", b"1")])
    partition = Partition("events", partition_of(b"a", log.partitions("events")))
    state = [
        StateChange(partition, b"piece %d" % number, bytes([number]) * 2**20) for number in range(9)
    ]
    with closing(log.consumer(["events"], group="g")) as reader:
        own_all(log, reader)
        reader.commit({partition: 1}, state=state)

    with closing(log.consumer(["events"], group="g")) as reader:
        own_all(log, reader)
        assert dict(reader.load_state(partition)) == {each.key: each.value for each in state}


def test_a_commit_that_is_refused_moves_nothing(log: Log) -> None:
    log.append("events", [message(number) for number in range(5)])
    with closing(log.consumer(["events"], group="g")) as reader:
        records = poll_until(reader, 5)
        outputs = [Output("rewards", b"a", b"1"), Output("no.such.topic", b"a", b"2")]

        with pytest.raises(TopicMismatch, match=r"no\.such\.topic"):
            reader.commit(next_offsets(records), outputs=outputs)

    assert everything(log, "rewards") == []
    with closing(log.consumer(["events"], group="g")) as reader:
        assert set(poll_until(reader, 5)) == set(records)


def test_state_is_the_group_s_own_last_value_of_each_key(log: Log) -> None:
    log.append("events", [Message(b"a", b"1")])
    partition = Partition("events", partition_of(b"a", log.partitions("events")))
    with closing(log.consumer(["events"], group="g")) as reader:
        own_all(log, reader)
        reader.commit(
            {partition: 1},
            state=[
                StateChange(partition, b"kept", b"old"),
                StateChange(partition, b"forgotten", b"x"),
                StateChange(partition, b"back", b"x"),
                StateChange(partition, b"\x00\xff", b"\x00"),
            ],
        )
        reader.commit(
            {partition: 1},
            state=[
                StateChange(partition, b"kept", b"new"),
                StateChange(partition, b"forgotten", None),
                StateChange(partition, b"back", None),
                StateChange(partition, b"back", b"again"),
            ],
        )

    expected = {b"kept": b"new", b"back": b"again", b"\x00\xff": b"\x00"}
    with closing(log.consumer(["events"], group="g")) as reader:
        own_all(log, reader)
        assert dict(reader.load_state(partition)) == expected
    with closing(log.consumer(["events"], group="other")) as reader:
        own_all(log, reader)
        assert dict(reader.load_state(partition)) == {}


def test_a_partition_has_one_owner_in_a_group_and_goes_to_the_next_when_it_is_given_back(
    log: Log,
) -> None:
    everyone = frozenset(log.end_offsets("events"))
    first = log.consumer(["events"], group="g")
    second = log.consumer(["events"], group="g")
    for _ in range(40):
        first.poll(max_records=1, timeout_seconds=0.05)
        second.poll(max_records=1, timeout_seconds=0.05)
        assert not first.assignment() & second.assignment()
        if first.assignment() | second.assignment() == everyone:
            break
    assert first.assignment() | second.assignment() == everyone

    first.close()

    own_all(log, second)
    second.close()


def test_what_is_not_owned_is_neither_committed_nor_loaded(log: Log) -> None:
    elsewhere = Partition("events", 0)
    with closing(log.consumer(["rewards"], group="g")) as reader:
        own_all(log, reader, "rewards")

        with pytest.raises(Fenced):
            reader.commit({elsewhere: 1}, outputs=[Output("policies", b"a", b"b")])
        with pytest.raises(Fenced):
            list(reader.load_state(elsewhere))

    assert everything(log, "policies") == []


def test_an_owner_that_cannot_take_its_partitions_is_given_them_again(log: Log) -> None:
    log.append("events", [message(number) for number in range(5)])
    failures = [LogError("the state cannot be read")]

    def take(_: frozenset[Partition]) -> None:
        if failures:
            raise failures.pop()

    with closing(log.consumer(["events"], group="g", on_assigned=take)) as reader:
        with pytest.raises(LogError, match="cannot be read"):
            poll_until(reader, 5)

        assert len(poll_until(reader, 5)) == 5


def test_a_killed_owner_is_replaced(installation: Installation, log: Log) -> None:
    with installation.process("own_for_ever") as process:
        assert process.hear() == str(log.partitions("events"))
        with closing(log.consumer(["events"], group="copiers")) as heir:
            process.kill()

            own_all(log, heir)


def test_an_owner_taken_for_dead_is_fenced_and_nothing_of_it_moves(
    installation: Installation, log: Log
) -> None:
    log.append("events", [message(1)])
    with installation.process("copy_when_told") as process:
        assert process.hear() == "1"
        installation.take_away(process)
        heir = Copier(log)
        with closing(heir.consumer):
            for _ in range(TRIES):
                if records := heir.take():
                    heir.copy(records)
                    break

            process.popen.send_signal(signal.SIGCONT)
            process.tell()

            assert process.hear() == "fenced"
    assert [record.value for record in everything(log, "rewards")] == [b"value-1"]


def test_kill_nine_again_and_again_leaves_outputs_offsets_and_state_equal(
    installation: Installation, log: Log
) -> None:
    rng = random.Random(7)  # noqa: S311
    for start in range(0, 4_000, 500):
        log.append("events", [message(number) for number in range(start, start + 500)])

    for _ in range(installation.kills):
        with installation.process("copy_for_ever") as process:
            for _ in range(rng.randint(1, 4)):
                assert process.hear()
            process.kill()
    copier = Copier(log)
    with closing(copier.consumer):
        while sum(copier.counts.values()) < 4_000:
            if records := list(copier.consumer.poll(max_records=500, timeout_seconds=0.2)):
                copier.copy(records)

    sources = everything(log, "events")
    outputs = everything(log, "rewards")
    assert Counter(r.value for r in outputs) == Counter(r.value for r in sources)
    for key in {record.key for record in sources}:
        assert [r.value for r in outputs if r.key == key] == [
            r.value for r in sources if r.key == key
        ]
    assert copier.counts == Counter(record.partition for record in sources)
