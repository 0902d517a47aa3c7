"""Processes the log's contract suite starts, kills and stops; and how they open its logs."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from streams.errors import Fenced
from streams.port import Consumer, Log, Message, Output, Partition, Record, StateChange

POLL_SECONDS = 0.2


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def open_log(description: str, clock: Callable[[], int] = now_ms) -> Log:
    """Open the log a test has described."""
    found = json.loads(description)
    # Each adapter is imported where it is used: these processes are started many times.
    if found["adapter"] == "local":
        from streams.local import LocalLog

        count = found["partitions"]
        topics = ("events", "inbox", "aggregate.state")
        return LocalLog(Path(found["path"]), clock=clock, partitions=dict.fromkeys(topics, count))
    if found["adapter"] == "spooled":
        from streams.spooled import Spool, SpooledLog

        under = open_log(json.dumps(found | {"adapter": "local"}), clock)
        spool = Spool(Path(found["path"]).with_name("spool"), limit_bytes=10**6)
        spooled = SpooledLog(under, spool)
        spooled.start()
        return spooled
    from streams.kafka import KafkaLog, KafkaSettings, StateFolder

    return KafkaLog(
        KafkaSettings(
            found["bootstrap_servers"],
            topic_prefix=found["prefix"],
            session_timeout_seconds=2.0,
            transaction_timeout_seconds=5.0,
        ),
        state_folder=StateFolder(Path(found["state"]), now_ms),
    )


def message(number: int) -> Message:
    return Message(b"key-%d" % (number % 13), b"value-%d" % number)


class Copier:
    """Copies `events` to `rewards` and counts what it copied, partition by partition."""

    def __init__(self, log: Log) -> None:
        self.counts: dict[Partition, int] = {}
        self.consumer: Consumer = log.consumer(
            ["events"], group="copiers", on_assigned=self.read, on_revoked=self.forget
        )

    def read(self, partitions: frozenset[Partition]) -> None:
        for partition in partitions:
            state = dict(self.consumer.load_state(partition))
            self.counts[partition] = int(state.get(b"count", b"0"))

    def forget(self, partitions: frozenset[Partition]) -> None:
        for partition in partitions:
            del self.counts[partition]

    def take(self) -> list[Record]:
        """Return the next few records, which are not copied yet."""
        return list(self.consumer.poll(max_records=7, timeout_seconds=POLL_SECONDS))

    def copy(self, records: list[Record]) -> None:
        offsets = {record.partition: record.offset + 1 for record in records}
        for record in records:
            self.counts[record.partition] += 1
        self.consumer.commit(
            offsets,
            outputs=[Output("rewards", record.key, record.value) for record in records],
            state=[StateChange(p, b"count", b"%d" % self.counts[p]) for p in offsets],
        )


def append_for_ever(log: Log) -> None:
    number = 0
    while True:
        log.append("events", [message(n) for n in range(number, number + 10)])
        number += 10
        say(number)


def copy_for_ever(log: Log) -> None:
    copier = Copier(log)
    while True:
        if records := copier.take():
            copier.copy(records)
            say(len(records))


def own_for_ever(log: Log) -> None:
    copier = Copier(log)
    while True:
        copier.take()
        if copier.consumer.assignment():
            say(len(copier.consumer.assignment()))


def copy_when_told(log: Log) -> None:
    """Take records, wait to be told, then copy them: too late, if somebody else has them now."""
    copier = Copier(log)
    while not (records := copier.take()):
        pass
    say(len(records))
    sys.stdin.readline()
    try:
        copier.copy(records)
    except Fenced:
        say("fenced")


def say(what: object) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


PROGRAMS: dict[str, Callable[[Log], None]] = {
    program.__name__: program
    for program in (append_for_ever, copy_for_ever, own_for_ever, copy_when_told)
}

if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    PROGRAMS[sys.argv[1]](open_log(sys.argv[2]))
