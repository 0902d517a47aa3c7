"""Every log the contract suite is played on."""

import json
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from streams.kafka import KafkaLog
from streams.port import Log
from tests.contracts.logs import Installation
from tests.servers import KafkaBroker


@pytest.fixture(params=["local", "local with 4 partitions", "spooled", "kafka"])
def installation(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Installation]:
    with ExitStack() as opened:
        if request.param == "kafka":
            broker: KafkaBroker = request.getfixturevalue("kafka_broker")
            description = {
                "adapter": "kafka",
                "bootstrap_servers": broker.bootstrap_servers,
                "prefix": f"{uuid.uuid4().hex[:8]}.",
                "state": str(tmp_path / "state"),
            }
            made = Installation(json.dumps(description), 5, opened)
            log = made.open()
            assert isinstance(log, KafkaLog)
            log.ensure_topics()
        else:
            partitions = 4 if request.param == "local with 4 partitions" else 1
            description = {
                "adapter": "spooled" if request.param == "spooled" else "local",
                "path": str(tmp_path / "log"),
                "partitions": partitions,
            }
            made = Installation(
                json.dumps(description), 20 if request.param == "local" else 5, opened
            )
        yield made


@pytest.fixture
def log(installation: Installation) -> Log:
    return installation.open()
