import threading

import pytest
from prometheus_client import CollectorRegistry

from service.appender import Appender, AppenderSettings
from service.errors import TryLater
from service.metrics import Metrics
from streams.errors import LogUnavailable
from streams.port import Message


class Recording:
    """Keeps what is appended; refuses while told to; can hold an append until let go."""

    def __init__(self) -> None:
        self.appends: list[tuple[str, list[Message]]] = []
        self.refusing = False
        self.failing: Exception | None = None

    def append(self, topic, messages) -> None:
        if self.failing is not None:
            raise self.failing
        if self.refusing:
            raise LogUnavailable("away")
        self.appends.append((topic, list(messages)))


class Note:
    def __init__(self, text: str, *, broken: bool = False) -> None:
        self.text = text
        self.broken = broken

    def message(self) -> Message:
        if self.broken:
            raise ValueError("cannot be written")
        return Message(None, self.text.encode())


def message(text: str) -> Message:
    return Message(None, text.encode())


@pytest.fixture
def log():
    return Recording()


def appender(log, **settings) -> Appender:
    return Appender(
        log, metrics=Metrics(CollectorRegistry()), settings=AppenderSettings(**settings)
    )


def test_what_waits_leaves_in_one_append_with_banners_before_events(log):
    queue = appender(log)
    one = queue.append("events", [message("click")])
    queue.offer(Note("banner 1"))
    queue.offer(Note("banner 2"))
    other = queue.append("products", [message("product")])

    assert queue.step()

    assert log.appends == [
        ("events", [message("banner 1"), message("banner 2"), message("click")]),
        ("products", [message("product")]),
    ]
    assert one.result() is None
    assert other.result() is None


def test_a_log_that_is_away_keeps_banners_in_order_and_fails_those_who_wait(log):
    queue = appender(log)
    log.refusing = True
    queue.offer(Note("1"))
    queue.offer(Note("2"))
    waiting = queue.append("events", [message("click")])

    assert not queue.step()
    assert not queue.takes()
    with pytest.raises(TryLater):
        waiting.result()

    log.refusing = False
    queue.offer(Note("3"))
    assert queue.step()
    assert queue.takes()
    assert log.appends == [("events", [message("1"), message("2"), message("3")])]


def test_a_full_queue_drops_and_counts(log):
    queue = appender(log, queue_records=2)

    assert [queue.offer(Note(str(n))) for n in range(3)] == [True, True, False]
    assert not queue.takes()


def test_what_is_on_its_way_to_a_log_that_may_refuse_it_still_has_its_room(log):
    queue = appender(log, queue_records=2)
    kept = [queue.offer(Note("1")), queue.offer(Note("2"))]

    def refuse(*_) -> None:
        kept.append(queue.offer(Note("3")))
        raise LogUnavailable("away")

    log.append = refuse

    assert not queue.step()

    assert kept == [True, True, False]
    assert queue.queued() == 2


def test_too_many_who_wait_are_told_to_try_later(log):
    queue = appender(log, waiting_messages=1)
    kept = queue.append("events", [message("1"), message("2")])

    with pytest.raises(TryLater):
        queue.append("events", [message("3")]).result()
    queue.step()
    assert kept.result() is None


def test_a_bug_in_the_log_is_a_failure_of_that_append_alone(log):
    queue = appender(log)
    log.failing = ZeroDivisionError()
    waiting = queue.append("events", [message("1")])

    assert not queue.step()
    with pytest.raises(TryLater):
        waiting.result()


def test_a_record_that_cannot_be_written_does_not_take_others_with_it(log):
    queue = appender(log)
    queue.offer(Note("1", broken=True))
    queue.offer(Note("2"))

    assert queue.step()
    assert log.appends == [("events", [message("2")])]


def test_who_gave_up_waiting_is_not_appended(log):
    queue = appender(log)
    queue.append("events", [message("1")]).cancel()

    queue.step()

    assert log.appends == []


def test_a_step_without_anything_to_append_says_nothing_of_the_log(log):
    queue = appender(log)
    queue.doubt()
    queue.append("events", [message("click")]).cancel()

    queue.step()
    assert not queue.available

    queue.append("events", [message("click")])
    queue.step()
    assert queue.available


def test_stopping_drains_the_queue(log):
    queue = appender(log, group_seconds=60.0)
    queue.start()
    for number in range(100):
        queue.offer(Note(str(number)))

    queue.stop()

    assert sum(len(messages) for _, messages in log.appends) == 100
    assert not any(thread.name == "appender" for thread in threading.enumerate())
    with pytest.raises(TryLater):
        queue.append("events", [message("late")]).result()


def test_one_append_is_no_larger_than_a_group(log):
    queue = appender(log, group_messages=10, group_seconds=0.0)
    for number in range(25):
        queue.offer(Note(str(number)))
    queue.start()

    assert queue.wait_idle()
    queue.stop()
    assert [len(messages) for _, messages in log.appends] == [10, 10, 5]


def test_a_log_that_never_comes_back_does_not_hold_up_the_end(log):
    metrics = Metrics(CollectorRegistry())
    queue = Appender(log, metrics=metrics, settings=AppenderSettings(retry_seconds=0.01))
    log.refusing = True
    queue.start()
    queue.offer(Note("1"))

    queue.stop(timeout_seconds=5.0)

    assert not any(thread.name == "appender" for thread in threading.enumerate())
    assert queue.queued() == 1
    dropped = "service_recommendations_dropped_total"
    assert metrics.registry.get_sample_value(dropped) == 1
