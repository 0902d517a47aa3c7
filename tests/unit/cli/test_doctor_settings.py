"""The doctor names the settings that are not safe, cannot work or are worth a look."""

from collections.abc import Mapping
from typing import Any

import pytest

from cli.doctor.configuration import judge_settings
from cli.doctor.findings import Finding
from cli.settings import Settings

KEY = "a key of more than twenty characters"
LONG_SECRET = "0123456789abcdef0123456789abcdef"


def of_settings(scopes: Mapping[str, frozenset[str]] | str = (), **given: Any) -> list[Finding]:  # type: ignore[assignment]
    settings = Settings(_env_file=None, **given)  # type: ignore[call-arg]
    return judge_settings(settings, (), scopes or {})


def failed(findings: list[Finding]) -> list[str]:
    return [finding.found for finding in findings if finding.status == "fail"]


def warned(findings: list[Finding]) -> list[str]:
    return [finding.found for finding in findings if finding.status == "warn"]


def test_ordinary_settings_are_fine() -> None:
    (finding,) = of_settings()

    assert finding.status == "ok"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"host": "0.0.0.0"}, "no API keys"),
        ({"scopes": "QUINTET_API_KEYS: no scope"}, "no scope"),
        ({"scopes": {KEY: frozenset({"events:browser", "events:server"})}}, "events:browser"),
        ({"scopes": {KEY: frozenset({"events:browser", "operate"})}}, "events:browser"),
        ({"control_share": 1.0}, "nothing is ever learned"),
        ({"retention_days": 0.5}, "kept for 0.5 days"),
        ({"settlement_seconds": 90, "attribution_window_seconds": 60}, "only when its"),
        ({"port": 8081}, "share port 8081"),
        ({"streams": "kafka", "secret": LONG_SECRET, "kafka_security_protocol": "SASL_SSL"},
         "needs a user and a password"),
        ({"streams": "kafka", "kafka_ca_file": "nowhere.pem"}, "is no file"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,  # no order of a set's members
)  # fmt: skip
def test_what_is_not_safe_or_cannot_work_fails(given: dict[str, Any], says: str) -> None:
    assert any(says in found for found in failed(of_settings(**given)))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"secret": "sixteen letters!"}, "can be guessed"),
        ({"secret": "ab" * 32}, "2 different ones"),
        ({"scopes": {"short": frozenset({"recommend"})}}, "can be guessed"),
        ({"streams": "kafka"}, "QUINTET_SECRET is not set"),
        ({"streams": "kafka", "kafka_bootstrap_servers": "broker:9092"}, "without encryption"),
        ({"streams": "kafka", "kafka_bootstrap_servers": "broker:9092"}, "one replica"),
        ({"streams": "kafka"}, "histories in a file"),
        ({"history": "redis", "redis_url": "redis://:word@cache:6379/0"}, "without encryption"),
        ({"cors_origins": "https://shop.example, *"}, "every site"),
        ({"control_share": 0.0}, "nobody can tell"),
    ],
    ids=str,
)
def test_what_is_worth_a_look_is_a_warning(given: dict[str, Any], says: str) -> None:
    findings = of_settings(**given)

    assert not failed(findings)
    assert any(says in found for found in warned(findings))
    assert not any("sixteen" in found or ":word@" in found for found in warned(findings))


def test_closed_wires_and_good_secrets_are_fine() -> None:
    findings = of_settings(
        {KEY: frozenset({"recommend", "events:browser"})},
        host="0.0.0.0", secret=LONG_SECRET, streams="kafka", history="redis",
        kafka_bootstrap_servers="broker:9092", kafka_replication=3,
        kafka_security_protocol="SSL", redis_url="rediss://cache:6379/0",
    )  # fmt: skip

    assert [finding.status for finding in findings] == ["ok"]


def test_a_name_that_is_no_setting_is_named_with_what_was_meant() -> None:
    settings = Settings(_env_file=None)  # type: ignore[call-arg]

    (finding,) = judge_settings(settings, {"QUINTET_CONTROL_SHARES", "QUINTET_PORT"}, {})

    assert "QUINTET_CONTROL_SHARES" in finding.found
    assert finding.remedy == "did you mean QUINTET_CONTROL_SHARE?"
