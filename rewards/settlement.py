"""The rewards of one partition: a fold over its records and nothing else.

No clock enters. Stream time is the highest append time so far; before a record is applied, every
settlement that is due by then fires, in the order (deadline, routing key, recommendation). So the
rewards are a function of the records alone, wherever reading stopped and began again.

State goes to the store as one entry per routing key (its sets, packed; a large one in pieces) and
one per banner (what a reward repeats of it, written once), so that a click does not write the
contexts of the shopper's banners again.
"""

import heapq
from collections.abc import Iterable
from typing import Final, NamedTuple

from rewards import attribution, ledger, shown
from rewards.absorption import Absorbed, Absorber, Outcome
from rewards.ledger import NEVER, Ledger, Life
from rewards.pieces import NAME_BYTES, Pieces
from rewards.specification import RewardSpecification
from schemas.events import Event, Recommended, Tick, UserErased
from schemas.identity import ROUTING_KEY_BYTES
from schemas.rewards import Reward

_STREAM_TIME: Final = b"stream"
_CLEANING: Final = ""
"""Stands in a deadline for the ledger as a whole; sorts before every recommendation."""
_CLEANINGS_PER_HORIZON: Final = 1_000


class Keyed(NamedTuple):
    """A reward and the routing key it goes out under."""

    key: bytes
    reward: Reward


class PartitionRewards:
    """All ledgers of one partition, and the deadlines that wait in them.

    Args:
        specification: what events are worth and how long they count.
        pieces: how a large ledger becomes entries of bounded size.
    """

    def __init__(self, specification: RewardSpecification, pieces: Pieces | None = None) -> None:
        self.stream_ms = 0
        """Stream time in milliseconds since 1970; 0: nothing read so far."""
        self._specification = specification
        self._absorber = Absorber(specification)
        self._settlement_ms = specification.settlement_ms
        self._horizon_ms = specification.horizon_ms
        # An idle ledger is cleaned a little late, so that a busy one is not cleaned per entry;
        # nothing depends on it, because a ledger is cleaned exactly before it is used.
        self._slack_ms = specification.horizon_ms // _CLEANINGS_PER_HORIZON + 1
        self._ledgers: dict[bytes, Ledger] = {}
        self._pieces = pieces or Pieces()
        self._shown: dict[str, bytes] = {}
        self._deadlines: list[tuple[int, bytes, str]] = []
        self._unsettled: dict[str, int] = {}
        self._changed: set[bytes] = set()
        self._changed_banners: dict[bytes, bytes | None] = {}

    @property
    def unsettled(self) -> int:
        """Return how many impressions wait for their settlement."""
        return len(self._unsettled)

    @property
    def kept_banners(self) -> int:
        """Return how many banners are kept for corrections and against duplicates."""
        return len(self._shown)

    def load(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Take state that `changes` returned earlier, entries in any order.

        Raises:
            LedgerNotReadable: an entry follows another layout.
        """
        pieces: list[tuple[bytes, bytes]] = []
        for name, value in entries:
            if name == _STREAM_TIME:
                self.stream_ms = int.from_bytes(value, "big")
            elif len(name) > NAME_BYTES:
                self._shown[_recommendation_id(name)] = value
            else:
                pieces.append((name, value))
        self._ledgers = {key: ledger.unpack(value) for key, value in self._pieces.join(pieces)}
        for key, kept in self._ledgers.items():
            self._clean_later(key, kept)
            for recommendation_id, life in kept.lives.items():
                if life.revision < 0 and life.impression_ms != NEVER:
                    self._settle_later(key, recommendation_id, life)

    def changes(self) -> list[tuple[bytes, bytes | None]]:
        """Return the state entries that changed since the last call; None forgets one."""
        changed: list[tuple[bytes, bytes | None]] = [
            (_STREAM_TIME, self.stream_ms.to_bytes(8, "big"))
        ]
        for key in sorted(self._changed):
            kept = self._ledgers.get(key)
            changed += self._pieces.split(key, None if kept is None else ledger.pack(kept))
        changed += self._changed_banners.items()
        self._changed.clear()
        self._changed_banners.clear()
        return changed

    def advance(self, ms: int) -> list[Keyed]:
        """Move stream time to an append time, if it is later; return what became due."""
        self.stream_ms = max(self.stream_ms, ms)
        due: list[Keyed] = []
        while self._deadlines and self._deadlines[0][0] <= self.stream_ms:
            _, key, recommendation_id = heapq.heappop(self._deadlines)
            kept = self._ledgers.get(key)
            if kept is None:
                continue
            if recommendation_id == _CLEANING:
                self._clean(key, kept)
            elif recommendation_id in self._unsettled:
                due += self._revise(key, kept, recommendation_id, caused_at_ms=None)
        return due

    def apply(self, key: bytes, event: Event, ms: int) -> tuple[Outcome, list[Keyed]]:
        """Apply one event at stream time; return what became of it and what it earned.

        Args:
            key: the routing key, 8 bytes.
            event: of this partition.
            ms: its append time; `advance` was called with it.
        """
        if isinstance(event, Tick):
            return "ignored", []
        kept = self._ledgers.get(key)
        if kept is None:
            kept = Ledger()
        else:
            self._forget(key, kept)
        if isinstance(event, UserErased):
            return self._erase(key, kept, event, ms)
        if isinstance(event, Recommended):
            absorbed = self._recommended(key, kept, event, ms)
        else:
            absorbed = self._absorber.reported(kept, event, ms, key)
        if absorbed.changed:
            self._keep(key, kept)
        rewards: list[Keyed] = []
        for recommendation_id in sorted(absorbed.touched):
            rewards += self._revise(key, kept, recommendation_id, caused_at_ms=ms)
        return absorbed.outcome, rewards

    def _recommended(self, key: bytes, kept: Ledger, event: Recommended, ms: int) -> Absorbed:
        packed = shown.pack(event)
        known = self._shown.get(event.recommendation_id)
        absorbed = self._absorber.recommended(kept, event, ms, same=known in (None, packed))
        if absorbed.changed and known is None:
            self._shown[event.recommendation_id] = packed
            self._changed_banners[_banner_name(key, event.recommendation_id)] = packed
        return absorbed

    def _revise(
        self, key: bytes, kept: Ledger, recommendation_id: str, *, caused_at_ms: int | None
    ) -> list[Keyed]:
        """Settle or correct one banner, or have it wait for its settlement."""
        life = kept.lives.get(recommendation_id)
        if life is None or life.impression_ms == NEVER:
            return []
        earned = attribution.earned(kept, recommendation_id, self._specification)
        if life.revision >= 0:
            if earned.points == life.points:
                return []
        elif caused_at_ms is not None and not any(earned.points):
            self._settle_later(key, recommendation_id, life)
            return []
        repeated = shown.unpack(self._shown[recommendation_id])
        return [self._emit(key, recommendation_id, life, repeated, earned, caused_at_ms)]

    def _emit(
        self,
        key: bytes,
        recommendation_id: str,
        life: Life,
        repeated: shown.Shown,
        earned: attribution.Earned,
        caused_at_ms: int | None,
    ) -> Keyed:
        life.revision += 1
        reward = repeated.reward(
            recommendation_id,
            earned,
            before=life.points,
            revision=life.revision,
            settled_at_ms=self.stream_ms,
            caused_at_ms=caused_at_ms,
            specification=self._specification.version,
        )
        life.points = earned.points
        self._unsettled.pop(recommendation_id, None)
        self._changed.add(key)
        return Keyed(key, reward)

    def _erase(
        self, key: bytes, kept: Ledger, event: UserErased, ms: int
    ) -> tuple[Outcome, list[Keyed]]:
        """Settle what was seen, without its shopper, and keep nothing but ids."""
        if event.user_key != key:
            return "forged", []
        if event.event_id in kept.seen:
            return "duplicate", []
        rewards: list[Keyed] = []
        bare = Ledger(seen={event.event_id: (0, ms)}, erased=kept.erased)
        for recommendation_id, life in sorted(kept.lives.items()):
            if life.stamp_ms != NEVER:
                bare.erased[recommendation_id] = life.counted_from() + self._horizon_ms
            if life.revision < 0 and life.impression_ms != NEVER:
                earned = attribution.earned(kept, recommendation_id, self._specification)
                repeated = shown.unpack(self._shown[recommendation_id]).without_shopper()
                rewards.append(self._emit(key, recommendation_id, life, repeated, earned, ms))
            self._drop_banner(key, recommendation_id)
        for until in (ms + self._horizon_ms, *bare.erased.values()):
            bare.expires(until)
        if key in self._ledgers:
            self._ledgers[key] = bare
        self._keep(key, bare)
        return "applied", rewards

    def _keep(self, key: bytes, kept: Ledger) -> None:
        self._changed.add(key)
        if key not in self._ledgers:
            self._ledgers[key] = kept
            self._clean_later(key, kept)

    def _settle_later(self, key: bytes, recommendation_id: str, life: Life) -> None:
        deadline = life.impression_ms + self._settlement_ms
        if self._unsettled.get(recommendation_id) != deadline:
            self._unsettled[recommendation_id] = deadline
            heapq.heappush(self._deadlines, (deadline, key, recommendation_id))

    def _clean_later(self, key: bytes, kept: Ledger) -> None:
        at_ms = max(kept.wake_ms, self.stream_ms) + self._slack_ms
        heapq.heappush(self._deadlines, (at_ms, key, _CLEANING))

    def _clean(self, key: bytes, kept: Ledger) -> None:
        self._forget(key, kept)
        if kept.is_empty():
            del self._ledgers[key]
            self._changed.add(key)
        else:
            self._clean_later(key, kept)

    def _forget(self, key: bytes, kept: Ledger) -> None:
        if self.stream_ms < kept.wake_ms:
            return
        for recommendation_id in kept.forget(self.stream_ms, self._horizon_ms):
            self._drop_banner(key, recommendation_id)
        self._changed.add(key)

    def _drop_banner(self, key: bytes, recommendation_id: str) -> None:
        self._unsettled.pop(recommendation_id, None)
        if self._shown.pop(recommendation_id, None) is not None:
            self._changed_banners[_banner_name(key, recommendation_id)] = None


def _banner_name(key: bytes, recommendation_id: str) -> bytes:
    return key + recommendation_id[: -2 * ROUTING_KEY_BYTES - 1].encode()


def _recommendation_id(name: bytes) -> str:
    return f"{name[ROUTING_KEY_BYTES:].decode()}-{name[:ROUTING_KEY_BYTES].hex()}"
