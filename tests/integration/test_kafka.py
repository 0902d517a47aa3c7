"""What the log on Kafka does when the cluster differs, is away, dies, or was left half-way."""

import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest
from kafka import KafkaAdminClient

from streams.dead_letters import bury, read_all, replay
from streams.errors import LogError, LogUnavailable, MessageTooLarge, TopicMismatch
from streams.kafka import KafkaLog, KafkaSettings
from streams.kafka.producer import BoundedProducer, Routed
from streams.port import Consumer, Message, Output, Partition, Record, StateChange
from streams.topics import TOPICS
from tests.servers import KafkaBroker, free_ports, new_kafka_broker

TRIES = 300  # polls of 0.2 s, before a test gives up waiting

Settings = Callable[..., KafkaSettings]


@pytest.fixture
def settings(kafka_broker: KafkaBroker) -> Settings:
    prefix = f"{uuid.uuid4().hex[:8]}."

    def make(**changes: object) -> KafkaSettings:
        defaults = {"topic_prefix": prefix, "session_timeout_seconds": 2.0}
        return KafkaSettings(kafka_broker.bootstrap_servers, **(defaults | changes))  # type: ignore[arg-type]

    return make


@pytest.fixture
def log(settings: Settings) -> Iterator[KafkaLog]:
    with closing(KafkaLog(settings())) as opened:
        opened.ensure_topics()
        yield opened


def poll_until(consumer: Consumer, count: int) -> list[Record]:
    records: list[Record] = []
    for _ in range(TRIES):
        records += consumer.poll(max_records=500, timeout_seconds=0.2)
        if len(records) >= count:
            return records
    raise AssertionError(f"{len(records)} records of {count}")


def test_processes_that_make_the_topics_at_once_all_succeed(settings: Settings) -> None:
    logs = [KafkaLog(settings()) for _ in range(4)]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(KafkaLog.ensure_topics, logs))

    for log in logs:
        assert {topic.name: log.partitions(topic.name) for topic in TOPICS} == {
            topic.name: topic.partitions for topic in TOPICS
        }
        log.close()


def test_what_the_topics_lack_is_told_without_making_them(settings: Settings) -> None:
    with closing(KafkaLog(settings())) as looking:
        for _ in range(2):
            assert looking.topic_faults() == [
                f"{settings().topic_prefix + topic.name!r} does not exist:"
                " `quintet topics apply` makes it"
                for topic in TOPICS
            ]
        with closing(KafkaLog(settings())) as making:
            making.ensure_topics()

        assert looking.topic_faults() == []


def test_a_topic_that_differs_is_refused_and_the_text_names_in_what(settings: Settings) -> None:
    prefix = settings().topic_prefix
    with closing(KafkaAdminClient(bootstrap_servers=settings().bootstrap_servers)) as admin:
        made = {"num_partitions": 2, "replication_factor": 1, "configs": {}}
        admin.create_topics({prefix + "events": made}, wait_for_metadata=True)

    with closing(KafkaLog(settings())) as log:
        assert any("has 2 partitions, declared 4" in fault for fault in log.topic_faults())
        with pytest.raises(TopicMismatch) as refused:
            log.ensure_topics()

    text = str(refused.value)
    assert f"'{prefix}events' has 2 partitions, declared 4" in text
    assert "message.timestamp.type=CreateTime, declared LogAppendTime" in text
    assert "inbox" not in text


def test_what_no_broker_answers_is_unavailable() -> None:
    nobody = f"127.0.0.1:{free_ports(1)[0]}"
    with closing(KafkaLog(KafkaSettings(nobody, timeout_seconds=0.5))) as log:
        calls: list[Callable[[], object]] = [
            log.ensure_topics,
            lambda: log.append("events", [Message(b"a", b"b")]),
            lambda: log.consumer(["events"], group=None),
            lambda: log.end_offsets("events"),
        ]

        for call in calls:
            with pytest.raises(LogUnavailable):
                call()


def test_a_message_no_cluster_takes_is_refused_before_anything_is_sent(log: KafkaLog) -> None:
    huge = bytes(5 * 1024 * 1024)

    with pytest.raises(MessageTooLarge, match=r"'.*rewards'"):
        log.append("rewards", [Message(b"a", b"small"), Message(b"a", huge)])
    with pytest.raises(LogError, match="neither key nor value"):
        log.append("rewards", [Message(None, None)])
    log.append("rewards", [Message(b"a", bytes(4_000_000))])

    assert sum(log.end_offsets("rewards").values()) == 1


def test_the_largest_poison_is_buried_and_replayed(log: KafkaLog) -> None:
    log.append("events", [Message(b"\xfe", b"\xff" * 4_000_000)])
    with closing(log.consumer(["events"], group="g")) as reader:
        (poison,) = poll_until(reader, 1)
        letter = bury(poison, "not JSON", "test")
        reader.commit({poison.partition: poison.offset + 1}, outputs=[letter])

    assert [found.letter.value for found in read_all(log)] == [poison.value]
    assert replay(log) == 1
    assert replay(log) == 0

    with closing(log.consumer(["events"], group="g")) as reader:
        (again,) = poll_until(reader, 1)
    assert (again.partition, again.key, again.value) == (
        poison.partition,
        poison.key,
        poison.value,
    )


def test_what_a_killed_member_left_open_is_dropped_when_it_comes_back(settings: Settings) -> None:
    named = settings(member="m", transaction_timeout_seconds=60.0)
    real = named.topic_prefix + "rewards"
    with closing(KafkaLog(named)) as log:
        log.ensure_topics()
        log.append("events", [Message(b"a", b"1")])
        killed = BoundedProducer(**named.producer(), transactional_id=f"{named.topic_prefix}g.m.0")
        killed.init_transactions()
        killed.begin_transaction()
        killed.send_all([Routed(real, 0, b"k", b"half")], seconds=5.0)
        killed.destroy()

        with closing(log.consumer(["events"], group="g")) as reader:
            (record,) = poll_until(reader, 1)
            output = Output("rewards", b"k", b"whole")
            reader.commit({record.partition: record.offset + 1}, outputs=[output])

        with closing(log.consumer(["rewards"], group=None)) as reader:
            assert [found.value for found in poll_until(reader, 1)] == [b"whole"]


def test_an_open_transaction_hides_what_comes_after_it_from_the_end_offset(
    settings: Settings, log: KafkaLog
) -> None:
    real = settings().topic_prefix + "rewards"
    log.append("rewards", [Message(b"k", b"before")])
    other = BoundedProducer(**settings().producer(), transactional_id=real)
    other.init_transactions()
    other.begin_transaction()
    other.send_all([Routed(real, 0, b"k", b"open")], seconds=5.0)

    log.append("rewards", [Message(b"k", b"after")])

    assert log.end_offsets("rewards") == {Partition("rewards", 0): 1}
    other.commit_within(seconds=5.0)
    other.destroy()
    assert log.end_offsets("rewards") == {Partition("rewards", 0): 3}


def test_a_broker_killed_and_started_again_loses_and_doubles_nothing(tmp_path: Path) -> None:
    broker = new_kafka_broker(tmp_path)
    broker.start()
    settings = KafkaSettings(
        broker.bootstrap_servers,
        member="m",
        timeout_seconds=2.0,
        session_timeout_seconds=2.0,
    )
    with closing(KafkaLog(settings)) as log:
        log.ensure_topics()
        log.append("events", [Message(b"%d" % n, b"%d" % n) for n in range(100)])
        reader = log.consumer(["events"], group="g")
        first = poll_until(reader, 100)

        broker.kill()
        with pytest.raises(LogUnavailable):
            log.append("events", [Message(b"x", b"lost or not")])
        with pytest.raises(LogUnavailable):
            copy(reader, first)
        broker.start()

        copied: list[Record] = []
        while len(copied) < 100:
            # Not yet back: what was read and not committed comes again.
            with suppress(LogUnavailable):
                if records := reader.poll(max_records=500, timeout_seconds=0.5):
                    copy(reader, records)
                    copied += records
        reader.close()

        with closing(log.consumer(["rewards"], group=None)) as results:
            outputs = Counter(record.value for record in poll_until(results, 100))
    broker.stop()
    assert all(outputs[b"%d" % n] == 1 for n in range(100))


def copy(reader: Consumer, records: "list[Record] | tuple[Record, ...]") -> None:
    reader.commit(
        {record.partition: record.offset + 1 for record in records},
        outputs=[Output("rewards", record.key, record.value) for record in records],
        state=[StateChange(records[0].partition, b"last", records[-1].value)],
    )
