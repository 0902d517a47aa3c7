"""What `python -m load.aggregation` plays and counts, small."""

from contextlib import closing
from pathlib import Path

import numpy as np

from load import aggregation
from load.clock import now_ms
from schemas.codec import decode_reward
from schemas.events import Recommended
from streams.local import LocalLog


def test_shoppers_come_back_and_only_some_click_or_buy() -> None:
    events = list(aggregation.shopping(2_000, np.random.default_rng(1)))

    banners = [(key, event) for key, event in events if isinstance(event, Recommended)]
    assert len(banners) == 2_000
    assert len({key for key, _ in banners}) < 2_000
    assert 0.1 < (len(events) - len(banners)) / len(banners) < 0.25


def test_every_event_is_read_and_clicks_are_rewarded_within_the_measurement(
    tmp_path: Path,
) -> None:
    with closing(LocalLog(tmp_path / "log.db", clock=now_ms)) as log:
        events = aggregation.fill(log, 2_000, seed=1)
        found = aggregation.measured("local", log, events)

        with closing(log.consumer(["rewards"], group=None)) as reader:
            records = reader.poll(max_records=10_000, timeout_seconds=1.0)

    rewards = [decode_reward(record.value) for record in records]
    assert 0 < found.events < events
    assert found.rewards == len(rewards) > 100
    assert any(reward.clicked for reward in rewards)
    assert found.per_core_second > 100
