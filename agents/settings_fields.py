"""How a dataclass becomes a section of the configuration: each field says how it is read and what it means.

`setting` declares a field; `read_section` reads a mapping and the environment into the dataclass, adding every
mistake to one list. A key is its field's name without the unit: `idle_after_ms` is written `idle_after: 1m`.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from agents.durations import duration_text
from agents.settings_file import Found, Mistake, Unreadable, did_you_mean

__all__ = [
    "ENVIRONMENT_PREFIX",
    "Applies",
    "Conflict",
    "Overrides",
    "Reader",
    "Setting",
    "key_of",
    "read_section",
    "reads",
    "required",
    "section",
    "setting",
    "settings_of",
    "written_flow",
    "written_value",
]

ENVIRONMENT_PREFIX = "LATELABEL_"

Instance = TypeVar("Instance")


@dataclasses.dataclass(frozen=True, slots=True)
class Reader:
    """Gives the value that stands at a place, or raises `Unreadable` with the mistake on the list.

    `schema` is as much of the same as JSON Schema can say, for editors: it takes whatever is read.
    """

    read: Callable[[Found], Any]
    schema: Mapping[str, Any]

    def __call__(self, found: Found) -> Any:
        return self.read(found)


def reads(schema: Mapping[str, Any]) -> Callable[[Callable[[Found], Any]], Reader]:
    """Make a function a reader of what the schema describes."""
    return lambda read: Reader(read, schema)


class Applies(enum.StrEnum):
    """What a change of a setting needs in an installation that has counted already."""

    AT_ONCE = "at once: on SIGHUP, past windows as they are revised"
    RESTART = "with the next start of the workers"
    LATER_RECORDS = "with the next start, to what is read from then on; what is counted stays"
    LATER_WINDOWS = "with the next start, in windows that start later; earlier ones keep what they were counted by"
    COUNTED_MODELS = "never to a model that is counted: rebuild the ledger, or count under another prefix"
    NEW_LEDGER = "never to an existing ledger: rebuild it, or count under another prefix"
    NEW_TOPICS = "to topics that are created later"


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """What is known about one field: how it is read, for people what it is, and what a change needs.

    `section` is the dataclass of a mapping in the file, whose fields are settings of their own.
    """

    read: Reader
    help: str
    applies: Applies
    section: type | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Conflict:
    """Values that exclude each other: the keys they stand at (the one to blame first), and what is expected."""

    keys: tuple[str, ...]
    expected: str
    found: str | None = None


class _Section(Protocol):
    def conflicts(self) -> Iterator[Conflict]: ...


class Overrides:
    """The environment's `LATELABEL_` variables, and which of them have been used."""

    def __init__(self, environ: Mapping[str, str], mistakes: list[Mistake], *, reserved: tuple[str, ...] = ()) -> None:
        self._mistakes = mistakes
        self._unused = {
            name: value
            for name, value in environ.items()
            if name.startswith(ENVIRONMENT_PREFIX) and name not in reserved
        }
        self._known: list[str] = []

    def take(self, path: tuple[str, ...]) -> Found | None:
        """The value that the environment gives to a setting."""
        variable = ENVIRONMENT_PREFIX + "__".join(path).upper()
        self._known.append(variable)
        value = self._unused.pop(variable, None)
        return None if value is None else Found.in_environment(value, variable, self._mistakes)

    def complain_about_unused(self) -> None:
        """Add variables that look like settings and are none.

        Others stay: Kubernetes gives every container `LATELABEL_SERVICE_HOST` and the like if a service is called
        so, and their single underscores tell them apart. `LATELABEL_WEB_PORT` can be both; then its value tells.
        """
        top_level = [name for name in self._known if "__" not in name]
        single = {name.replace("__", "_"): name for name in self._known if "__" in name}
        for variable, value in sorted(self._unused.items()):
            meant = single.get(variable) if "://" not in value or not variable.endswith("_PORT") else None
            hint = did_you_mean(variable, [meant] if meant else self._known if "__" in variable else top_level)
            if hint or "__" in variable:
                self._mistakes.append(Mistake(None, variable, "no setting of that name", f"expected another one{hint}"))


def setting(default: Any, read: Reader, help: str, applies: Applies = Applies.RESTART, *, secret: bool = False) -> Any:  # noqa: A002
    """A dataclass field that stands in the configuration; `secret` ones stay out of its `repr`.

    `default` may be a type, such as `dict`, whose empty value is then the default.
    """
    metadata = {"setting": Setting(read, help, applies)}
    if isinstance(default, type):
        return dataclasses.field(default_factory=default, metadata=metadata, repr=not secret)
    return dataclasses.field(default=default, metadata=metadata, repr=not secret)


def required(read: Reader, help: str) -> Any:  # noqa: A002
    """A dataclass field without default: it has to stand in the file."""
    return dataclasses.field(metadata={"setting": Setting(read, help, Applies.RESTART)})


def section(kind: type[Instance], help: str) -> Any:  # noqa: A002
    """A dataclass field that is a mapping of settings."""
    metadata = {"setting": Setting(Reader(_no_value, {}), help, Applies.RESTART, section=kind)}
    return dataclasses.field(default_factory=kind, metadata=metadata)


def settings_of(kind: type) -> Iterator[tuple[dataclasses.Field[Any], str, Setting]]:
    """Field, key and meaning of each setting of a section."""
    for field in dataclasses.fields(kind):
        if "setting" in field.metadata:
            yield field, key_of(field.name), field.metadata["setting"]


def key_of(field_name: str) -> str:
    """How a field is called in the file: values there carry their unit, so names do not."""
    return field_name.removesuffix("_ms")


def written_value(field_name: str, value: Any) -> Any:
    """A value as it is written in the file."""
    if isinstance(value, list | tuple):
        return [written_value(field_name, item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, int) and key_of(field_name) != field_name:
        return duration_text(value)
    return str(value) if isinstance(value, str) else value


def written_flow(value: Any) -> str:
    """A written value on one line, as YAML has it."""
    if isinstance(value, list):
        return "[" + ", ".join(map(written_flow, value)) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {written_flow(item)}" for key, item in value.items()) + "}"
    return "null" if value is None else str(value)


def read_section(
    kind: type[Instance], found: Found | None, mistakes: list[Mistake], overrides: Overrides | None, *path: str
) -> Instance:
    """Read a section; what cannot be read has its default, and a mistake says so.

    Args:
        found: the mapping in the file; None if there is none.
        overrides: the environment; None where it has no say, as inside lists.
        path: keys that lead to the section.

    Raises: Unreadable if a setting without default is missing.
    """
    entries = _entries(kind, found)
    values: dict[str, Any] = {}
    unreadable: set[str] = set()
    for field, key, meaning in settings_of(kind):
        place = entries.get(key, (None, None))[1]
        if meaning.section is not None:
            values[field.name] = read_section(meaning.section, place, mistakes, overrides, *path, key)
            continue
        place = (overrides.take((*path, key)) if overrides else None) or place
        if place is None:
            continue
        entries[key] = (place, place)
        try:
            values[field.name] = meaning.read(place)
        except Unreadable:
            unreadable.add(key)
    instance = _construct(kind, values, unreadable, found)
    if hasattr(instance, "conflicts"):
        for conflict in cast("_Section", instance).conflicts():
            if unreadable.isdisjoint(conflict.keys):
                _complain(conflict, entries, found, mistakes, ".".join(path))
    return instance


def _entries(kind: type, found: Found | None) -> dict[str, tuple[Found, Found]]:
    if found is None or (not found.is_mapping and found.shown == "nothing"):
        return {}
    known = [key for _, key, _ in settings_of(kind)]
    try:
        entries = found.entries()
    except Unreadable:
        found.complain(found.shown, f"expected keys and values: {', '.join(known)}")
        return {}
    for name, (key, _) in entries.items():
        if name in known:
            continue
        key.complain("an unknown key", f"expected one of {', '.join(known)}{did_you_mean(name, known)}")
    return {name: entry for name, entry in entries.items() if name in known}


def _construct(kind: type[Instance], values: dict[str, Any], unreadable: set[str], found: Found | None) -> Instance:
    missing = [
        field
        for field in dataclasses.fields(cast("Any", kind))
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if field.name not in values
    ]
    for field in missing:
        if found is not None and key_of(field.name) not in unreadable and found.is_mapping:
            found.complain(f"no {key_of(field.name)}", f"expected one: {field.metadata['setting'].help}")
    if missing:
        raise Unreadable
    return kind(**values)


def _complain(
    conflict: Conflict,
    entries: Mapping[str, tuple[Found, Found]],
    found: Found | None,
    mistakes: list[Mistake],
    path: str,
) -> None:
    """Add a conflict at the first of its keys that somebody wrote, since defaults have no place."""
    for key in conflict.keys:
        if key in entries:
            place = entries[key][1]
            place.complain(conflict.found or place.shown, f"expected {conflict.expected}")
            return
    line = found.line if found else None
    where = f"{path}.{conflict.keys[0]}".lstrip(".")
    mistakes.append(Mistake(line, where, conflict.found or "nothing", f"expected {conflict.expected}"))


def _no_value(found: Found) -> Any:
    raise AssertionError(f"{found.path} is a section")
