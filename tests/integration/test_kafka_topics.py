"""`quintet topics`: what is declared made on a genuine cluster, and shown beside what it has."""

import json
import subprocess
import sys
import uuid
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType

from streams.topics import TOPICS
from tests.servers import REPOSITORY, KafkaBroker

Call = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def prefix() -> str:
    return f"{uuid.uuid4().hex[:8]}."


@pytest.fixture
def topics(kafka_broker: KafkaBroker, prefix: str) -> Call:
    """Run `quintet topics ...` against the broker, under a prefix of the test's own."""

    def call(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "cli.main", "topics", *arguments, "--streams", "kafka"]
        command += ["--kafka-bootstrap-servers", kafka_broker.bootstrap_servers]
        command += ["--kafka-topic-prefix", prefix]
        return subprocess.run(
            command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=120
        )

    return call


def by_name(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    return {each["name"]: each for each in json.loads(done.stdout)["topics"]}


def test_apply_makes_what_is_missing_and_list_shows_that_nothing_differs(
    topics: Call, prefix: str
) -> None:
    before = topics("list", "--json")
    applied = topics("apply", "--json")
    again = topics("apply", "--json")
    after = topics("list", "--json")

    names = [prefix + topic.name for topic in TOPICS]
    assert [each.returncode for each in (before, applied, again, after)] == [0, 0, 0, 0]
    assert {each["partitions"] for each in by_name(before).values()} == {None}
    assert json.loads(applied.stdout)["made"] == names
    assert json.loads(again.stdout)["made"] == []
    for topic in TOPICS:
        state = by_name(after)[prefix + topic.name]
        assert state["partitions"] == state["declared_partitions"] == topic.partitions
        assert all(each["actual"] == each["declared"] for each in state["settings"])
        assert state["faults"] == []


def test_what_differs_is_named_with_what_to_do_and_what_an_operator_may_alter_is_no_fault(
    topics: Call, prefix: str, kafka_broker: KafkaBroker
) -> None:
    with closing(KafkaAdminClient(bootstrap_servers=kafka_broker.bootstrap_servers)) as admin:
        made = {"num_partitions": 3, "replication_factor": 1, "configs": {}}
        admin.create_topics({prefix + "inbox": made}, wait_for_metadata=True)
        applied = topics("apply", "--json")
        admin.alter_configs(
            [
                ConfigResource(ConfigResourceType.TOPIC, prefix + name, changed)
                for name, changed in {
                    "rewards": {"retention.ms": "1000000"},
                    "products": {"cleanup.policy": "compact"},
                }.items()
            ]
        )
    listed, shown = topics("list", "--json"), topics("list")

    assert applied.returncode == listed.returncode == shown.returncode == 1
    assert len(json.loads(applied.stdout)["made"]) == len(TOPICS) - 1
    assert f"'{prefix}inbox' has 3 partitions, declared 4" in applied.stderr
    assert "QUINTET_KAFKA_TOPIC_PREFIX" in applied.stderr
    assert f"--entity-name {prefix}products --add-config cleanup.policy=delete" in listed.stderr, (
        listed.stderr
    )
    states = by_name(listed)
    faulty = {name for name, state in states.items() if state["faults"]}
    assert faulty == {prefix + "inbox", prefix + "products"}
    assert shown.stdout.count("differs, which is allowed") >= 1
