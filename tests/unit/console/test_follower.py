"""Following the log."""

from collections.abc import Callable
from typing import Any

import pytest

from console.audit import AuditSettings
from console.experiment import Experiment
from console.follower import Follower
from streams.errors import LogUnavailable
from streams.local import LocalLog
from streams.port import Consumer


def experiment() -> Experiment:
    return Experiment(AuditSettings())


def test_the_view_is_ready_once_everything_from_before_has_been_read(
    build: Any, log: LocalLog, clock: Any, append: Callable[..., None]
) -> None:
    append("rewards", build.reward(build.id(1)), build.reward(build.id(2)))
    follower = Follower(log, experiment, clock=clock)
    assert not follower.view.caught_up

    while follower.step():
        pass
    follower.close()

    assert follower.view.caught_up
    assert follower.view.report.arms.policy.banners == 2


def test_an_empty_log_is_read_at_once(log: LocalLog, clock: Any) -> None:
    follower = Follower(log, experiment, clock=clock)

    follower.step()
    follower.close()

    assert follower.view.caught_up


def test_after_a_broken_read_everything_is_counted_anew_and_nothing_twice(
    build: Any, log: LocalLog, clock: Any, append: Callable[..., None]
) -> None:
    append("rewards", build.reward(build.id(1)))
    broken = _Breaking(log)
    follower = Follower(broken, experiment, clock=clock)  # type: ignore[arg-type]
    follower.step()
    append("rewards", build.reward(build.id(2)))

    broken.down = True
    with pytest.raises(LogUnavailable):
        follower.step()
    broken.down = False
    clock.pass_seconds(10)
    while follower.step():
        pass
    follower.close()

    assert follower.view.report.arms.policy.banners == 2
    assert follower.view.report.duplicates == 0


class _Breaking:
    """A log whose readers fail while it is down."""

    def __init__(self, log: LocalLog) -> None:
        self._log, self.down = log, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def consumer(self, topics: Any, *, group: None) -> Any:
        return _BreakingConsumer(self._log.consumer(topics, group=group), self)


class _BreakingConsumer:
    def __init__(self, consumer: Consumer, log: _Breaking) -> None:
        self._consumer, self._log = consumer, log

    def poll(self, **limits: Any) -> Any:
        if self._log.down:
            raise LogUnavailable("down")
        return self._consumer.poll(**limits)

    def close(self) -> None:
        self._consumer.close()
