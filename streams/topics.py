"""Every topic, declared in one place."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic's declaration.

    Attributes:
        partitions: on Kafka; the local log has one partition each unless told otherwise.
        kept: False: records are dropped after the retention time; True: never.
        compacted: True: only the last record of a key is kept.
    """

    name: str
    partitions: int = 1
    kept: bool = False
    compacted: bool = False


EVENTS: Final = Topic("events", partitions=4)
DEAD: Final = Topic("events.dead")
INBOX: Final = Topic("inbox", partitions=4)
REWARDS: Final = Topic("rewards")
POLICIES: Final = Topic("policies")
# Rows are the order of first appearance, so this topic is neither compacted nor trimmed.
PRODUCTS: Final = Topic("products", kept=True)
AGGREGATE_STATE: Final = Topic("aggregate.state", partitions=4, kept=True, compacted=True)
TOPICS: Final = (EVENTS, DEAD, INBOX, REWARDS, POLICIES, PRODUCTS, AGGREGATE_STATE)
