"""What is too old goes, whatever the log says meanwhile."""

import threading
from pathlib import Path

from structlog.testing import capture_logs

from cli.clock import now_ms
from cli.settings import Settings
from cli.wiring import keep_trimmed
from streams.errors import LogUnavailable
from streams.local import LocalLog
from streams.port import Message, Partition

DAY_MS = 86_400_000


class Refusing(LocalLog):
    """A local log whose disk is full at first; ends the loop when it has come round twice."""

    def __init__(self, path: Path, stop: threading.Event) -> None:
        super().__init__(path, clock=lambda: now_ms() - 2 * DAY_MS)
        self._stop = stop
        self.tried: list[str] = []

    def trim(self, topic: str, older_than_ms: int) -> int:
        self.tried.append(topic)
        if self.tried.count(topic) == 1:
            raise LogUnavailable("the disk is full")
        if topic == self.tried[0]:
            self._stop.set()
        return super().trim(topic, older_than_ms)


def test_a_log_that_refuses_to_be_trimmed_is_trimmed_the_next_time(tmp_path: Path) -> None:
    stop = threading.Event()
    events = Refusing(tmp_path / "log.db", stop)
    events.append("events", [Message(b"k", b"old")])
    settings = Settings(_env_file=None, retention_days=1.0)  # type: ignore[call-arg]

    with capture_logs() as said:
        keep_trimmed(events, settings, stop, every_seconds=0.0)

    refused = [line["topic"] for line in said if line["event"] == "retention_waits"]
    assert "events" in refused
    assert sorted(events.tried) == sorted(2 * refused)
    assert sum(events.start_offsets("events").values()) == 1
    assert Partition("events", 0) in events.start_offsets("events")
    events.close()
