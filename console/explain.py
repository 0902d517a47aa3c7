"""Finds one banner in the log: context, draw, events, points, and the version that learned from it.

Everything of a banner stands in one partition of `events`, after the time inside its id and within
the attribution window and lateness, so that only this part of the log is read.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from console.browse import CatalogueView
from console.errors import RecommendationNotFound
from console.explanation import Explanation, Names, RevisionShown, explanation, revision_shown
from console.policies import Registry
from console.reading import offset_at, read_to_end
from schemas.codec import decode_event, decode_reward
from schemas.errors import SchemaError
from schemas.events import Event, Purchase, Recommended, Refund, Reported
from schemas.identity import minted_ms, split_recommendation_id
from streams.port import Log, Partition, Record, partition_of
from streams.topics import EVENTS, REWARDS

_CLOCKS_APART_MS: Final = 60_000
"""The service's clock, which stamps the id, may be so far ahead of the log's."""


class Explainer:
    """Finds a banner in the log and tells its life.

    Args:
        log: the log.
        registry: for the version that learned from it.
        catalogue: gives the present view of the catalogue.
        horizon_seconds: attribution window and lateness: nothing later belongs to a banner.
    """

    def __init__(
        self,
        log: Log,
        registry: Registry,
        catalogue: Callable[[], CatalogueView],
        *,
        horizon_seconds: int,
    ) -> None:
        self._log, self._registry, self._catalogue = log, registry, catalogue
        self._horizon_ms = horizon_seconds * 1000

    def explain(self, recommendation_id: str) -> Explanation:
        """Return a banner's life so far.

        Raises:
            RecommendationIdNotReadable: not an id.
            RecommendationNotFound: the log does not hold it.
            LogUnavailable: the log cannot be reached.
        """
        _, key = split_recommendation_id(recommendation_id)
        since_ms = minted_ms(recommendation_id) - _CLOCKS_APART_MS
        events = Partition(EVENTS.name, partition_of(key, self._log.partitions(EVENTS.name)))
        found = self._events(events, key, recommendation_id, since_ms)
        names = Names(self._catalogue())
        for _, event in found:
            if isinstance(event, Recommended):
                revisions = self._revisions(recommendation_id, since_ms)
                return explanation(event, found, revisions, names)
        raise RecommendationNotFound(
            "the log holds no such recommendation (a fresh one appears within a second)"
        )

    def _near(self, partition: Partition, since_ms: int) -> Iterator[Record]:
        start = offset_at(self._log, partition, since_ms)
        until_ms = since_ms + self._horizon_ms + 2 * _CLOCKS_APART_MS
        for record in read_to_end(self._log, (partition.topic,), only={partition: start}):
            if record.appended_at_ms > until_ms:
                return
            yield record

    def _events(
        self, partition: Partition, key: bytes, recommendation_id: str, since_ms: int
    ) -> Sequence[tuple[Record, Event]]:
        found: list[tuple[Record, Event]] = []
        shown: frozenset[str] = frozenset()
        for record in self._near(partition, since_ms):
            if record.key != key:
                continue
            try:
                event = decode_event(record.value)
            except SchemaError:
                continue
            if isinstance(event, Recommended) and event.recommendation_id == recommendation_id:
                shown = frozenset(event.product_ids)
                found.append((record, event))
            elif _belongs(event, recommendation_id, shown):
                found.append((record, event))
        return found

    def _revisions(self, recommendation_id: str, since_ms: int) -> Sequence[RevisionShown]:
        partition = Partition(REWARDS.name, 0)
        text = recommendation_id.encode()
        manifests = self._registry.manifests()
        found: dict[int, RevisionShown] = {}
        for record in self._near(partition, since_ms):
            if record.value is None or text not in record.value:
                continue
            reward = decode_reward(record.value)
            found.setdefault(reward.revision, revision_shown(record, reward, manifests))
        return [found[revision] for revision in sorted(found)]


def _belongs(event: Event, recommendation_id: str, shown: frozenset[str]) -> bool:
    if not isinstance(event, Reported):
        return False
    if event.recommendation_id is not None:
        return event.recommendation_id == recommendation_id
    lines = event.lines if isinstance(event, Purchase | Refund) else ()
    return any(line.product_id in shown for line in lines)
