"""What the cluster is asked for, without a cluster."""

from pathlib import Path

from streams.kafka import KafkaSettings
from streams.topics import AGGREGATE_STATE, EVENTS, PRODUCTS, TOPICS

PASSWORD = "-".join(["correct", "horse"])


def test_a_password_is_never_shown() -> None:
    assert PASSWORD not in repr(KafkaSettings(sasl_password=PASSWORD))


def test_credentials_are_sent_only_where_the_protocol_has_them() -> None:
    plain = KafkaSettings(sasl_username="u", sasl_password=PASSWORD)
    secured = KafkaSettings(
        "a:1,b:2",
        security_protocol="SASL_SSL",
        sasl_mechanism="SCRAM-SHA-256",
        sasl_username="u",
        sasl_password=PASSWORD,
        ca_file=Path("ca.pem"),
    )

    assert not any(name.startswith("sasl") for name in plain.connection())
    assert secured.connection()["bootstrap_servers"] == ["a:1", "b:2"]
    assert secured.connection()["sasl_plain_username"] == "u"
    assert secured.connection()["sasl_mechanism"] == "SCRAM-SHA-256"
    assert secured.connection()["ssl_cafile"] == "ca.pem"


def test_every_topic_is_stamped_by_the_log_and_what_is_kept_is_kept_for_ever() -> None:
    settings = KafkaSettings(retention_days=2.0)

    for topic in TOPICS:
        configuration = settings.topic_configuration(topic)
        assert configuration["message.timestamp.type"] == "LogAppendTime"
        assert (configuration["retention.ms"] == "-1") is topic.kept
    assert settings.topic_configuration(EVENTS)["retention.ms"] == str(2 * 86_400_000)
    assert settings.topic_configuration(PRODUCTS)["cleanup.policy"] == "delete"
    assert settings.topic_configuration(AGGREGATE_STATE)["cleanup.policy"] == "compact"


def test_acknowledged_means_two_replicas_where_there_are_three() -> None:
    assert KafkaSettings().topic_configuration(EVENTS)["min.insync.replicas"] == "1"
    assert KafkaSettings(replication=3).topic_configuration(EVENTS)["min.insync.replicas"] == "2"


def test_retention_is_the_operator_s_business_where_records_may_go() -> None:
    assert "retention.ms" not in KafkaSettings().required_configuration(EVENTS)
    assert "retention.ms" in KafkaSettings().required_configuration(PRODUCTS)
