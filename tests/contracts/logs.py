"""One log that several processes can open, and how tests read it."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from streams.port import Consumer, Log, Partition, Record
from tests.contracts import log_processes
from tests.contracts.log_processes import open_log
from tests.servers import REPOSITORY

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


def everything(log: Log, topic: str, *, at_least: int = 0) -> list[Record]:
    """Return all readable records of a topic.

    Args:
        at_least: wait for so many. A Kafka transaction is decided when `commit` returns; its
            markers, and with them what it wrote, may be there a moment later.
    """
    ends = log.end_offsets(topic)
    positions = dict(log.start_offsets(topic))
    records: list[Record] = []
    with closing(log.consumer([topic], group=None)) as reader:
        for _ in range(TRIES):
            if positions == ends:
                if len(records) >= at_least:
                    return records
                ends = log.end_offsets(topic)
            for record in reader.poll(max_records=500, timeout_seconds=0.2):
                records.append(record)
                positions[record.partition] = record.offset + 1
    raise AssertionError(f"read up to {positions} of {ends}")


def next_offsets(records: Sequence[Record]) -> dict[Partition, int]:
    return {record.partition: record.offset + 1 for record in records}
