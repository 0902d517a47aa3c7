"""Is every logged impression rewarded exactly once? Counted from the log itself.

A banner is *expected* to have a reward when its `recommended` stands in the log and it was seen
(not deferred, or confirmed inside the horizon by an impression, a click or a purchase of the same
shopper that names it), and either it has its reward or the settlement time has passed in the
stream time of its partition. Without one it is *lost* once a later banner of its partition has been
settled, and *waiting* until then: the aggregator is behind. It is *doubled* when it has more than
one revision 0.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from console.generations import Generations
from console.reading import read_to_end
from schemas.codec import decode_event, decode_reward
from schemas.errors import SchemaError
from schemas.events import Click, Event, Impression, Purchase, Recommended, ReportedEvent
from schemas.identity import fingerprint
from schemas.rewards import Reward
from streams.port import Log, Partition, Record
from streams.topics import EVENTS, REWARDS

LOGGED: Final = 1
SEEN: Final = 2
REWARDED: Final = 4
DOUBLED: Final = 8
_PARTITION: Final = 16
"""Flags carry 1 + the number of the banner's partition, times this; 0: not known."""
EXPECTED: Final = LOGGED | SEEN
_SEEN_WHOLE: Final = ""
"""Stands for an impression where a click or a purchase names its product."""
_IMPORTED: Final = "import"


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How many banners earned their reward once, never, too often, or not so far."""

    expected: int = 0
    lost: int = 0
    waiting: int = 0
    doubled: int = 0


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """What decides when a banner is overdue.

    Attributes:
        settlement_seconds: a banner without an earning event settles at zero after so long.
        grace_seconds: how long the aggregator may need beyond that before a banner counts as
            waiting; 0 for an audit after the aggregator has read everything.
        horizon_seconds: attribution window and lateness: nothing happens to an older banner.
    """

    settlement_seconds: int = 5
    grace_seconds: int = 0
    horizon_seconds: int = 86_400 + 3_600


@dataclass(slots=True)
class _Deferred:
    """A banner that waits for its confirmation, or confirmations that wait for their banner."""

    shown: frozenset[str] | None = None
    of_user: bool = False
    until_ms: int = 0
    said: list[tuple[str, bool, int]] = field(default_factory=list)
    """(product, by a stranger, append time)."""

    def confirmed(self) -> bool:
        """Whether somebody who may speak of this banner saw it."""
        return self.shown is not None and any(
            (product == _SEEN_WHOLE or product in self.shown)
            and not (stranger and self.of_user)
            and ms < self.until_ms
            for product, stranger, ms in self.said
        )


class Audit:
    """Follows `events` and `rewards`, whichever comes first.

    Memory: one dictionary entry (some 100 bytes) per banner of the last one to two horizons.
    """

    def __init__(self, settings: AuditSettings) -> None:
        self._settings = settings
        self._flags = Generations[int](settings.horizon_seconds * 1000)
        self._deferred = Generations[_Deferred](settings.horizon_seconds * 1000)
        self._due: dict[Partition, deque[tuple[int, int]]] = {}
        self._overdue: dict[int, tuple[int, int]] = {}
        """(partition, when its settlement was due) of banners without a reward."""
        self._settled_until_ms: dict[int, int] = {}
        """Stream time of the aggregator in each partition, as far as its rewards tell."""
        self._met = 0
        self._doubled = 0
        self._read_until_ms: dict[Partition | str, int] = {}

    def _reading(self, source: Partition | str, ms: int) -> None:
        """Let time pass only as far as everything has been read.

        A reader that catches up reads days of one topic before it sees the other; what it has read
        of one must not be forgotten before the same days of the other have come.
        """
        self._read_until_ms[source] = max(ms, self._read_until_ms.get(source, 0))
        both = REWARDS.name in self._read_until_ms and len(self._read_until_ms) > 1
        if both:
            passed_ms = min(self._read_until_ms.values())
            self._flags.advance(passed_ms)
            self._deferred.advance(passed_ms)

    def apply(self, record: Record) -> None:
        """Take in one record of either topic; what cannot be read is the dead letters' matter."""
        try:
            if record.partition.topic == REWARDS.name:
                reward = decode_reward(record.value)
                self.rewarded(reward, record.appended_at_ms)
            elif record.partition.topic == EVENTS.name:
                self._event(record, decode_event(record.value))
        except SchemaError:
            return

    def rewarded(self, reward: Reward, appended_at_ms: int) -> None:
        """Take in one reward."""
        self._reading(REWARDS.name, appended_at_ms)
        digest = fingerprint(reward.recommendation_id.encode())
        before = self._flags.get(digest) or 0
        if partition := before // _PARTITION:
            until_ms = self._settled_until_ms.get(partition - 1, 0)
            self._settled_until_ms[partition - 1] = max(until_ms, reward.settled_at_ms)
        if reward.revision == 0 and before & REWARDED and not before & DOUBLED:
            self._doubled += 1
            self._mark(digest, DOUBLED, appended_at_ms)
        self._mark(digest, REWARDED, appended_at_ms)

    def _event(self, record: Record, event: Event) -> None:
        self._reading(record.partition, record.appended_at_ms)
        if isinstance(event, Recommended):
            self._recommended(event, record)
        elif isinstance(event, Impression | Click | Purchase) and event.recommendation_id:
            self._said(event, event.recommendation_id, record)
        self._pass_time(record.partition, record.appended_at_ms)

    def _recommended(self, event: Recommended, record: Record) -> None:
        digest = fingerprint(event.recommendation_id.encode())
        if not event.deferred:
            self._shown(digest, EXPECTED, record)
            return
        self._shown(digest, LOGGED, record)
        waiting = self._deferred.get(digest) or _Deferred()
        waiting.shown = frozenset(event.product_ids)
        waiting.of_user = event.user_key is not None
        stamp_ms = min(event.occurred_at_ms, record.appended_at_ms)
        waiting.until_ms = stamp_ms + 1000 * self._settings.horizon_seconds
        self._confirm(digest, waiting, record)

    def _said(self, event: ReportedEvent, recommendation_id: str, record: Record) -> None:
        digest, key = fingerprint(recommendation_id.encode()), record.key or b""
        known = self._flags.get(digest) or 0
        forged = not recommendation_id.endswith("-" + key.hex()) or event.source == _IMPORTED
        if known & SEEN or forged:
            return
        stranger = event.user_key is not None and event.user_key != key
        waiting = self._deferred.get(digest) or _Deferred()
        waiting.said += [(product, stranger, record.appended_at_ms) for product in _products(event)]
        self._confirm(digest, waiting, record)

    def _confirm(self, digest: int, waiting: _Deferred, record: Record) -> None:
        self._deferred.keep(digest, waiting, at_ms=record.appended_at_ms)
        if waiting.confirmed():
            waiting.said.clear()
            self._shown(digest, SEEN, record)

    def _shown(self, digest: int, flags: int, record: Record) -> None:
        flags |= (record.partition.number + 1) * _PARTITION
        before, after = self._mark(digest, flags, record.appended_at_ms)
        if after & EXPECTED == EXPECTED and before & EXPECTED != EXPECTED and not after & REWARDED:
            wait_ms = 1000 * (self._settings.settlement_seconds + self._settings.grace_seconds)
            due = self._due.setdefault(record.partition, deque())
            due.append((record.appended_at_ms + wait_ms, digest))

    def _mark(self, digest: int, flags: int, at_ms: int) -> tuple[int, int]:
        before = self._flags.get(digest) or 0
        after = before | flags
        self._flags.keep(digest, after, at_ms=at_ms)
        whole = EXPECTED | REWARDED
        if after & whole == whole and before & whole != whole:
            self._met += 1
            self._overdue.pop(digest, None)
        return before, after

    def _pass_time(self, partition: Partition, stream_ms: int) -> None:
        due = self._due.get(partition)
        while due and due[0][0] < stream_ms:
            due_ms, digest = due.popleft()
            if not (self._flags.get(digest) or 0) & REWARDED:
                self._overdue[digest] = partition.number, due_ms

    def counts(self) -> Counts:
        """Return the counts so far."""
        until_ms, overdue = self._settled_until_ms, self._overdue.values()
        lost = sum(due_ms < until_ms.get(number, 0) for number, due_ms in overdue)
        return Counts(
            expected=self._met + len(overdue),
            lost=lost,
            waiting=len(overdue) - lost,
            doubled=self._doubled,
        )


def _products(event: ReportedEvent) -> Sequence[str]:
    if isinstance(event, Purchase):
        return [line.product_id for line in event.lines]
    return [event.product_id] if isinstance(event, Click) else [_SEEN_WHOLE]


def audit(log: Log, settings: AuditSettings) -> Counts:
    """Return the counts over everything the log holds now, read from its start.

    Let the aggregator finish first: what it has not rewarded yet, though the settlement time has
    passed in the log, is waiting.

    Raises:
        LogUnavailable: the log cannot be reached.
    """
    state = Audit(settings)
    for record in read_to_end(log, (EVENTS.name, REWARDS.name)):
        state.apply(record)
    return state.counts()
