"""What the clients of `make load` say they measured."""

import pytest

from load.traffic import Second, Tally, calm_after, slope_per_minute

CALM, ROUGH = Second(10, 10, 0, 0, 1.0, 9.0), Second(10, 4, 6, 0, 1.0, 9.0)


def second(**changes) -> Second:
    return Second(
        **{"offered": 1, "good": 1, "shed": 0, "wrong": 0, "p50_ms": 1, "p99_ms": 1} | changes
    )


def test_latency_counts_from_when_a_request_was_due_not_from_when_it_was_sent():
    tally = Tally()
    tally.add(due=0.5, sent=1.5, done=1.6, outcome="good")

    played = tally.played(seconds=2, cpu_share=1.0)

    assert played.p99_ms == pytest.approx(1_100)
    assert [each.offered for each in played.seconds] == [1, 0]
    assert not played.kept_up


def test_what_was_shed_or_wrong_has_no_latency():
    tally = Tally()
    tally.add(due=0.0, sent=0.0, done=9.0, outcome="shed")
    tally.add(due=0.0, sent=0.0, done=9.0, outcome="wrong")
    tally.add(due=0.0, sent=0.0, done=0.01, outcome="good")

    played = tally.played(seconds=1, cpu_share=0.0)

    assert played.p99_ms == pytest.approx(10)
    assert (played.total("shed"), played.total("wrong"), played.total("good")) == (1, 1, 1)
    assert played.per_second("offered") == 3
    assert played.kept_up


def test_requests_after_the_last_second_are_left_out():
    tally = Tally()
    tally.add(due=1.0, sent=1.0, done=1.1, outcome="good")

    assert tally.played(seconds=1, cpu_share=0.0).total("offered") == 0


@pytest.mark.parametrize(
    ("seconds", "after"),
    [
        ([CALM, CALM], 0),
        ([ROUGH, ROUGH, CALM], 2),
        ([CALM, ROUGH], None),
        ([CALM, second(p99_ms=11.0)], None),
        ([second(wrong=1), CALM], 1),
        ([], None),
    ],
)
def test_calm_is_calm_until_the_end(seconds, after):
    assert calm_after(seconds, p99_ms=10.0) == after


def test_what_a_process_takes_while_it_warms_up_is_no_leak():
    at = list(range(0, 600, 10))
    warm = [min(100.0 + second, 300.0) for second in at]
    leaking = [value + second / 20 for value, second in zip(warm, at, strict=True)]

    assert slope_per_minute(at, warm) == pytest.approx(0.0, abs=1e-6)
    assert slope_per_minute(at, leaking) == pytest.approx(3.0)
    assert slope_per_minute([0.0], [5.0]) == 0.0
