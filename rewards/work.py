"""The work on one owned partition since the last commit: records in, outputs and state out."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Final, NamedTuple

from rewards.settlement import Keyed, PartitionRewards
from rewards.specification import RewardSpecification
from schemas import codec
from schemas.errors import SchemaError, UnknownSchemaVersion
from schemas.events import Event, Recommended, Tick
from schemas.identity import ROUTING_KEY_BYTES, split_recommendation_id
from streams.dead_letters import bury
from streams.port import Output, Partition, Record, StateChange
from streams.topics import REWARDS

READER: Final = "aggregate"
Tally = defaultdict[tuple[str, ...], float]
"""Amounts for the metrics by family and labels."""


class Finished(NamedTuple):
    """What one commit makes durable for a partition.

    Attributes:
        next_offset: of the first record that is not folded.
        outputs: rewards and dead letters, in the order of the records that caused them.
        state: changed state entries.
        tally: amounts for the metrics, see `AggregatorMetrics.committed`.
    """

    next_offset: int
    outputs: list[Output]
    state: list[StateChange]
    tally: Tally


class PartitionWork:
    """Folds the records of one partition and gathers what the next commit takes.

    Args:
        partition: of the topic `events`.
        specification: what events are worth.
        state: the partition's committed state.
        now_ms: the owner's clock; silence counts from here.
    """

    def __init__(
        self,
        partition: Partition,
        specification: RewardSpecification,
        state: Iterable[tuple[bytes, bytes]],
        now_ms: int,
    ) -> None:
        self.heard_at_ms = now_ms
        """When the owner last read a record of the partition, by its own clock."""
        self.position: int | None = None
        """The committed offset; None: this owner has read nothing so far."""
        self.rewards = PartitionRewards(specification)
        self.rewards.load(state)
        self._partition = partition
        self._next_offset: int | None = None
        self._outputs: list[Output] = []
        self._tally: Tally = defaultdict(float)

    def fold(self, record: Record) -> None:
        """Advance stream time, settle what is due, apply the record or bury it."""
        if self.position is None:
            self.position = record.offset
        self._next_offset = record.offset + 1
        if due := self.rewards.advance(record.appended_at_ms):
            self._emit(due)
        try:
            event = _readable(record)
        except SchemaError as problem:
            self._outputs.append(bury(record, str(problem), READER))
            self._tally["dead_letters", _fault(record, problem)] += 1
            return
        if isinstance(event, Tick):
            return
        if record.key is None or len(record.key) != ROUTING_KEY_BYTES:
            # It names nobody, so there is no banner it could reward.
            self._tally["events", _type(event), "unattributed"] += 1
            return
        outcome, rewards = self.rewards.apply(record.key, event, record.appended_at_ms)
        self._tally["events", _type(event), outcome] += 1
        if rewards:
            self._emit(rewards)

    def finish(self) -> Finished | None:
        """Return what the next commit takes and begin anew; None: nothing was read."""
        if self._next_offset is None:
            return None
        state = [StateChange(self._partition, *change) for change in self.rewards.changes()]
        finished = Finished(self._next_offset, self._outputs, state, self._tally)
        self.position = self._next_offset
        self._next_offset, self._outputs, self._tally = None, [], defaultdict(float)
        return finished

    def _emit(self, rewards: list[Keyed]) -> None:
        for key, reward in rewards:
            self._outputs.append(Output(REWARDS.name, key, codec.encode(reward)))
            kind, points = "correction" if reward.revision else "settlement", sum(reward.delta)
            change = "earned" if points >= 0 else "withdrawn"
            self._tally["rewards", kind, reward.arm] += 1
            self._tally["points", change, reward.arm] += abs(points)


def _readable(record: Record) -> Event:
    event = codec.decode_event(record.value)
    if isinstance(event, Recommended):
        # State entries are named after the id: no other form of it may come that far.
        _, key = split_recommendation_id(event.recommendation_id)
        if key != record.key:
            raise SchemaError("the message key is not the routing key of its recommendation_id")
    return event


def _type(event: Event) -> str:
    return str(event.__struct_config__.tag)


def _fault(record: Record, problem: SchemaError) -> str:
    """Return the label of a record that cannot be read: few values, no content."""
    if record.value is None:
        return "tombstone"
    if isinstance(problem, UnknownSchemaVersion):
        return "version"
    return "not_json" if str(problem).startswith("not JSON") else "schema"
