"""Writing to Kafka: batches that wait for their acknowledgement, and transactions.

Whatever happened to a record is known only when the broker says so. After any other end the
producer is destroyed, for it may still retry in the background, and its successor starts clean.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from kafka import ConsumerGroupMetadata, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.errors import (
    CommitFailedError,
    FencedInstanceIdError,
    IllegalGenerationError,
    InvalidProducerEpochError,
    KafkaError,
    KafkaTimeoutError,
    ProducerFencedError,
    UnknownMemberIdError,
)
from kafka.producer.transaction_manager import TransactionalRequestResult

from streams.errors import Fenced, LogError, LogUnavailable, MessageTooLarge
from streams.kafka.connection import connected
from streams.kafka.settings import MESSAGE_BYTES, KafkaSettings

REPLACED: Final = (
    CommitFailedError,
    FencedInstanceIdError,
    IllegalGenerationError,
    InvalidProducerEpochError,
    ProducerFencedError,
    UnknownMemberIdError,
)
"""What a broker says to a member that was replaced."""
_RECORD_OVERHEAD_BYTES: Final = 1_024
_DESTROY_SECONDS: Final = 1.0


class Routed(NamedTuple):
    """A message with the topic (as the cluster names it) and the partition it goes to."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    limit_bytes: int = MESSAGE_BYTES

    def check(self) -> None:
        """Raise LogError, or MessageTooLarge, when no try would bring it into the cluster."""
        if self.key is None and self.value is None:
            raise LogError(f"a message for topic {self.topic!r} has neither key nor value")
        size = len(self.key or b"") + len(self.value or b"") + _RECORD_OVERHEAD_BYTES
        if size > self.limit_bytes:
            raise MessageTooLarge(
                f"a message of {size} bytes for topic {self.topic!r}, which takes at most"
                f" {self.limit_bytes}"
            )


class BoundedProducer(KafkaProducer):  # type: ignore[misc]  # kafka-python has no types
    """kafka-python's producer with an end to every wait, and to itself."""

    def send_all(self, messages: Sequence[Routed], *, seconds: float) -> dict[TopicPartition, int]:
        """Send messages and wait until each is acknowledged; raises KafkaError.

        Returns:
            the offset after the last message of each partition.
        """
        deadline = time.monotonic() + seconds
        sent = [
            self.send(m.topic, value=m.value, key=m.key, partition=m.partition) for m in messages
        ]
        reached: dict[TopicPartition, int] = {}
        for message, future in zip(messages, sent, strict=True):
            told = future.get(timeout=max(0.0, deadline - time.monotonic()))
            reached[TopicPartition(message.topic, message.partition)] = told.offset + 1
        return reached

    def send_offsets_within(
        self,
        offsets: Mapping[TopicPartition, OffsetAndMetadata],
        member: ConsumerGroupMetadata,
        *,
        seconds: float,
    ) -> None:
        """Make a group's offsets part of the transaction; raises KafkaError."""
        self._wait(self._transaction_manager.send_offsets_to_transaction(offsets, member), seconds)

    def commit_within(self, *, seconds: float) -> None:
        """Commit the transaction; raises KafkaError, after which nobody knows."""
        self._wait(self._transaction_manager.begin_commit(), seconds)

    def _wait(self, result: TransactionalRequestResult, seconds: float) -> None:
        self._sender.wakeup()
        if not result.wait(timeout_ms=seconds * 1_000):
            raise KafkaTimeoutError(f"no answer within {seconds} s")

    def destroy(self) -> None:
        """Stop at once; what was not acknowledged is not sent any more."""
        self._unregister_cleanup()
        self._closed = True
        self._sender.force_close()
        self._sender.join(_DESTROY_SECONDS)


class Writer:
    """The producer all threads of a process append with; made anew after each failure."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._producer: BoundedProducer | None = None

    def append(self, messages: Sequence[Routed]) -> None:
        """Send messages and wait for all acknowledgements.

        Raises:
            LogUnavailable: not all were acknowledged in time.
            MessageTooLarge: one is too large; nothing was sent.
        """
        for message in messages:
            message.check()
        producer = self._current()
        try:
            producer.send_all(messages, seconds=self._settings.timeout_seconds)
        except KafkaError as problem:
            self._drop(producer)
            raise LogUnavailable(f"Kafka did not acknowledge: {problem}") from problem
        except BaseException:
            self._drop(producer)
            raise

    def close(self) -> None:
        """Stop the producer; every acknowledged message stays."""
        with self._lock:
            if self._producer is not None:
                self._producer.destroy()
                self._producer = None

    def _current(self) -> BoundedProducer:
        with self._lock:
            if self._producer is None:
                self._producer = connected(BoundedProducer, self._settings.producer())
            return self._producer

    def _drop(self, producer: BoundedProducer) -> None:
        with self._lock:
            if self._producer is producer:
                self._producer = None
        producer.destroy()


class Transactions:
    """Commits of one consumer under one transactional id: outputs, state and offsets as one.

    A process that comes back under the same id ends what its predecessor left open, at once.
    """

    def __init__(self, settings: KafkaSettings, transactional_id: str) -> None:
        self._settings = settings
        self._id = transactional_id
        self._producer: BoundedProducer | None = None

    def prepare(self) -> None:
        """End what a predecessor left open; raises LogUnavailable."""
        if self._producer is None:
            self._producer = self._begin()

    def _begin(self) -> BoundedProducer:
        options = self._settings.producer() | {
            "transactional_id": self._id,
            "transaction_timeout_ms": round(self._settings.transaction_timeout_seconds * 1_000),
        }
        producer = connected(BoundedProducer, options)
        try:
            producer.init_transactions()
        except KafkaError as problem:
            producer.destroy()
            raise LogUnavailable(f"Kafka begins no transactions: {problem}") from problem
        return producer

    def commit(
        self,
        messages: Sequence[Routed],
        offsets: Mapping[TopicPartition, OffsetAndMetadata],
        member: ConsumerGroupMetadata,
    ) -> dict[TopicPartition, int]:
        """Commit messages and offsets together.

        The order matters (`rewards/aggregator.py` numbers it): every message is acknowledged
        first, so that no late failure can end the transaction behind the commit's back; then the
        offsets, with which the cluster checks that `member` is still one; then the commit itself.

        Returns:
            the offset after the last message of each partition.

        Raises:
            Fenced: the member or the transactional id was replaced; nothing moved.
            LogUnavailable: not known whether it happened.
            MessageTooLarge: a message is too large; nothing moved.
        """
        for message in messages:
            message.check()
        self.prepare()
        producer, seconds = self._producer, self._settings.timeout_seconds
        assert producer is not None  # noqa: S101 - prepare has just made it
        try:
            producer.begin_transaction()
            reached = producer.send_all(messages, seconds=seconds)
            producer.send_offsets_within(offsets, member, seconds=seconds)
            producer.commit_within(seconds=seconds)
        except REPLACED as problem:
            self.close()
            raise Fenced(f"{self._id}: {problem}") from problem
        except KafkaError as problem:
            self.close()
            raise LogUnavailable(f"Kafka did not commit: {problem}") from problem
        except BaseException:
            self.close()
            raise
        return reached

    def close(self) -> None:
        """Destroy the producer; an open transaction ends with the next `prepare` or by itself."""
        if self._producer is not None:
            self._producer.destroy()
            self._producer = None
