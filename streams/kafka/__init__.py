"""The log on Apache Kafka. Only this folder imports kafka-python."""

from streams.kafka.changelog import StateFolder
from streams.kafka.log import KafkaLog
from streams.kafka.settings import KafkaSettings

__all__ = ["KafkaLog", "KafkaSettings", "StateFolder"]
