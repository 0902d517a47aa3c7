"""Builders of events with valid defaults."""

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
from streams.port import Message
from tests.memory_log import T0, Clock, MemoryLog

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


@pytest.fixture(scope="session")
def shop():
    return Shop


@pytest.fixture(scope="session")
def memory_log():
    return MemoryLog


@pytest.fixture(scope="session")
def standing_clock():
    return Clock


@pytest.fixture
def clock(standing_clock):
    return standing_clock()


@pytest.fixture
def events(memory_log, clock):
    return memory_log(clock)


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
