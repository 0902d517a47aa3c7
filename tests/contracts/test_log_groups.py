"""What every log promises to groups: commits, state, and one owner a partition."""

from contextlib import closing

import pytest

from streams.errors import Fenced, LogError, TopicMismatch
from streams.port import Log, Message, Output, Partition, StateChange, partition_of
from tests.contracts.log_processes import Copier, message
from tests.contracts.logs import TRIES, everything, next_offsets, own_all, poll_until


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

    assert sorted(r.value or b"" for r in everything(log, "rewards", at_least=20)) == sorted(
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
    for _ in range(TRIES):
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
