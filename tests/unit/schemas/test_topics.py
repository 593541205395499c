"""The topic registry says what the contract of the topics says."""

from __future__ import annotations

from schemas.topics import TOPICS


def test_roles_and_default_names_are_those_that_configurations_use() -> None:
    expected = {
        "predictions": "predictions",
        "labels": "labels",
        "resource_samples": "resource-samples",
        "metrics": "model-metrics",
        "alerts": "model-alerts",
        "explain_requests": "explain-requests",
        "explanations": "explanations",
        "dead_letters": "dead-letters",
    }
    assert expected == {role: topic.default_name for role, topic in TOPICS.items()}


def test_only_topics_that_are_revised_are_compacted() -> None:
    compacted = {role for role, topic in TOPICS.items() if topic.config["cleanup.policy"] == "compact,delete"}
    assert {"metrics", "alerts"} == compacted


def test_dead_letters_take_records_that_other_topics_refuse() -> None:
    assert {"cleanup.policy": "delete", "max.message.bytes": "16777216"} == TOPICS["dead_letters"].config


def test_inputs_are_predictions_and_labels() -> None:
    assert ["predictions", "labels"] == [role for role, topic in TOPICS.items() if topic.is_input]


def test_every_topic_says_who_writes_and_reads_it() -> None:
    assert all(topic.producers and topic.consumers and topic.key and topic.schema for topic in TOPICS.values())
