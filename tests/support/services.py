"""Names and topics on the real Kafka and Redis that the fixtures of `tests/conftest.py` start."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

__all__ = ["create_topic", "unique_name"]

ANSWER_SECONDS = 60.0


def unique_name(prefix: str) -> str:
    """Return a name that no other test uses: the session's Kafka keeps topics and groups between tests."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def create_topic(brokers: str, name: str, *, partitions: int = 1, settings: Mapping[str, str] | None = None) -> str:
    """Create a topic and return its name once every broker knows it."""
    admin = AdminClient({"bootstrap.servers": brokers, "log_level": 0})
    topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=dict(settings or {}))
    for created in admin.create_topics([topic], operation_timeout=ANSWER_SECONDS).values():
        created.result(ANSWER_SECONDS)
    return name
