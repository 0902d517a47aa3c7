"""Recorded log-probabilities of a benchmark's banners against float64 (the same weights)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from load.installation import Installation
from policy import reference
from policy.context import Context
from policy.features import ProductFeatures
from policy.registry import Registry
from schemas import candidates, history
from schemas.codec import decode_event
from schemas.errors import SchemaError
from schemas.events import Recommended
from streams.port import Log, Partition
from streams.topics import EVENTS

_RECORDS_PER_POLL: Final = 4
_POLL_SECONDS: Final = 0.2
_EVENTS: Final = Partition(EVENTS.name, 0)


@dataclass(frozen=True, slots=True)
class Exactness:
    """How far the recorded log-probabilities are from float64, in nats.

    Attributes:
        banners: how many were recomputed.
        worst: the largest error of any position.
        p99: of all positions.
    """

    banners: int
    worst: float
    p99: float


class Recomputed:
    """The policies of a registry in float64, each compiled once."""

    def __init__(self, registry: Registry, features: ProductFeatures) -> None:
        self._registry = registry
        self._features = features
        self._compiled: dict[int, tuple[reference.Weights, reference.Products]] = {}

    def errors(self, event: Recommended) -> npt.NDArray[np.float64]:
        """Return (K',) absolute errors of the drawn positions, in nats."""
        weights, products = self._policy(event.policy_version)
        context = Context(event.viewed_row, history.unpack(event.history))
        rows = candidates.unpack(event.candidates)
        scores = reference.scores(weights, products, self._features, context)[rows]
        drawn = [k for k, log_prob in enumerate(event.log_probs) if log_prob is not None]
        banner = np.searchsorted(rows, [event.rows[k] for k in drawn])
        lifts = reference.pair_lifts(weights, self._features, rows, banner)
        expected = reference.position_log_prob(scores, banner, lifts)
        recorded = np.array([event.log_probs[k] for k in drawn], np.float64)
        return np.abs(expected - recorded)

    def _policy(self, version: int) -> tuple[reference.Weights, reference.Products]:
        if version not in self._compiled:
            weights = self._registry.load(version).weights
            compiled = reference.compile_products(weights, self._features)
            self._compiled[version] = weights, compiled
        return self._compiled[version]


def exactness(installed: Installation, *, banners: int) -> Exactness:
    """Return the errors of banners that a policy drew, taken evenly from the whole log.

    Args:
        installed: its log and registry.
        banners: about so many.
    """
    recomputed = Recomputed(installed.registry(), installed.catalogue().features)
    log = installed.log()
    try:
        errors = [recomputed.errors(event) for event in _drawn(log, banners)]
    finally:
        log.close()
    all_errors = np.concatenate([*errors, np.zeros(0)])
    if not len(all_errors):
        return Exactness(0, float("nan"), float("nan"))
    return Exactness(len(errors), float(all_errors.max()), float(np.quantile(all_errors, 0.99)))


def _drawn(log: Log, banners: int) -> Iterator[Recommended]:
    end = log.end_offsets(EVENTS.name)[_EVENTS]
    consumer = log.consumer([EVENTS.name], group=None)
    try:
        for offset in np.unique(np.linspace(0, max(end - 1, 0), banners).astype(int)).tolist():
            consumer.seek(_EVENTS, offset)
            records = consumer.poll(max_records=_RECORDS_PER_POLL, timeout_seconds=_POLL_SECONDS)
            events = (_trainable(record.value) for record in records)
            yield from (event for event in list(events)[:1] if event is not None)
    finally:
        consumer.close()


def _trainable(value: bytes | None) -> Recommended | None:
    """Return a banner that the live policy drew; None: the record is something else."""
    try:
        event = decode_event(value)
    except SchemaError:
        return None
    return event if isinstance(event, Recommended) and event.trainable else None
