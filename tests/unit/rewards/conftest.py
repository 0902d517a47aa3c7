"""Builders of events with valid defaults, and the log in memory."""

from dataclasses import dataclass, field

import pytest

from rewards.settlement import PartitionRewards
from rewards.specification import RewardSpecification
from schemas import codec
from schemas.events import (
    Click,
    Impression,
    Line,
    Purchase,
    Rating,
    Recommended,
    Refund,
    UserErased,
)
from schemas.identity import ulid
from streams.errors import Fenced, LogUnavailable
from streams.port import Message, Partition, Record, partition_of
from streams.topics import TOPICS

T0 = 1_750_000_000_000
KEY = bytes.fromhex("00112233445566ff")
STRANGER = bytes.fromhex("ffffffffffffffff")


class Shop:
    """Events of one shopper (KEY) or, with `key`, of another."""

    T0, KEY, STRANGER = T0, KEY, STRANGER

    @staticmethod
    def rec(number=1, *, key=KEY, at=T0):
        return f"{ulid(at, number.to_bytes(10, 'big'))}-{key.hex()}"

    @classmethod
    def recommended(cls, number=1, *, at=T0, key=KEY, products=("a", "b", "c"), **changes):
        rec = changes.pop("rec", cls.rec(number, key=key))
        size = len(products)
        return Recommended(
            **{
                "event_id": rec,
                "recommendation_id": rec,
                "occurred_at_ms": at,
                "user_key": key,
                "unit": "u-1",
                "arm": "policy",
                "source": "policy",
                "trainable": True,
                "policy_version": 3,
                "catalogue_version": 7,
                "viewed_row": 4,
                "history": b"history",
                "candidates": b"candidates",
                "product_ids": tuple(products),
                "rows": tuple(range(size)),
                "log_probs": (-1.0,) * size,
                **changes,
            }
        )

    @classmethod
    def _reported(cls, kind, event_id, rec, at, changes):
        facts = {"event_id": event_id, "occurred_at_ms": at, "received_at_ms": at}
        return kind(**{**facts, "recommendation_id": rec, **changes})

    @classmethod
    def click(cls, product="a", *, rec, event_id="click", at=T0, **changes):
        return cls._reported(Click, event_id, rec, at, {"product_id": product, **changes})

    @classmethod
    def impression(cls, *, rec, event_id="impression", at=T0, **changes):
        return cls._reported(Impression, event_id, rec, at, changes)

    @classmethod
    def purchase(cls, *products, rec=None, event_id="purchase", at=T0, **changes):
        lines = tuple(Line(product_id=product) for product in products)
        facts = {"user_key": KEY, "lines": lines, **changes}
        return cls._reported(Purchase, event_id, rec, at, facts)

    @classmethod
    def refund(cls, *products, rec=None, event_id="refund", at=T0, **changes):
        lines = tuple(Line(product_id=product) for product in products)
        facts = {"user_key": KEY, "lines": lines, **changes}
        return cls._reported(Refund, event_id, rec, at, facts)

    @classmethod
    def rating(cls, value, *, rec, event_id="rating", source="judge", at=T0, **changes):
        facts = {"source": source, "value": value, **changes}
        return cls._reported(Rating, event_id, rec, at, facts)

    @staticmethod
    def erased(*, key=KEY, event_id="erased", at=T0):
        return UserErased(event_id=event_id, occurred_at_ms=at, user_key=key)

    @staticmethod
    def message(event, key=KEY):
        return Message(key, codec.encode(event))


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
        kept = self.groups.setdefault(group, _Group())
        return MemoryConsumer(self, kept, owned, on_assigned, on_revoked)

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
    def __init__(self, log, kept, owned, on_assigned, on_revoked):
        self.log, self.kept = log, kept
        self.on_assigned, self.on_revoked = on_assigned, on_revoked
        self.all = frozenset(owned)
        self.positions = None
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


@pytest.fixture(scope="session")
def shop():
    return Shop


@pytest.fixture(scope="session")
def memory_log():
    return MemoryLog


@pytest.fixture(scope="session")
def standing_clock():
    return Clock


class Story:
    """Tells a fold what happened at which second, and keeps what it said."""

    def __init__(self, specification=None, key=KEY):
        self.specification = specification or RewardSpecification()
        self.fold = PartitionRewards(self.specification)
        self.key = key
        self.rewards = []
        self.outcomes = []
        self.kept = {}

    def at(self, seconds, *events):
        ms = T0 + round(1_000 * seconds)
        self.rewards += [keyed.reward for keyed in self.fold.advance(ms)]
        for event in events:
            outcome, rewards = self.fold.apply(self.key, event, ms)
            self.outcomes.append(outcome)
            self.rewards += [keyed.reward for keyed in rewards]
        return self

    def revisions(self):
        """Return (number of the banner, revision, points) of every reward so far."""
        return [(each.recommendation_id[25], each.revision, each.points) for each in self.rewards]

    def reload(self):
        """Keep the state, lose everything else."""
        self.kept.update(self.fold.changes())
        self.fold = PartitionRewards(self.specification)
        self.fold.load((name, value) for name, value in self.kept.items() if value is not None)
        return self


@pytest.fixture(scope="session")
def story():
    return Story
