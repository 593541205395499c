"""Values of the configuration with the place each was found at, and the mistakes made there.

The YAML is YAML 1.2's core: `yes`, `no`, `on` and `12:30` are text, so that classes may be called so. Nodes keep
their lines; nothing is built but what somebody asks for. The environment's texts become nodes without lines.

    file     redis: {shards: eight}             latelabel.yaml:1: redis.shards: found "eight", expected ...
    variable LATELABEL_REDIS__SHARDS=eight      LATELABEL_REDIS__SHARDS: found "eight", expected ...
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml

from streams.errors import LatelabelError

__all__ = ["LARGEST_BYTES", "ConfigurationError", "Found", "Mistake", "Unreadable", "did_you_mean", "parse", "write"]

Scalar = str | int | float | bool | None

LARGEST_BYTES = 1024 * 1024
"""Of a file: thousands of models. YAML is read at about a second for every 200 KiB."""
MOST_LEVELS = 32
"""Of lists and mappings in each other; what is read here has seven."""
_SHOWN_CHARACTERS = 80
_INT = re.compile(r"[-+]?[0-9]{1,300}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+\.?[0-9]*)(?:[eE][-+]?[0-9]+)?")


@dataclasses.dataclass(frozen=True, slots=True)
class Mistake:
    """One thing wrong with the configuration.

    `line` counts from 1 and is None for a variable of the environment, whose name is then the `path`; `found` is
    what stands there, `remedy` what should.
    """

    line: int | None
    path: str
    found: str
    remedy: str

    def describe(self, file: str) -> str:
        """One line for people; `file` is how they call the file."""
        place = f"{file}:{self.line}: " if self.line is not None else ""
        return f"{place}{self.path or 'the file'}: found {self.found}, {self.remedy}"


class ConfigurationError(LatelabelError):
    """The configuration cannot be used; `mistakes` holds everything wrong with it, in the order of the file."""

    def __init__(self, mistakes: Sequence[Mistake], *, file: str = "") -> None:
        self.mistakes = sorted(mistakes, key=lambda mistake: mistake.line or 0)
        super().__init__("\n".join(mistake.describe(file) for mistake in self.mistakes))


class Unreadable(Exception):
    """A value could not be read; the mistake is already on the list."""


class _Loader(yaml.SafeLoader):
    """YAML 1.2's core schema in place of YAML 1.1's."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012
    _levels = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self._levels > MOST_LEVELS:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(
                problem=f"more than {MOST_LEVELS} levels of lists and mappings", problem_mark=mark
            )
        self._levels += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._levels -= 1


def _resolve(tag: str, pattern: str, first: str) -> None:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"(?:{pattern})$"), list(first))


_resolve("null", "~|null|Null|NULL|", "~nN\0")
_resolve("bool", "true|True|TRUE|false|False|FALSE", "tTfF")
_resolve("int", _INT.pattern, "-+0123456789")
_resolve("float", _FLOAT.pattern, "-+.0123456789")
_resolve("merge", "<<", "<")
_Loader.yaml_implicit_resolvers[""] = _Loader.yaml_implicit_resolvers.pop("\0")


def parse(text: str | bytes, *, file: str) -> yaml.Node | None:
    """The root of a document; None if it holds nothing.

    Raises: ConfigurationError with the line at which it stops being YAML, or if there is too much of it.
    """
    if len(text) > LARGEST_BYTES:
        found = f"more than {LARGEST_BYTES // 1024} KiB"
        raise ConfigurationError(
            [Mistake(1, "YAML", found, "expected the configuration of one installation")], file=file
        )
    try:
        return yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        problem = (error.problem or "something that is not YAML").removeprefix("but ").removeprefix("found ")
        mistake = Mistake(line, "YAML", problem, "expected one YAML document; look at this line and the one before")
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problem = str(error).splitlines()[0]
        before = text[: getattr(error, "position", 0)]
        line = 1 + (before.count(b"\n") if isinstance(before, bytes) else before.count("\n"))
        mistake = Mistake(line, "YAML", problem, "expected UTF-8 text without control characters")
    raise ConfigurationError([mistake], file=file)


class _Dumper(yaml.SafeDumper):
    """Quotes what either version of YAML would not read as text."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [
            *yaml.SafeDumper.yaml_implicit_resolvers.get(first, []),
            *_Loader.yaml_implicit_resolvers.get(first, []),
        ]
        for first in yaml.SafeDumper.yaml_implicit_resolvers.keys() | _Loader.yaml_implicit_resolvers.keys()
    }


def write(value: object) -> str:
    """YAML that `parse` reads as this value, in the order it has."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """A value at its place.

    Args:
        node: what YAML says stands there.
        path: dotted keys, as people name the setting.
        mistakes: the list that everyone who reads adds to.
        folder: what relative file names are relative to.
        variable: the variable of the environment that it came from.
    """

    node: yaml.Node
    path: str
    mistakes: list[Mistake]
    folder: Path
    variable: str | None = None

    @classmethod
    def in_environment(cls, text: str, variable: str, mistakes: list[Mistake]) -> Found:
        """The value of a variable; its scalars are read as YAML reads them, and as text where text is wanted."""
        tag: str = _Loader("").resolve(yaml.ScalarNode, text.strip(), (True, False))  # type: ignore[no-untyped-call]
        return cls(yaml.ScalarNode(tag, text.strip()), variable, mistakes, Path.cwd(), variable)

    @property
    def line(self) -> int | None:
        """Counting from 1; None for the environment."""
        return self.node.start_mark.line + 1 if self.node.start_mark else None

    @property
    def is_mapping(self) -> bool:
        """Whether keys and values stand here."""
        return isinstance(self.node, yaml.MappingNode)

    @property
    def scalar(self) -> Scalar:
        """The text, number, truth value or null that stands here.

        Raises: Unreadable for a list or mapping, and for half a surrogate pair, which is no text.
        """
        if not isinstance(self.node, yaml.ScalarNode):
            raise Unreadable
        text: str = self.node.value
        if not _is_unicode(text):
            raise Unreadable
        kind = self.node.tag.rpartition(":")[2]
        if kind == "null":
            return None
        if kind == "bool" and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if kind == "int" and _INT.fullmatch(text):
            return int(text)
        return float(text) if kind in ("int", "float") and _FLOAT.fullmatch(text) else text

    @property
    def text(self) -> str | None:
        """The text that stands here; None for anything else. Whatever the environment holds is text."""
        try:
            scalar = self.scalar
        except Unreadable:
            return None
        if self.variable is not None:
            return str(self.node.value)
        return scalar if isinstance(scalar, str) else None

    def items(self) -> list[Found]:
        """The items of a list; of a variable, what its commas part.

        Raises: Unreadable if it is no list; nothing is added to the mistakes.
        """
        if self.variable is not None:
            texts = [text for text in str(self.node.value).split(",") if text.strip()]
            return [Found.in_environment(text, self.variable, self.mistakes) for text in texts]
        if not isinstance(self.node, yaml.SequenceNode):
            raise Unreadable
        return [self._below(node, f"{self.path}[{index}]") for index, node in enumerate(self.node.value)]

    def entries(self) -> dict[str, tuple[Found, Found]]:
        """Key and value of each entry of a mapping, by the key's text. A key that stands twice is a mistake.

        Raises: Unreadable if it is no mapping; nothing is added to the mistakes.
        """
        if not self.is_mapping:
            raise Unreadable
        return _entries(self, {})

    def text_at(self, name: str) -> str | None:
        """The text at a key of a mapping, whatever is wrong with the rest of it; None if there is none."""
        texts = (value.text for key, value in self.pairs() if key.text == name) if self.is_mapping else ()
        return next(iter(texts), None)

    def pairs(self) -> Iterator[tuple[Found, Found]]:
        """Key and value of each entry of a mapping as they are written, merges and repetitions included."""
        for key, value in self.node.value:
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
            path = f"{self.path}.{name}" if self.path else name
            yield self._below(key, path), self._below(value, path)

    def _below(self, node: yaml.Node, path: str) -> Found:
        return Found(node, path, self.mistakes, self.folder)

    def complain(self, found: str, remedy: str) -> None:
        """Add a mistake made here to the list."""
        self.mistakes.append(Mistake(self.line, self.path, found, remedy))

    def fail(self, expected: str) -> NoReturn:
        """Add to the list that something else was expected, and give up on this value."""
        self.complain(self.shown, f"expected {expected}")
        raise Unreadable

    @property
    def shown(self) -> str:
        """What stands here, as messages quote it."""
        if isinstance(self.node, yaml.SequenceNode):
            return f"a list of {len(self.node.value)}"
        if isinstance(self.node, yaml.MappingNode):
            return "keys and values" if self.node.value else "{}"
        text = str(self.node.value)
        if self.variable is None and _is_unicode(text) and not isinstance(self.scalar, str):
            return (text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…") or "nothing"
        quoted = json.dumps(text, ensure_ascii=not _is_unicode(text))
        return quoted if len(quoted) <= _SHOWN_CHARACTERS else quoted[:_SHOWN_CHARACTERS] + '…"'


_Entries = dict[str, tuple[Found, Found]]


def _entries(found: Found, known: dict[int, _Entries]) -> _Entries:
    """The entries of a mapping, merged ones included.

    Args:
        known: entries by node of every mapping met so far: each is looked at once, however often it is merged, and one
            that merges itself ends.
    """
    known[id(found.node)] = {}
    entries: _Entries = {}
    merged: _Entries = {}
    for key, value in found.pairs():
        if key.node.tag.endswith(":merge"):
            merged |= _merged(value, known)
        elif not isinstance(key.node, yaml.ScalarNode):
            key.complain(f"{key.shown} as a key", "expected text before the colon; put it in quotes")
        elif (name := str(key.node.value)) in entries:
            first = entries[name][0].line
            key.complain(f'"{name}" a second time', f"expected it once; it already stands in line {first}")
        else:
            entries[name] = (key, value)
    known[id(found.node)] = merged | entries
    return merged | entries


def _merged(found: Found, known: dict[int, _Entries]) -> _Entries:
    """What `<<` brings in: the entries of a mapping, or of several, of which the first wins."""
    entries: _Entries = {}
    for mapping in reversed(found.items() if isinstance(found.node, yaml.SequenceNode) else [found]):
        if not mapping.is_mapping:
            mapping.complain(mapping.shown, "expected an anchored mapping to merge, such as <<: *defaults")
        else:
            entries |= known[id(mapping.node)] if id(mapping.node) in known else _entries(mapping, known)
    return entries


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean "shards"?` if some known name looks like this one, else nothing."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.7)
    return f'; did you mean "{close[0]}"?' if close else ""
