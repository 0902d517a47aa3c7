"""The log in memory and a clock that stands still, for tests that need neither disk nor time."""

from dataclasses import dataclass, field

from schemas import codec
from streams.errors import Fenced, LogUnavailable
from streams.port import Message, Partition, Record, partition_of
from streams.topics import TOPICS

T0 = 1_750_000_000_000


@dataclass
class _Group:
    offsets: dict = field(default_factory=dict)
    state: dict = field(default_factory=dict)
    owner: object = None


class MemoryLog:
    """The log's port in memory: the newest consumer of a group owns it, the older are fenced.

    `commit_fault` makes the next commit raise LogUnavailable, "before" or "after" it happened.
    """

    def __init__(self, clock, partitions=None):
        declared = {topic.name: 1 for topic in TOPICS} | dict(partitions or {})
        self.clock = clock
        self.counts = declared
        self.records = {
            Partition(topic, n): [] for topic, many in declared.items() for n in range(many)
        }
        self.groups = {}
        self.commit_fault = None
        self.append_fault = False

    def append(self, topic, messages):
        if self.append_fault:
            raise LogUnavailable("switched off")
        for key, value in messages:
            partition = Partition(topic, partition_of(key, self.counts[topic]))
            there = self.records[partition]
            last = there[-1].appended_at_ms if there else 0
            there.append(Record(partition, len(there), max(last, self.clock()), key, value))

    def consumer(self, topics, *, group, on_assigned=None, on_revoked=None):
        owned = [partition for partition in self.records if partition.topic in topics]
        kept = _Group() if group is None else self.groups.setdefault(group, _Group())
        return MemoryConsumer(self, kept, owned, on_assigned, on_revoked, alone=group is None)

    def partitions(self, topic):
        return self.counts[topic]

    def end_offsets(self, topic):
        return {p: len(there) for p, there in self.records.items() if p.topic == topic}

    def start_offsets(self, topic):
        return {p: 0 for p in self.records if p.topic == topic}

    def close(self):
        pass

    def table(self, topic="rewards"):
        """Return (key, value) of every record of a topic, in order."""
        return [
            (record.key, record.value)
            for partition, there in self.records.items()
            if partition.topic == topic
            for record in there
        ]

    def rewards(self):
        return [codec.decode_reward(value) for _, value in self.table()]


class MemoryConsumer:
    def __init__(self, log, kept, owned, on_assigned, on_revoked, *, alone):
        self.log, self.kept = log, kept
        self.on_assigned, self.on_revoked = on_assigned, on_revoked
        self.all = frozenset(owned)
        self.positions = dict.fromkeys(sorted(owned), 0) if alone else None
        kept.owner = self

    def poll(self, *, max_records, timeout_seconds):
        if self.kept.owner is not self:
            if self.positions:
                lost, self.positions = frozenset(self.positions), {}
                self.on_revoked(lost)
            return []
        if self.positions is None:
            self.positions = {p: self.kept.offsets.get(p, 0) for p in sorted(self.all)}
            (self.on_assigned or set)(self.all)
        records = []
        for partition, position in self.positions.items():
            found = self.log.records[partition][position : position + max_records - len(records)]
            self.positions[partition] += len(found)
            records += found
        return records

    def assignment(self):
        return frozenset(self.positions or {})

    def seek(self, partition, offset):
        self.positions[partition] = offset

    def commit(self, offsets, *, outputs=(), state=()):
        if self.kept.owner is not self:
            raise Fenced("another owner")
        fault, self.log.commit_fault = self.log.commit_fault, None
        if fault == "before":
            raise LogUnavailable("before")
        for output in outputs:
            self.log.append(output.topic, [Message(output.key, output.value)])
        self.kept.offsets.update(offsets)
        for change in state:
            if change.value is None:
                self.kept.state.pop((change.partition, change.key), None)
            else:
                self.kept.state[change.partition, change.key] = change.value
        if fault == "after":
            raise LogUnavailable("after")

    def load_state(self, partition):
        for (where, key), value in list(self.kept.state.items()):
            if where == partition:
                yield key, value

    def close(self):
        if self.kept.owner is self:
            self.kept.owner = None


class Clock:
    """A clock that stands still until it is moved; milliseconds since 1970."""

    def __init__(self, now=T0):
        self.now = now

    def __call__(self):
        return self.now
