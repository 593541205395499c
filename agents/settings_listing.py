"""The configuration for readers: what is used, as a file that gives the same, and what every setting means."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from agents.explain_settings import ExplainSettings
from agents.model_settings import ModelSettings, SignalSettings
from agents.settings import RedisSettings, Settings
from agents.settings_fields import Setting, settings_of, written_flow, written_value
from agents.settings_file import write
from streams.monitored_model import MonitoredModel

__all__ = ["Row", "resolved_yaml", "settings_rows", "settings_table"]

MASK = "***"


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One setting: its dotted name, its default as it would be written, and what is known about it."""

    path: str
    default: str
    meaning: Setting


def settings_rows() -> Iterator[Row]:
    """Every setting, in the order of the file; those of models begin with `models[]`."""
    yield from _rows(Settings, Settings(), "")


def settings_table() -> str:
    """The table of settings of the reference, in Markdown."""
    lines = ["| Setting | Default | Meaning | A change applies |", "|---|---|---|---|"]
    for row in settings_rows():
        default = f"`{row.default}`" if row.default else "required"
        cells = (f"`{row.path}`", default, row.meaning.help, row.meaning.applies)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def resolved_yaml(settings: Settings) -> str:
    """The configuration with every default written out and passwords masked."""
    return write(_written(settings))


def _rows(kind: type, defaults: Any, prefix: str) -> Iterator[Row]:
    for field, key, meaning in settings_of(kind):
        path = f"{prefix}{key}"
        if kind is Settings and key == "models":
            yield Row(path, "[]", meaning)
            yield from _rows(ModelSettings, ModelSettings(name=""), f"{path}[].")
        elif meaning.section is not None:
            yield from _rows(meaning.section, getattr(defaults, field.name), f"{path}.")
        else:
            is_required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            value = "" if is_required else written_flow(written_value(field.name, getattr(defaults, field.name)))
            yield Row(path, value, meaning)


def _written(section: Any) -> dict[str, Any]:
    written: dict[str, Any] = {}
    for field, key, meaning in settings_of(type(section)):
        value = getattr(section, field.name)
        if meaning.section is not None:
            written[key] = _written(value)
        elif isinstance(section, RedisSettings) and key == "url":
            written[key] = _masked_url(section)
        elif not field.repr and value is not None:
            written[key] = MASK
        elif isinstance(section, Settings) and key == "models":
            written[key] = [_written_model(model) for model in value]
        else:
            written[key] = written_value(field.name, value)
    return written


def _written_model(model: MonitoredModel) -> dict[str, Any]:
    written: dict[str, Any] = {}
    for field, key, meaning in settings_of(ModelSettings):
        if meaning.section is ExplainSettings:
            written[key] = _written(ExplainSettings.of(model.explanation))
        elif meaning.section is SignalSettings:
            written[key] = _written(SignalSettings.of(model.signals))
        elif meaning.section is not None:
            written[key] = {"names": list(model.class_names), "aliases": dict(model.class_aliases)}
        else:
            written[key] = written_value(field.name, getattr(model, field.name))
    return written


def _masked_url(redis: RedisSettings) -> str:
    scheme, separator, rest = redis.url.partition("://")
    credentials, at, place = rest.rpartition("@")
    user, colon, _ = credentials.partition(":")
    return f"{scheme}{separator}{user}{colon}{MASK if colon else ''}{at}{place}"
