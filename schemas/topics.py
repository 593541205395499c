"""Every topic: what stands on it, who writes and reads it, and how it is to be created.

Roles are the keys of `kafka.topics` in the configuration; the default name is used where it names none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from schemas.limits import DEAD_LETTER_TOPIC_BYTES

__all__ = ["TOPICS", "Topic"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """A documented topic.

    `key` and `schema` say in words what the record's key and value are; `schema` is the `ce_type`'s
    middle part where we publish. `cleanup_policy` and `settings` are Kafka's own, for the creation.
    `is_input` marks the topics whose retention bounds what can be counted again.
    """

    role: str
    default_name: str
    key: str
    schema: str
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    cleanup_policy: str = "delete"
    is_input: bool = False
    settings: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def config(self) -> dict[str, str]:
        """All topic settings that are not Kafka's defaults."""
        return {"cleanup.policy": self.cleanup_policy, **self.settings}


_ALL = (
    Topic(
        role="predictions",
        default_name="predictions",
        key="anything; request_id is recommended",
        schema="prediction",
        producers=("model servers", "replay"),
        consumers=("worker", "explainer"),
        is_input=True,
    ),
    Topic(
        role="labels",
        default_name="labels",
        key="anything; request_id is recommended",
        schema="label",
        producers=("label sources", "replay"),
        consumers=("worker",),
        is_input=True,
    ),
    Topic(
        role="resource_samples",
        default_name="resource-samples",
        key="target",
        schema="resource_sample",
        producers=("probe",),
        consumers=("worker",),
    ),
    Topic(
        role="metrics",
        default_name="model-metrics",
        key="JSON array of kind, model, version, segment, window seconds, window start",
        schema="report",
        producers=("worker",),
        consumers=("tail", "dashboards", "users"),
        cleanup_policy="compact,delete",
    ),
    Topic(
        role="alerts",
        default_name="model-alerts",
        key="fingerprint",
        schema="alert",
        producers=("worker",),
        consumers=("tail", "alerts forward", "users"),
        cleanup_policy="compact,delete",
    ),
    Topic(
        role="explain_requests",
        default_name="explain-requests",
        key="request_id",
        schema="explain_request",
        producers=("worker", "explain"),
        consumers=("explainer",),
    ),
    Topic(
        role="explanations",
        default_name="explanations",
        key="request_id",
        schema="explanation",
        producers=("explainer",),
        consumers=("worker", "tail", "users"),
    ),
    Topic(
        role="dead_letters",
        default_name="dead-letters",
        key="key of the bad record",
        schema="the bad record's value, untouched",
        producers=("worker",),
        consumers=("worker", "dead-letters"),
        settings=MappingProxyType({"max.message.bytes": str(DEAD_LETTER_TOPIC_BYTES)}),
    ),
)

TOPICS: Mapping[str, Topic] = MappingProxyType({topic.role: topic for topic in _ALL})
"""By role, in the order of the contract."""
