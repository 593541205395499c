"""The contract for programs of any language: JSON Schemas and an AsyncAPI document, generated from the structs.

`python -m schemas.contract_documents` writes them to `schemas/contracts/`; `make schemas` does so too. What JSON Schema
cannot say is said in descriptions: limits in bytes, times too far in the future, nesting.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from schemas.alert import Alert
from schemas.attribution_report import AttributionReport
from schemas.codec import cloud_event_headers
from schemas.dead_letter import HEADER_PREFIX
from schemas.errors import Reason
from schemas.explain_request import ExplainRequest
from schemas.explanation import Explanation
from schemas.field_descriptions import DESCRIPTIONS
from schemas.label import SentLabel
from schemas.limits import DEAD_LETTER_BYTES, DEAD_LETTER_EXCERPT_BYTES
from schemas.prediction import SentPrediction
from schemas.resource_report import ResourceReport
from schemas.resource_sample import SentResourceSample
from schemas.signals_report import SignalsReport
from schemas.stability_report import StabilityReport
from schemas.system_report import SystemReport
from schemas.topics import TOPICS, Topic
from schemas.window_report import WindowReport

__all__ = ["contract_documents"]

FOLDER = Path(__file__).parent / "contracts"
EXAMPLES = Path(__file__).parent / "examples"

VALUES: Mapping[str, type[msgspec.Struct]] = {
    "prediction": SentPrediction,
    "label": SentLabel,
    "resource_sample": SentResourceSample,
    "report": WindowReport,
    "stability_report": StabilityReport,
    "signals_report": SignalsReport,
    "resource_report": ResourceReport,
    "system_report": SystemReport,
    "attribution_report": AttributionReport,
    "alert": Alert,
    "explain_request": ExplainRequest,
    "explanation": Explanation,
}
"""By `schemas.topics.Topic.schema`, and by kind where there are several. Values of other topics are described in words
only."""
KINDS: Mapping[str, Sequence[str]] = {
    "report": (
        "report",
        "stability_report",
        "signals_report",
        "resource_report",
        "system_report",
        "attribution_report",
    )
}
"""What a topic has beside each other, told apart by `kind`; other topics have one kind of values."""
SHOWN_EXAMPLES = {
    "prediction": "full.json",
    "label": "full.json",
    "resource_sample": "full.json",
    "report": "quality.json",
    "stability_report": "stability.json",
    "signals_report": "signals.json",
    "resource_report": "resources.json",
    "system_report": "system.json",
    "attribution_report": "attribution.json",
    "alert": "firing.json",
    "explain_request": "full.json",
    "explanation": "tabular.json",
}
PROGRAMS = frozenset({"worker", "probe", "explainer", "alerts forward"})
"""Ours; all other producers and consumers of a topic are the application's world."""

DIALECT = "https://json-schema.org/draft/2020-12/schema"
TIME = {
    "type": "string",
    "format": "date-time",
    "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-5][0-9](\\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})$",
}

Document = dict[str, Any]


def contract_documents() -> Mapping[str, bytes]:
    """Content of every file of `schemas/contracts/`, by name."""
    documents: dict[str, Document] = {}
    for name, struct in VALUES.items():
        components = _schemas(struct, "#/$defs/{name}")
        root = components.pop(struct.__name__)
        head = {"$schema": DIALECT, "$id": _identifier(name)}
        documents[f"{name}.schema.json"] = head | root | ({"$defs": components} if components else {})
    documents["dead-letter-headers.schema.json"] = {
        "$schema": DIALECT,
        "$id": _identifier("dead-letter-headers"),
        **_dead_letter_headers(),
    }
    documents["asyncapi.json"] = _asyncapi()
    return {name: _written(document) for name, document in documents.items()}


def _written(document: Document) -> bytes:
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"


def _identifier(name: str) -> str:
    return f"urn:latelabel:{name}:v1"


# --- schemas ---------------------------------------------------------------------------------------------------------


def _schemas(struct: type[msgspec.Struct], reference: str) -> Document:
    """The schemas of a struct and of all that it consists of, by name."""
    _, found = msgspec.json.schema_components([_describable(struct)], ref_template=reference)
    components: Document = {}
    for name, schema in found.items():
        described = _plain(schema)
        for field, description in DESCRIPTIONS.get(name, {}).items():
            described["properties"][field] |= {"description": description}
        components[name] = described
    root = components[struct.__name__]
    for name in ("startsAt", "endsAt"):
        if name in root["properties"]:
            root["properties"][name] |= {"format": "date-time"}
    for time in ("event_time", "process_start_time"):
        if time in root["properties"]:
            described = root["properties"][time]
            if "anyOf" in described:
                described["anyOf"][:1] = [TIME]
            else:
                described |= {"format": "date-time"}
    if struct is SentPrediction:
        # Only a failed request may come without an answer.
        failed = {"required": ["status"], "properties": {"status": {"enum": ["error", "timeout"]}}}
        answered = {"required": ["prediction"], "properties": {"prediction": {"not": {"type": "null"}}}}
        root |= {"if": failed, "else": answered}
    return components


def _describable(struct: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """The struct by the names on the wire, and with features as what they have to be, which it keeps as text."""
    fields = [
        (field.encode_name, dict[str, Any] | None, None)
        if field.type is msgspec.Raw
        else (field.encode_name, field.type)
        if field.required
        else (field.encode_name, field.type, field.default)
        for field in msgspec.structs.fields(struct)
    ]
    described = msgspec.defstruct(struct.__name__, fields, kw_only=True)
    described.__doc__ = struct.__doc__
    return described


def _plain(schema: Any) -> Any:
    """Without what older dialects read differently: a tuple of equals becomes a list of that length."""
    if isinstance(schema, list):
        return [_plain(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {key: _plain(value) for key, value in schema.items() if key != "title"}
    entries = plain.pop("prefixItems", None)
    if entries:
        assert all(each == entries[0] for each in entries), "a tuple of different types needs another description"
        plain["items"] = entries[0]
    if plain.get("default", ...) is None:
        del plain["default"]
    return plain


def _dead_letter_headers() -> Document:
    texts = {
        "reason": {"type": "string", "enum": [str(reason) for reason in Reason], "description": "Closed list."},
        "message": {"type": "string", "description": "For people: the value, the limit and the remedy."},
        "topic": {"type": "string", "description": "Where the bad record stands."},
        "partition": {"type": "string", "pattern": "^[0-9]+$"},
        "offset": {
            "type": "string",
            "pattern": "^[0-9]+$",
            "description": "Of an unreadable batch, its first.",
        },
        "time": {
            "type": "string",
            "description": "The bad record's Kafka timestamp: RFC 3339, or milliseconds outside the years 1 to 9999.",
        },
        "sha256": {
            "type": "string",
            "pattern": "^[0-9a-f]{64}$",
            "description": f"Of the whole value; only where key, value and headers were larger than {DEAD_LETTER_BYTES}"
            f" bytes together and cut to {DEAD_LETTER_EXCERPT_BYTES}.",
        },
    }
    return {
        "type": "object",
        "description": "Added to the bad record's own headers.",
        "properties": {f"{HEADER_PREFIX}{name}": text for name, text in texts.items()},
        "required": [f"{HEADER_PREFIX}{name}" for name in texts if name != "sha256"],
    }


# --- AsyncAPI --------------------------------------------------------------------------------------------------------


def _asyncapi() -> Document:
    schemas: Document = {}
    for struct in VALUES.values():
        schemas |= _schemas(struct, "#/components/schemas/{name}")
    return {
        "asyncapi": "3.1.0",
        "info": {
            "title": "Latelabel",
            "version": "1",
            "license": {"name": "Apache-2.0"},
            "description": "Joins predictions with labels that come later and reports how good each model is. Topic"
            " names are the defaults; `kafka.topics` of the configuration changes them.",
        },
        "defaultContentType": "application/json",
        "channels": {topic.role: _channel(topic) for topic in TOPICS.values()},
        "operations": dict(operation for topic in TOPICS.values() for operation in _operations(topic)),
        "components": {
            "messages": {_message_name(topic): _message(topic) for topic in TOPICS.values()},
            "schemas": schemas,
        },
    }


def _channel(topic: Topic) -> Document:
    config: Document = {
        name: value.split(",") if name == "cleanup.policy" else int(value) for name, value in topic.config.items()
    }
    name = _message_name(topic)
    return {
        "address": topic.default_name,
        "description": f"Written by {_listed(topic.producers)}; read by {_listed(topic.consumers)}.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        "bindings": {"kafka": {"topicConfiguration": config, "bindingVersion": "0.5.0"}},
    }


def _operations(topic: Topic) -> list[tuple[str, Document]]:
    """What our own programs do with a topic."""
    roles = {"send": topic.producers, "receive": topic.consumers}
    return [
        (
            f"{action}_{topic.role}",
            {
                "action": action,
                "channel": {"$ref": f"#/channels/{topic.role}"},
                "summary": f"Done by {_listed(ours)}.",
                "messages": [{"$ref": f"#/channels/{topic.role}/messages/{_message_name(topic)}"}],
            },
        )
        for action, programs in roles.items()
        if (ours := [program for program in programs if program in PROGRAMS])
    ]


def _message(topic: Topic) -> Document:
    message: Document = {"name": _message_name(topic)}
    message["bindings"] = {"kafka": {"key": _key(topic), "bindingVersion": "0.5.0"}}
    if topic.role == "dead_letters":
        message["description"] = f"Value: {topic.schema}, which may be anything. Key: {topic.key}."
        message["headers"] = _dead_letter_headers()
        return message
    message["description"] = f"Key: {topic.key}."
    headers = _cloud_event_headers(topic.schema)
    if topic.is_input:
        # Nobody looks at the headers of what others publish.
        headers |= {"description": "Not read; written by `latelabel replay`.", "required": []}
    message["headers"] = headers
    kinds = [kind for kind in KINDS.get(topic.schema, (topic.schema,)) if kind in VALUES]
    if not kinds:
        message["payload"] = {"type": "object"}
        return message
    references = [{"$ref": f"#/components/schemas/{VALUES[kind].__name__}"} for kind in kinds]
    message["payload"] = references[0] if len(references) == 1 else {"oneOf": references}
    files = [EXAMPLES / topic.default_name / "valid" / SHOWN_EXAMPLES[kind] for kind in kinds]
    message["examples"] = [{"payload": json.loads(file.read_bytes())} for file in files]
    return message


def _key(topic: Topic) -> Document:
    # Of what others publish, and of what was refused, the key may be any bytes.
    return (
        {"description": topic.key}
        if topic.is_input or topic.role == "dead_letters"
        else {
            "type": "string",
            "description": topic.key,
        }
    )


def _cloud_event_headers(kind: str) -> Document:
    """As they are written, with what differs from event to event left open."""
    open_ones: Mapping[str, Document] = {
        "ce_id": {"type": "string", "description": "Equal for equal content."},
        "ce_source": {"type": "string", "format": "uri-reference", "description": "Who sent it."},
        "ce_time": {"type": "string", "format": "date-time"},
    }
    written = cloud_event_headers(kind, event_id="", source="", time_ms=0)
    return {
        "type": "object",
        "properties": {
            name: open_ones.get(name) or {"type": "string", "const": value.decode()} for name, value in written
        },
        "required": [name for name, _ in written],
    }


def _message_name(topic: Topic) -> str:
    return "dead_letter" if topic.role == "dead_letters" else topic.schema


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, content in contract_documents().items():
        (FOLDER / name).write_bytes(content)
