"""Recorded log-probabilities of a benchmark's banners against float64 (the same weights)."""

from collections.abc import Iterator
from itertools import islice
from typing import Final

import numpy as np

from load.installation import Installation
from policy import reference
from policy.context import Context
from schemas import candidates, history
from schemas.codec import decode_event
from schemas.events import Recommended

_RECORDS_PER_POLL: Final = 500


def worst_error(installed: Installation, *, banners: int) -> tuple[float, int]:
    """Return the largest absolute error of any position in nats, and how many banners were read.

    Args:
        installed: its log and registry.
        banners: at most so many banners drawn by a policy.
    """
    features = installed.catalogue().features
    registry = installed.registry()
    compiled: dict[int, tuple[reference.Weights, reference.Products]] = {}
    worst, looked_at = 0.0, 0
    for event in islice(_drawn(installed), banners):
        if event.policy_version not in compiled:
            weights = registry.load(event.policy_version).weights
            compiled[event.policy_version] = weights, reference.compile_products(weights, features)
        of_version, products = compiled[event.policy_version]
        context = Context(event.viewed_row, history.unpack(event.history))
        rows = candidates.unpack(event.candidates)
        scores = reference.scores(of_version, products, features, context)[rows]
        expected = reference.position_log_prob(scores, np.searchsorted(rows, event.rows))
        recorded = np.array(event.log_probs, np.float64)
        worst = max(worst, float(np.abs(expected - recorded).max()))
        looked_at += 1
    return worst, looked_at


def _drawn(installed: Installation) -> Iterator[Recommended]:
    log = installed.log()
    consumer = log.consumer(["events"], group=None)
    try:
        while records := consumer.poll(max_records=_RECORDS_PER_POLL, timeout_seconds=0.2):
            for record in records:
                event = decode_event(record.value)
                if isinstance(event, Recommended) and event.trainable:
                    yield event
    finally:
        consumer.close()
        log.close()
