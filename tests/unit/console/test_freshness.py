"""From event to serving weights."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.freshness import ACCURACY, Freshness, Sketch


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=300), st.sampled_from([0.5, 0.9, 0.99]))
def test_every_quantile_is_right_within_the_stated_accuracy(durations: list[int], q: float) -> None:
    sketch = Sketch()

    for duration in durations:
        sketch.add(duration)

    exact = float(np.quantile(durations, q, method="lower"))
    assert sketch.quantile(q) == pytest.approx(exact, rel=ACCURACY * 1.001)


def test_an_event_counts_when_the_first_server_swaps_and_never_again(build: Any) -> None:
    freshness, learned = Freshness(), (build.start_ms,)

    freshness.apply(build.announcement(2, at_ms=build.start_ms + 3000, learned_events_ms=learned))
    freshness.apply(build.announcement(2, at_ms=build.start_ms + 9000, learned_events_ms=learned))

    assert freshness.sketch.count == 1
    assert freshness.quantiles().p50 == pytest.approx(3.0, rel=0.01)


def test_events_of_a_version_that_no_server_took_count_with_the_next_one(build: Any) -> None:
    freshness = Freshness()

    freshness.apply(build.announcement(2, kind="published", learned_events_ms=(build.start_ms,)))
    freshness.apply(build.announcement(3, at_ms=build.start_ms + 8000))

    assert freshness.quantiles().p50 == pytest.approx(8.0, rel=0.01)
    assert freshness.served == {3}


def test_nothing_served_yet_has_no_freshness() -> None:
    assert Freshness().quantiles().p99 is None
