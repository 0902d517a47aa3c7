"""How to reach a Kafka cluster and what its topics are to look like; no connection is made here."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from streams.errors import LogError
from streams.topics import DEAD, Topic

MESSAGE_BYTES: Final = 4 * 1024 * 1024
DEAD_LETTER_BYTES: Final = 8 * 1024 * 1024
"""A dead letter holds a whole message in base64, and its reason."""
_LINGER_MS: Final = 2
_LONGEST_SEGMENT_MS: Final = 86_400_000
_TOMBSTONE_LIFE_MS: Final = 86_400_000
_STATE_SEGMENT_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """One process's way to a cluster.

    Attributes:
        bootstrap_servers: `host:port,...`
        security_protocol: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.
        sasl_mechanism: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; used with a SASL protocol only.
        ca_file: certificates to check the brokers' with; the system's where None.
        topic_prefix: put before every topic's, group's and transaction's name on a shared cluster.
        replication: replicas of topics made here.
        retention_days: for how long topics that are not kept hold a record.
        member: this process's stable name inside its groups: after `kill -9` the process that bears
            it again drops at once what its predecessor left open. Two that run at the same time
            must not share one. Empty: a new name at each start, and what a killed process left open
            is dropped after `transaction_timeout_seconds`.
        static: the group knows this process by its name too: a restart within the session timeout
            moves no partition, and an end is noticed only after it. Needs a `member` that is the
            same at each start.
        timeout_seconds: how long one append, commit or look-up may take before LogUnavailable.
        connect_seconds: how long a new connection is tried for; never longer than a call.
        session_timeout_seconds: a member silent for so long is replaced.
        poll_interval_seconds: a member that does not poll for so long is replaced.
        transaction_timeout_seconds: the cluster drops a transaction left open for so long.
    """

    bootstrap_servers: str = "127.0.0.1:9092"
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "SCRAM-SHA-512"
    sasl_username: str | None = None
    sasl_password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    topic_prefix: str = ""
    replication: int = 1
    retention_days: float = 90.0
    member: str = ""
    static: bool = False
    timeout_seconds: float = 10.0
    connect_seconds: float = 10.0
    session_timeout_seconds: float = 10.0
    poll_interval_seconds: float = 120.0
    transaction_timeout_seconds: float = 10.0

    def check(self) -> None:
        """Raise LogError where no cluster could be reached with these settings."""
        if self.security_protocol.startswith("SASL") and not (
            self.sasl_username and self.sasl_password
        ):
            raise LogError(
                f"QUINTET_KAFKA_SECURITY_PROTOCOL is {self.security_protocol}: set"
                " QUINTET_KAFKA_SASL_USERNAME and QUINTET_KAFKA_SASL_PASSWORD"
            )
        if self.ca_file is not None and not self.ca_file.is_file():
            raise LogError(f"QUINTET_KAFKA_CA_FILE: there is no file {self.ca_file}")

    @property
    def timeout_ms(self) -> int:
        """The time one call may take, in milliseconds."""
        return round(self.timeout_seconds * 1_000)

    def connection(self) -> dict[str, Any]:
        """Return the options every client of the cluster takes."""
        options: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap_servers.split(","),
            "security_protocol": self.security_protocol,
            "request_timeout_ms": self.timeout_ms,
            "bootstrap_timeout_ms": min(self.timeout_ms, round(self.connect_seconds * 1_000)),
            # A broker that comes back is noticed within a second, not within half a minute.
            "reconnect_backoff_max_ms": 1_000,
        }
        if self.ca_file is not None:
            options["ssl_cafile"] = str(self.ca_file)
        if self.security_protocol.startswith("SASL"):
            options["sasl_mechanism"] = self.sasl_mechanism
            options["sasl_plain_username"] = self.sasl_username
            options["sasl_plain_password"] = self.sasl_password
        return options

    def consumer(self) -> dict[str, Any]:
        """Return the options of a reader: only what is committed, from the beginning, by hand."""
        return self.connection() | {
            "isolation_level": "read_committed",
            "auto_offset_reset": "earliest",
            "enable_auto_commit": False,
            "allow_auto_create_topics": False,
            "fetch_max_wait_ms": 100,
            "metrics_enabled": False,
        }

    def member_of(self, group: str) -> dict[str, Any]:
        """Return the options of a reader that shares the partitions with its group."""
        return self.consumer() | {
            "group_id": self.topic_prefix + group,
            "session_timeout_ms": round(self.session_timeout_seconds * 1_000),
            "heartbeat_interval_ms": round(self.session_timeout_seconds * 1_000 / 5),
            "max_poll_interval_ms": round(self.poll_interval_seconds * 1_000),
        }

    def producer(self) -> dict[str, Any]:
        """Return the options of an idempotent writer that waits for every replica."""
        return self.connection() | {
            "acks": "all",
            "enable_idempotence": True,
            "compression_type": "lz4",
            "linger_ms": _LINGER_MS,
            "batch_size": 256 * 1024,
            "max_request_size": DEAD_LETTER_BYTES,
            "max_block_ms": self.timeout_ms,
            # Room for a second try within the time a call may take.
            "request_timeout_ms": self.timeout_ms // 2 - _LINGER_MS,
            "delivery_timeout_ms": self.timeout_ms,
            "allow_auto_create_topics": False,
            "metrics_enabled": False,
        }

    def topic_configuration(self, topic: Topic) -> dict[str, str]:
        """Return the configuration a topic is created with."""
        retention_ms = -1 if topic.kept else round(self.retention_days * 86_400_000)
        configuration = {
            "message.timestamp.type": "LogAppendTime",
            "cleanup.policy": "compact" if topic.compacted else "delete",
            "retention.ms": str(retention_ms),
            "retention.bytes": "-1",
            "max.message.bytes": str(DEAD_LETTER_BYTES if topic == DEAD else MESSAGE_BYTES),
            "min.insync.replicas": "2" if self.replication >= 3 else "1",
        }
        if not topic.kept:
            # Only whole closed segments are dropped, so none may stay open for long.
            configuration["segment.ms"] = str(min(retention_ms, _LONGEST_SEGMENT_MS))
        if topic.compacted:
            configuration["max.compaction.lag.ms"] = str(_LONGEST_SEGMENT_MS)
            # Copies of state on disk may be half as old.
            configuration["delete.retention.ms"] = str(_TOMBSTONE_LIFE_MS)
            # Small segments and early cleaning keep short what a new owner has to read.
            configuration["segment.bytes"] = str(_STATE_SEGMENT_BYTES)
            configuration["min.cleanable.dirty.ratio"] = "0.1"
        return configuration

    def required_configuration(self, topic: Topic) -> dict[str, str]:
        """Return what an existing topic must have too; the rest is its operator's business."""
        names = {"message.timestamp.type", "cleanup.policy"}
        if topic.kept:
            names |= {"retention.ms", "retention.bytes"}
        wanted = self.topic_configuration(topic)
        return {name: wanted[name] for name in sorted(names)}
