"""Kafka logs with topics of their own on the broker that all tests share."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from streams.kafka import KafkaLog, KafkaSettings, StateFolder
from tests.contracts.log_processes import now_ms
from tests.servers import KafkaBroker

OpenLog = Callable[..., KafkaLog]


@pytest.fixture
def open_kafka(kafka_broker: KafkaBroker, tmp_path: Path) -> Iterator[OpenLog]:
    """Open the log under the same topic prefix, as another process would.

    `folder` names where its copies of state lie (None: nowhere), `clock` dates them; everything
    else is a setting.
    """
    prefix = f"{uuid.uuid4().hex[:8]}."
    with ExitStack() as opened:

        def open_log(
            *,
            folder: str | None = "state",
            clock: Callable[[], int] = now_ms,
            **changes: object,
        ) -> KafkaLog:
            facts = {"topic_prefix": prefix, "session_timeout_seconds": 3.0} | changes
            log = KafkaLog(
                KafkaSettings(kafka_broker.bootstrap_servers, **facts),  # type: ignore[arg-type]
                state_folder=None if folder is None else StateFolder(tmp_path / folder, clock),
            )
            opened.enter_context(closing(log))
            log.ensure_topics()
            return log

        yield open_log
