"""A group's state on Kafka: read again from a copy and what came after, or from all that there is.

Every test reads the state with a copy and without one, and both must agree.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, TopicPartition
from structlog.testing import capture_logs

from streams.errors import Fenced
from streams.kafka import KafkaLog
from streams.port import Consumer, Message, Partition, StateChange, partition_of
from tests.contracts.logs import own_all
from tests.integration.conftest import OpenLog
from tests.servers import KafkaBroker

KEY = b"a"
MINE = Partition("events", partition_of(KEY, 4))
HALF_A_DAY_MS = 12 * 3_600_000


@pytest.fixture
def keep(open_kafka: OpenLog) -> Callable[..., None]:
    """Commit changes of state as a process that then ends."""

    def commit(changes: Mapping[bytes, bytes | None], **how: Any) -> None:
        log = open_kafka(**how)
        log.append("events", [Message(KEY, b"1")])
        with closing(log.consumer(["events"], group="g")) as member:
            own_all(log, member)
            list(member.load_state(MINE))
            write(member, changes)

    return commit


def write(member: Consumer, changes: Mapping[bytes, bytes | None]) -> None:
    member.commit({MINE: 1}, state=[StateChange(MINE, *change) for change in changes.items()])


def loaded(log: KafkaLog, member: Consumer) -> tuple[dict[bytes, bytes], int, int]:
    """Return the state, how many entries the copy gave, and how many offsets were read after."""
    own_all(log, member)
    with capture_logs() as said:
        state = dict(member.load_state(MINE))
    told = next(each for each in said if each["event"] == "state_loaded")
    return state, told["from_copy"], told["changelog_offsets"]


@pytest.fixture
def restarted(open_kafka: OpenLog) -> Callable[..., tuple[dict[bytes, bytes], int, int]]:
    """Start again; the state must be what a process without a copy reads."""

    def start(**how: Any) -> tuple[dict[bytes, bytes], int, int]:
        log = open_kafka(**how)
        with closing(log.consumer(["events"], group="g")) as member:
            found = loaded(log, member)
        without = open_kafka(folder=None)
        with closing(without.consumer(["events"], group="g")) as member:
            own_all(without, member)
            assert dict(member.load_state(MINE)) == found[0]
        return found

    return start


def test_a_restart_reads_nothing_of_the_changelog_again(
    keep: Callable[..., None], restarted: Callable[..., Any]
) -> None:
    keep({b"a": b"1", b"b": b"2"})
    keep({b"b": None, b"c": b"3"})

    state, from_copy, offsets = restarted()

    assert state == {b"a": b"1", b"c": b"3"}
    assert from_copy == 2
    assert offsets <= 1  # the transaction's own marker


def test_what_another_process_committed_meanwhile_is_read_after_the_copy(
    keep: Callable[..., None], restarted: Callable[..., Any]
) -> None:
    keep({b"a": b"1", b"b": b"2", b"gone": b"x"})
    keep({b"b": b"new", b"gone": None}, folder="of another machine")

    state, from_copy, offsets = restarted()

    assert state == {b"a": b"1", b"b": b"new"}
    assert from_copy == 3
    assert 2 <= offsets <= 4


def test_a_commit_that_failed_is_not_in_the_copy(open_kafka: OpenLog, restarted: Any) -> None:
    log = open_kafka(member="m")
    log.append("events", [Message(KEY, b"1")])
    with closing(log.consumer(["events"], group="g")) as member:
        own_all(log, member)
        list(member.load_state(MINE))
        write(member, {b"a": b"1"})
        namesake = open_kafka(member="m", folder="of another machine")
        # It ends this one's transactions, so the next commit is refused.
        namesake.consumer(["events"], group="g").close()
        with pytest.raises(Fenced, match=r"g\.m\.0"):
            write(member, {b"a": b"never", b"b": b"never"})

    assert restarted()[0] == {b"a": b"1"}


def test_a_copy_older_than_half_the_life_of_tombstones_is_made_anew(
    keep: Callable[..., None], restarted: Callable[..., Any]
) -> None:
    then = 1_750_000_000_000
    keep({b"a": b"1"}, clock=lambda: then)

    assert restarted(clock=lambda: then + HALF_A_DAY_MS)[1] == 1
    # The restart before has read to the end, so the copy counts from there.
    later = then + 2 * HALF_A_DAY_MS
    assert restarted(clock=lambda: later + 1)[:2] == ({b"a": b"1"}, 0)
    # A clock that went back tells nothing about the age.
    assert restarted(clock=lambda: then)[1] == 0


def test_a_copy_of_a_topic_that_was_made_anew_is_not_used(
    keep: Callable[..., None], restarted: Callable[..., Any], kafka_broker: KafkaBroker,
    open_kafka: OpenLog,
) -> None:  # fmt: skip
    keep({b"a": b"of the old topic"})
    real = open_kafka()._cluster.real("aggregate.state")
    with closing(KafkaAdminClient(bootstrap_servers=kafka_broker.bootstrap_servers)) as admin:
        admin.delete_topics([real])
    keep({b"%d" % number: b"of the new one" for number in range(9)}, folder="elsewhere")

    state, from_copy, _ = restarted()

    assert from_copy == 0
    assert b"a" not in state


def test_a_copy_that_ends_before_the_log_begins_is_not_used(
    keep: Callable[..., None], restarted: Callable[..., Any], kafka_broker: KafkaBroker,
    open_kafka: OpenLog,
) -> None:  # fmt: skip
    keep({b"a": b"1"})
    keep({b"b": b"2"}, folder="elsewhere")
    log = open_kafka()
    changelog = TopicPartition(log._cluster.real("aggregate.state"), MINE.number)
    with closing(KafkaAdminClient(bootstrap_servers=kafka_broker.bootstrap_servers)) as admin:
        # Refused for a topic that is only compacted; its operator may alter that.
        admin.alter_configs([resource(changelog.topic, "cleanup.policy", "compact,delete")])
        admin.delete_records({changelog: log._cluster.highest(changelog)})
        admin.alter_configs([resource(changelog.topic, "cleanup.policy", "compact")])

    assert restarted()[:2] == ({}, 0)


def resource(topic: str, name: str, value: str) -> Any:
    from kafka.admin import ConfigResource, ConfigResourceType

    return ConfigResource(ConfigResourceType.TOPIC, topic, {name: value})


@pytest.fixture
def copies(tmp_path: Path) -> Callable[[], Iterator[Path]]:
    return lambda: (tmp_path / "state").rglob("*.db")


def test_a_damaged_copy_is_thrown_away(
    keep: Callable[..., None], restarted: Callable[..., Any], copies: Callable[[], Iterator[Path]]
) -> None:
    keep({b"a": b"1"})
    for path in copies():
        path.write_bytes(b"\xff" * 5_000)

    assert restarted()[:2] == ({b"a": b"1"}, 0)
    assert restarted()[:2] == ({b"a": b"1"}, 1)


def test_where_no_copy_can_be_kept_the_changelog_is_read_each_time(
    keep: Callable[..., None], tmp_path: Path, open_kafka: OpenLog
) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    keep({b"a": b"1"})
    keep({b"b": b"2"})

    log = open_kafka()
    with closing(log.consumer(["events"], group="g")) as member:
        own_all(log, member)
        assert dict(member.load_state(MINE)) == {b"a": b"1", b"b": b"2"}
