"""What a changed configuration changes in a worker that runs, and what has to wait.

Which change needs what stands at each setting (`Applies`); this is the one place that acts on it:

    as it runs      evaluation_interval: 10s   kafka.group: a     models[fraud].positive_class: fraud
    as it is now    evaluation_interval: 30s   kafka.group: b     models[fraud].positive_class: stolen
    adopted         30s                        a, and said so     stolen
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from agents.explain_settings import ExplainSettings
from agents.model_settings import ModelSettings, SignalSettings
from agents.settings import Settings
from agents.settings_fields import Applies, settings_of
from streams.monitored_model import MonitoredModel

__all__ = ["Adoption", "Change", "adopt"]

_Section = TypeVar("_Section")

_WHOLE_SECTIONS: Mapping[type | None, str] = {ExplainSettings: "explanation", SignalSettings: "signals"}
"""Sections that are one field of a monitored model, which changes as a whole."""
_CLASS_FIELDS = {"names": "class_names", "aliases": "class_aliases"}
"""Of a monitored model, by the key in its section `classes`."""


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """A setting with another value than before, and what that needs."""

    path: str
    applies: Applies

    def __str__(self) -> str:
        """Why it was not adopted."""
        if self.applies is Applies.AT_ONCE:
            return f"{self.path} stays as it is: it needs a task or base_window that a model in use cannot get"
        return f"{self.path} stays as it is: a change applies {self.applies}"


@dataclasses.dataclass(frozen=True, slots=True)
class Adoption:
    """The settings that hold from now on: `adopted` changes are in them, `refused` ones are not."""

    settings: Settings
    adopted: tuple[Change, ...]
    refused: tuple[Change, ...]


def adopt(running: Settings, now: Settings) -> Adoption:
    """Take over what may change at once, and nothing else."""
    adopted: list[Change] = []
    refused: list[Change] = []
    settings = _merged(running, now, "", adopted, refused)
    models = tuple(_models(running, now, adopted, refused))
    return Adoption(dataclasses.replace(settings, models=models), tuple(adopted), tuple(refused))


def _merged(running: _Section, now: _Section, prefix: str, adopted: list[Change], refused: list[Change]) -> _Section:
    taken: dict[str, Any] = {}
    for field, key, meaning in settings_of(type(running)):
        before, after = getattr(running, field.name), getattr(now, field.name)
        if before == after or (not prefix and key == "models"):
            continue
        if meaning.section is not None:
            taken[field.name] = _merged(before, after, f"{prefix}{key}.", adopted, refused)
        elif meaning.applies is Applies.AT_ONCE:
            taken[field.name] = after
            adopted.append(Change(f"{prefix}{key}", meaning.applies))
        else:
            refused.append(Change(f"{prefix}{key}", meaning.applies))
    return dataclasses.replace(running, **taken)  # type: ignore[type-var]


def _models(running: Settings, now: Settings, adopted: list[Change], refused: list[Change]) -> Iterator[MonitoredModel]:
    """Those listed before or now: a model that is not listed has all defaults."""
    for name in dict.fromkeys(model.name for model in (*running.models, *now.models)):
        before, after = running.model(name), now.model(name)
        model = _merged_model(before, after)
        taken = {key for key, _ in _differences(before, model)}
        for key, applies in _differences(before, after):
            (adopted if key in taken else refused).append(Change(f"models[{name}].{key}", applies))
        if model != MonitoredModel(name=name) or after in now.models:
            yield model


def _merged_model(before: MonitoredModel, after: MonitoredModel) -> MonitoredModel:
    if before.task is not after.task and not (before.task.counts_classes and after.task.counts_classes):
        return before
    taken = {
        field.name: getattr(after, field.name)
        for field, _, meaning in settings_of(ModelSettings)
        if meaning.applies is Applies.AT_ONCE
    }
    if any(size_ms % before.base_window_ms for size_ms in after.report_windows_ms):
        del taken["report_windows_ms"]
    return dataclasses.replace(before, **taken)


def _differences(before: MonitoredModel, after: MonitoredModel) -> Iterator[tuple[str, Applies]]:
    for field, key, meaning in settings_of(ModelSettings):
        if meaning.section in _WHOLE_SECTIONS:
            whole = _WHOLE_SECTIONS[meaning.section]
            if getattr(before, whole) != getattr(after, whole):
                yield key, meaning.applies
        elif meaning.section is not None:
            for _, inner, inner_meaning in settings_of(meaning.section):
                if getattr(before, _CLASS_FIELDS[inner]) != getattr(after, _CLASS_FIELDS[inner]):
                    yield f"{key}.{inner}", inner_meaning.applies
        elif getattr(before, field.name) != getattr(after, field.name):
            yield key, meaning.applies
