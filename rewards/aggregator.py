"""The loop around the rewards: read, fold, commit offsets, rewards and state together.

The order of a commit, on every log:
    1. poll      records of the owned partitions; what was lost is dropped, what was won is loaded
    2. fold      stream time advances, what is due settles, the record is applied (`settlement.py`)
    3. produce   rewards, dead letters and changed state, until each is acknowledged
    4. offsets   of the next records, by which the log checks that this is still their owner
    5. commit    3 and 4 become visible together, or none of them does
    6. copy      this machine's copy of the state follows; metrics move
On Kafka 3 to 5 are one transaction, begun every 100 ms; on the local log one of SQLite.

When the log refuses (fenced, unavailable) everything since the last commit is dropped, a new
consumer is made, with a new producer under the same transactional id, and state is loaded again: so
no reward is lost or made twice. Readers of `rewards` count (recommendation_id, revision) once all
the same, since nothing keeps an operator from appending a record again.
"""

import logging
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Final, Literal

import structlog
from prometheus_client import CollectorRegistry

from rewards.metrics import AggregatorMetrics
from rewards.specification import RewardSpecification
from rewards.work import PartitionWork
from schemas import codec
from schemas.events import Tick
from schemas.identity import ROUTING_KEY_BYTES
from streams.errors import Fenced, LogError, LogUnavailable
from streams.port import Consumer, Log, Message, Output, Partition, Record, partition_of
from streams.topics import EVENTS, REWARDS

log = structlog.get_logger(__name__)

GROUP: Final = "aggregate"
Clock = Callable[[], int]
CrashPoint = Literal["after_poll", "before_commit", "after_commit"]


@dataclass(frozen=True, slots=True)
class Pace:
    """How the loop paces itself; rewards do not depend on it.

    Attributes:
        poll_records: most records of one poll.
        poll_seconds: how long one poll waits.
        commit_records: a commit is made when so many records wait for one,
        commit_ms: or when the first of them waits so long, or when nothing more is there.
        silence_ms: a partition with unsettled banners that is silent for so long gets a tick.
        lag_ms: how often the lag is looked up.
        retry_seconds: longest wait before the log is tried again.
    """

    poll_records: int = 1_000
    poll_seconds: float = 0.05
    commit_records: int = 2_000
    commit_ms: int = 100
    silence_ms: int = 1_000
    lag_ms: int = 5_000
    retry_seconds: float = 5.0


class Aggregator:
    """Follows the log `events` and appends to `rewards`.

    Any number may run on a log with several partitions; each owns some.

    Args:
        event_log: read, appended to (ticks) and committed to.
        specification: what events are worth.
        clock: milliseconds since 1970; decides when to commit and to tick, never a reward.
        registry: for the metrics; None: one of its own.
        crash_point: called at the named points; tests kill there.
        pace: see `Pace`.
    """

    def __init__(
        self,
        event_log: Log,
        specification: RewardSpecification,
        *,
        clock: Clock,
        registry: CollectorRegistry | None = None,
        crash_point: Callable[[CrashPoint], None] = lambda _: None,
        pace: Pace | None = None,
    ) -> None:
        self.metrics = AggregatorMetrics(registry or CollectorRegistry())
        self._log = event_log
        self._specification = specification
        self._clock = clock
        self._crash_point = crash_point
        self._pace = pace or Pace()
        self._consumer: Consumer | None = None
        self._owned: dict[Partition, PartitionWork] = {}
        self._won: set[Partition] = set()
        self._waiting_records = 0
        self._waiting_since_ms = 0
        self._lag_due_ms = 0
        self._failures = 0

    def step(self) -> int:
        """Read once, fold, commit when it is time; return how many records were read.

        A log that refuses is no error: what was not committed is dropped and begun again.
        """
        try:
            records = self._step()
        except (Fenced, LogUnavailable) as problem:
            self._begin_again(problem)
            return 0
        self._failures = 0
        return records

    def run(self, stop: threading.Event) -> None:
        """Step until `stop` is set, then commit what is folded and give the partitions back."""
        while not stop.is_set():
            self.step()
            if self._failures:
                stop.wait(min(self._pace.retry_seconds, 0.05 * 2.0 ** min(self._failures, 10)))
        self.close()

    def close(self) -> None:
        """Commit what is folded and give the partitions back."""
        try:
            self._commit()
        except (Fenced, LogUnavailable) as problem:
            log.warning("aggregate_last_commit_refused", problem=str(problem))
        self._drop()

    def _step(self) -> int:
        records = self._poll()
        if records and not self._waiting_records:
            self._waiting_since_ms = self._clock()
        for partition in {record.partition for record in records}:
            work = self._owned[partition]
            work.heard_at_ms = self._clock()
            if work.position is None:
                self._lag_due_ms = 0
        for record in records:
            self._owned[record.partition].fold(record)
        self._waiting_records += len(records)
        # Before the commit: where that fails, the lag is what tells.
        self._look_up_lag()
        if self._commit_is_due(len(records)):
            self._commit()
        self._tick_silent_partitions()
        return len(records)

    def _poll(self) -> list[Record]:
        if self._consumer is None:
            self._consumer = self._log.consumer(
                [EVENTS.name], group=GROUP, on_assigned=self._win, on_revoked=self._lose
            )
        records = self._consumer.poll(
            max_records=self._pace.poll_records, timeout_seconds=self._pace.poll_seconds
        )
        self._crash_point("after_poll")
        for partition in sorted(self._won):
            state = self._consumer.load_state(partition)
            self._owned[partition] = PartitionWork(
                partition, self._specification, state, self._clock()
            )
            log.info("aggregate_partition_owned", partition=partition.number)
        if self._won:
            self._won.clear()
            self._observe()
        return [record for record in records if record.partition in self._owned]

    def _win(self, partitions: frozenset[Partition]) -> None:
        self._won |= partitions

    def _lose(self, partitions: frozenset[Partition]) -> None:
        self._won -= partitions
        for partition in partitions:
            self._owned.pop(partition, None)
        self._observe()
        self._lag_due_ms = 0

    def _commit_is_due(self, just_read: int) -> bool:
        return self._waiting_records > 0 and (
            not just_read
            or self._waiting_records >= self._pace.commit_records
            or not 0 <= self._clock() - self._waiting_since_ms < self._pace.commit_ms
        )

    def _commit(self) -> None:
        finished = {
            partition: done
            for partition, work in sorted(self._owned.items())
            if (done := work.finish()) is not None
        }
        self._waiting_records = 0
        if not finished or self._consumer is None:
            return
        self._crash_point("before_commit")
        self._consumer.commit(
            {partition: done.next_offset for partition, done in finished.items()},
            outputs=[output for done in finished.values() for output in done.outputs],
            state=[change for done in finished.values() for change in done.state],
        )
        self._crash_point("after_commit")
        for done in finished.values():
            self.metrics.committed(done.tally)
        if log.is_enabled_for(logging.DEBUG):
            _tell(output for done in finished.values() for output in done.outputs)
        self._observe()

    def _observe(self) -> None:
        self.metrics.observe(
            {partition.number: work.rewards for partition, work in self._owned.items()}
        )

    def _tick_silent_partitions(self) -> None:
        """Append a tick where banners wait and nothing else moves stream time."""
        now_ms = self._clock()
        for partition, work in sorted(self._owned.items()):
            silent_ms = now_ms - work.heard_at_ms  # below 0: the clock went back
            if not work.rewards.unsettled or 0 <= silent_ms < self._pace.silence_ms:
                continue
            tick = Tick(event_id=f"tick-{partition.number}-{now_ms}", occurred_at_ms=now_ms)
            key = _key_into(partition.number, self._log.partitions(EVENTS.name))
            self._log.append(EVENTS.name, [Message(key, codec.encode(tick))])
            work.heard_at_ms = now_ms
            self.metrics.ticks.inc()

    def _look_up_lag(self) -> None:
        now_ms = self._clock()
        if 0 < self._lag_due_ms - now_ms <= self._pace.lag_ms:
            return
        self._lag_due_ms = now_ms + self._pace.lag_ms
        ends = self._log.end_offsets(EVENTS.name)
        self.metrics.lag.set(
            sum(
                ends[partition] - work.position
                for partition, work in self._owned.items()
                if work.position is not None
            )
        )

    def _begin_again(self, problem: LogError) -> None:
        self._failures += 1
        self.metrics.restarts.inc()
        log.warning("aggregate_begins_again", problem=str(problem), failures=self._failures)
        self._drop()

    def _drop(self) -> None:
        """Forget everything since the last commit."""
        self._owned.clear()
        self._won.clear()
        self._observe()
        # It stays in sight until the partitions are won again, or went elsewhere.
        self._lag_due_ms = self._clock() + self._pace.lag_ms
        self._waiting_records = 0
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with suppress(LogError):
                consumer.close()


def _tell(outputs: Iterable[Output]) -> None:
    """Log every reward of a commit, by the id under which its banner is known everywhere."""
    for output in outputs:
        if output.topic == REWARDS.name:
            reward = codec.decode_reward(output.value)
            log.debug(
                "banner_rewarded",
                recommendation_id=reward.recommendation_id,
                revision=reward.revision,
                points=reward.reward,
                policy_version=reward.policy_version,
            )


@cache
def _key_into(number: int, partitions: int) -> bytes:
    """Return a key that routes to a partition."""
    keys = (candidate.to_bytes(ROUTING_KEY_BYTES, "big") for candidate in count())
    return next(key for key in keys if partition_of(key, partitions) == number)
