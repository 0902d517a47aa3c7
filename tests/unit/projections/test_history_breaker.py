"""The breaker before the history store."""

from projections.history.breaker import Breaker


class Clock:
    now = 0

    def __call__(self) -> int:
        return self.now


def opened(clock: Clock) -> Breaker:
    breaker = Breaker(clock, failures=3, rest_ms=1000)
    for _ in range(3):
        breaker.failed()
    return breaker


def test_three_failures_in_a_row_open_it() -> None:
    breaker = Breaker(Clock(), failures=3)

    breaker.failed()
    breaker.failed()
    assert breaker.lets_through()
    breaker.failed()

    assert not breaker.lets_through()


def test_a_success_between_failures_keeps_it_closed() -> None:
    breaker = Breaker(Clock(), failures=3)

    for _ in range(5):
        breaker.failed()
        breaker.failed()
        breaker.succeeded()

    assert breaker.lets_through()


def test_after_the_rest_one_try_is_let_through() -> None:
    clock = Clock()
    breaker = opened(clock)

    clock.now = 1000

    assert [breaker.lets_through() for _ in range(3)] == [True, False, False]


def test_a_try_that_fails_opens_it_again() -> None:
    clock = Clock()
    breaker = opened(clock)

    clock.now = 1000
    breaker.lets_through()
    clock.now = 1050
    breaker.failed()
    clock.now = 2049

    assert not breaker.lets_through()
    clock.now = 2050
    assert breaker.lets_through()


def test_a_try_that_succeeds_closes_it() -> None:
    clock = Clock()
    breaker = opened(clock)

    clock.now = 1000
    breaker.lets_through()
    breaker.succeeded()

    assert [breaker.lets_through() for _ in range(3)] == [True, True, True]


def test_a_try_that_never_reports_does_not_keep_it_open_for_ever() -> None:
    clock = Clock()
    breaker = opened(clock)

    clock.now = 1000
    breaker.lets_through()
    clock.now = 2000

    assert breaker.lets_through()
