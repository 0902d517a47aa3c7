"""Several members of one group: they share, one is restarted, one is replaced by its namesake."""

import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from streams.errors import LogError, NameTaken
from streams.kafka import KafkaLog
from streams.port import Consumer, Message, Partition, StateChange
from tests.contracts.logs import TRIES
from tests.integration.conftest import OpenLog

ALL = frozenset(Partition("events", number) for number in range(4))


class Member:
    """A reader that remembers what it was told of its partitions."""

    def __init__(self, log: KafkaLog) -> None:
        self.told: list[tuple[str, frozenset[Partition]]] = []
        self.reader: Consumer = log.consumer(
            ["events"],
            group="g",
            on_assigned=lambda some: self.told.append(("won", some)),
            on_revoked=lambda some: self.told.append(("lost", some)),
        )

    def poll(self) -> None:
        self.reader.poll(max_records=100, timeout_seconds=0.1)


def poll_until(is_so: Callable[[], bool], *members: Member) -> None:
    for _ in range(TRIES):
        for member in members:
            member.poll()
        if is_so():
            return
    raise AssertionError([member.reader.assignment() for member in members])


def poll_on(member: Member) -> None:
    for _ in range(TRIES):
        member.poll()


def shared(members: list[Member]) -> bool:
    owned = [member.reader.assignment() for member in members]
    assert sum(map(len, owned)) == len(frozenset().union(*owned))
    return frozenset().union(*owned) == ALL and all(owned)


def test_three_members_share_four_partitions_and_a_newcomer_takes_only_what_it_gets(
    open_kafka: OpenLog,
) -> None:
    logs = [open_kafka(folder=f"state-{number}") for number in range(3)]
    members = [Member(log) for log in logs[:2]]
    poll_until(lambda: shared(members), *members)
    before = [member.reader.assignment() for member in members]
    for member in members:
        member.told.clear()

    members.append(Member(logs[2]))
    poll_until(lambda: shared(members), *members)

    for member, owned in zip(members, before, strict=False):
        assert member.reader.assignment() < owned or member.reader.assignment() == owned
        lost = [some for what, some in member.told if what == "lost"]
        assert frozenset().union(*lost) == owned - member.reader.assignment()
    for member in members:
        member.reader.close()


def test_a_member_restarted_under_its_name_has_its_partitions_again_and_nobody_is_disturbed(
    open_kafka: OpenLog,
) -> None:
    names = {"session_timeout_seconds": 20.0, "static": True}
    first, second = (open_kafka(member=name, folder=name, **names) for name in ("a", "b"))
    members = [Member(first), Member(second)]
    poll_until(lambda: shared(members), *members)
    owned = members[0].reader.assignment()
    undisturbed = members[1].reader.assignment()
    members[1].told.clear()

    members[0].reader.close()
    first.close()
    members[0] = Member(open_kafka(member="a", folder="a", **names))
    started = time.monotonic()
    poll_until(lambda: members[0].reader.assignment() == owned, *members)

    assert time.monotonic() - started < names["session_timeout_seconds"] / 2
    for _ in range(20):
        poll_until(lambda: shared(members), *members)
    assert members[1].told == []
    assert members[1].reader.assignment() == undisturbed
    for member in members:
        member.reader.close()


def test_of_two_living_processes_with_one_name_the_older_says_so_and_ends(
    open_kafka: OpenLog,
) -> None:
    older, newer = (open_kafka(member="m", folder=each, static=True) for each in ("a", "b"))
    member = Member(older)
    poll_until(lambda: member.reader.assignment() == ALL, member)
    for _ in range(15):  # until it has asked who bears its name
        member.poll()

    namesake = Member(newer)
    poll_until(lambda: namesake.reader.assignment() == ALL, namesake)

    with pytest.raises(NameTaken, match=r"g\.m\.0.*QUINTET_MEMBER"):
        poll_on(member)
    for _ in range(30):
        namesake.poll()
    assert namesake.reader.assignment() == ALL
    for each in (member, namesake):
        each.reader.close()


def test_the_older_of_two_namesakes_commits_nothing_any_more(open_kafka: OpenLog) -> None:
    older, newer = (open_kafka(member="m", folder=each, static=True) for each in ("a", "b"))
    older.append("events", [Message(b"a", b"1")])
    member = Member(older)
    poll_until(lambda: member.reader.assignment() == ALL, member)
    for _ in range(15):
        member.poll()
    partition = Partition("events", 0)
    namesake = Member(newer)
    poll_until(lambda: namesake.reader.assignment() == ALL, namesake)

    with suppress(LogError):
        member.reader.commit({partition: 1}, state=[StateChange(partition, b"k", b"older")])
    with pytest.raises(NameTaken):
        poll_on(member)
    namesake.reader.commit({partition: 1}, state=[StateChange(partition, b"k", b"newer")])

    assert dict(namesake.reader.load_state(partition)) == {b"k": b"newer"}
    for each in (member, namesake):
        each.reader.close()


def test_a_member_whose_polls_are_shorter_than_a_join_joins_all_the_same(
    open_kafka: OpenLog,
) -> None:
    log = open_kafka(folder=None)
    for number in range(8):
        reader = log.consumer(["events"], group=f"impatient-{number}")
        ends = time.monotonic() + 20.0
        while reader.assignment() != ALL:
            reader.poll(max_records=1, timeout_seconds=0.005)
            assert time.monotonic() < ends, f"member {number} never joined"
        reader.close()
