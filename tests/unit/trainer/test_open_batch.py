"""Where a batch ends depends on offsets and append times alone."""

from typing import Any

from trainer.open_batch import OpenBatch

EXAMPLE: Any = object()


def filled(batch: OpenBatch, appended_at_ms: list[int]) -> list[bool]:
    return [batch.add(EXAMPLE, at) for at in appended_at_ms]


def test_a_batch_is_full_with_its_records() -> None:
    assert filled(OpenBatch(batch_banners=3, batch_ms=100), [5, 5, 5]) == [False, False, True]


def test_a_small_batch_lasts_its_time() -> None:
    batch = OpenBatch(batch_banners=2, batch_ms=1000, least_ms=50, most_banners=9)

    assert filled(batch, [10, 20, 59, 60]) == [False, False, False, True]


def test_a_burst_fills_it_at_most() -> None:
    batch = OpenBatch(batch_banners=2, batch_ms=1000, least_ms=50, most_banners=5)

    assert filled(batch, [10] * 5) == [False, False, False, False, True]


def test_one_that_waited_too_long_is_over_before_the_next_record() -> None:
    batch = OpenBatch(batch_banners=9, batch_ms=100)

    assert not batch.is_over(10_000)  # nothing is in it
    batch.add(EXAMPLE, 10)
    assert not batch.is_over(110)
    assert batch.is_over(111)
    assert len(batch.take()) == 1
