"""The configuration as JSON Schema, for editors that complete and check while somebody types.

It takes every file that is read, and refuses unknown keys, wrong types and most values out of bounds. What settings
mean together is for `latelabel config check`. Draft 7, which the language servers of YAML know best.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from agents.settings_fields import settings_of, written_value

__all__ = ["file_schema", "section_schema"]


def file_schema(kind: type) -> dict[str, Any]:
    """The schema of a whole file, whose outermost section is `kind`."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "urn:latelabel:configuration",
        "title": "Configuration of Latelabel",
        **section_schema(kind),
    }


def section_schema(kind: type) -> dict[str, Any]:
    """The schema of one section: a mapping, or nothing at all unless some setting is required."""
    properties: dict[str, Any] = {}
    required = []
    for field, key, meaning in settings_of(kind):
        if meaning.section is not None:
            properties[key] = {"description": meaning.help, **section_schema(meaning.section)}
            continue
        properties[key] = {"description": f"{meaning.help} A change applies {meaning.applies}.", **meaning.read.schema}
        if field.default is not dataclasses.MISSING:
            properties[key]["default"] = written_value(field.name, field.default)
        elif field.default_factory is not dataclasses.MISSING:
            properties[key]["default"] = written_value(field.name, field.default_factory())
        else:
            required.append(key)
    return {
        "type": "object" if required else ["object", "null"],
        "properties": properties,
        "additionalProperties": False,
        **({"required": required} if required else {}),
    }
