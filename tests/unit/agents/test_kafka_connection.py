"""What aiokafka is told of the settings, and which topics are unsafe."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from agents.kafka_connection import connection_options
from agents.kafka_topics import ExistingTopic, differences, wanted_topics
from agents.settings import KafkaSettings, SecuritySettings, Settings
from schemas.topics import TOPICS
from streams.errors import PermanentFailure


def secured(**security: object) -> KafkaSettings:
    return KafkaSettings(brokers=("a:9093", "b:9093"), security=SecuritySettings(**security))  # type: ignore[arg-type]


def test_without_security_only_brokers_and_protocol_are_given() -> None:
    expected = {"bootstrap_servers": ["localhost:9092"], "security_protocol": "PLAINTEXT"}
    assert expected == connection_options(KafkaSettings())


def test_password_is_read_from_its_file_anew_each_time(tmp_path: Path) -> None:
    file = tmp_path / "password"
    kafka = secured(protocol="SASL_PLAINTEXT", mechanism="SCRAM-SHA-512", username="u", password_file=file)
    for password in ("first", " renewed with spaces "):
        file.write_text(f"{password}\n")
        options = connection_options(kafka)
        assert ("SCRAM-SHA-512", "u", password) == (
            options["sasl_mechanism"],
            options["sasl_plain_username"],
            options["sasl_plain_password"],
        )


def test_tls_checks_certificates_and_names() -> None:
    context = connection_options(secured(protocol="SSL"))["ssl_context"]
    assert (ssl.CERT_REQUIRED, True) == (context.verify_mode, context.check_hostname)


@pytest.mark.parametrize(
    ("security", "named"),
    [
        ({"protocol": "SASL_SSL", "mechanism": "PLAIN", "username": "u"}, "password_file"),
        ({"protocol": "SSL"}, "ca_file"),
    ],
)
def test_file_that_cannot_be_read_is_named(security: dict[str, object], named: str, tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    with pytest.raises(PermanentFailure, match=str(absent)):
        connection_options(secured(**security, **{named: absent}))


# --- topics ----------------------------------------------------------------------------------------------------------


def told(role: str, **config: str) -> list[tuple[bool, str]]:
    """What is told of an existing topic that differs from the wanted one in these settings."""
    wanted = next(topic for topic in wanted_topics(Settings()) if topic.role == role)
    usual = {"retention.ms": "604800000", "retention.bytes": "-1", "max.message.bytes": "1048588"}
    existing = ExistingTopic(
        partitions=wanted.partitions,
        replication_factor=wanted.replication_factor,
        config={**usual, **wanted.config, **{name.replace("_", "."): value for name, value in config.items()}},
    )
    return [(difference.is_unsafe, difference.text.split(" ")[0]) for difference in differences(wanted, existing)]


@pytest.mark.parametrize("role", TOPICS)
def test_topic_as_we_create_it_does_not_differ(role: str) -> None:
    assert [] == told(role)


def test_retention_of_inputs_must_reach_a_day_beyond_the_longest_horizon() -> None:
    two_days_ms = 2 * 86_400_000
    assert [] == told("labels", retention_ms=str(two_days_ms))
    assert [(True, "retention.ms")] == told("labels", retention_ms=str(two_days_ms - 1))
    assert [] == told("labels", retention_ms="-1")
    assert [] == told("metrics", retention_ms="1")


def test_retention_does_not_matter_where_nothing_is_deleted() -> None:
    assert [(False, "cleanup.policy")] == told("labels", retention_ms="1", cleanup_policy="compact")


def test_limit_in_bytes_on_an_input_is_told() -> None:
    assert [(False, "retention.bytes")] == told("predictions", retention_bytes="1000000")


def test_dead_letters_must_not_be_compacted_and_must_take_large_records() -> None:
    assert [(True, "cleanup.policy")] == told("dead_letters", cleanup_policy="compact,delete")
    assert [(True, "max.message.bytes")] == told("dead_letters", max_message_bytes="16777215")


def test_order_of_policies_does_not_matter() -> None:
    assert [] == told("metrics", cleanup_policy="delete,compact")
