"""What the cluster is asked about itself, over one connection made when it is first needed."""

import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError

from streams.errors import LogUnavailable
from streams.kafka.connection import connected
from streams.kafka.settings import KafkaSettings

T = TypeVar("T")


class Admin:
    """Questions to the cluster; several threads may ask, one at a time."""

    def __init__(self, settings: KafkaSettings) -> None:
        self.settings = settings
        self._lock = threading.RLock()
        self._client: KafkaAdminClient | None = None

    def real(self, name: str) -> str:
        """Return the cluster's name of a topic or group."""
        return self.settings.topic_prefix + name

    def ask(self, question: Callable[[KafkaAdminClient], T]) -> T:
        """Return the answer; raises LogUnavailable."""
        with self._lock:
            if self._client is None:
                self._client = connected(KafkaAdminClient, self.settings.connection())
            try:
                return question(self._client)
            except KafkaError as problem:
                raise LogUnavailable(f"Kafka does not answer: {problem}") from problem

    def configuration(self, topic: str, names: Sequence[str]) -> dict[str, str]:
        """Return settings of an existing topic by name, those of its brokers included."""
        real = self.real(topic)
        resource = ConfigResource(ConfigResourceType.TOPIC, real, list(names))
        answer: Any = self.ask(
            lambda admin: admin.describe_configs([resource], config_filter="all")
        )
        return {name: answer["topic"][real][name]["value"] for name in names}

    def origin(self, topic: str) -> str:
        """Return what tells this topic from every other, one of its name made later included."""
        real = self.real(topic)
        cluster: Any = self.ask(lambda admin: admin.describe_cluster())
        (described,) = self.ask(lambda admin: admin.describe_topics([real]))
        return f"{cluster['cluster_id']}/{described['topic_id']}/{real}"

    def bearer(self, group: str, instance: str) -> str | None:
        """Return the mark of the member that bears a static name now; None: nobody, or not settled.

        The cluster does not tell while the group shares its partitions anew.
        """
        real = self.real(group)
        answer: Any = self.ask(lambda admin: admin.describe_groups([real]))
        for member in answer[real]["members"]:
            if member["group_instance_id"] == instance and member["member_metadata"]:
                return str(member["member_metadata"]["user_data"]) or None
        return None

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None
