"""Parts and definitions as the commit script takes them: see agents/lua/commit.lua."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, TypeAlias

from streams.ledger.parts import Definitions, Part

__all__ = ["Argument", "definition_arguments", "part_arguments"]

Argument: TypeAlias = bytes | str | int


def definition_arguments(definitions: Definitions) -> list[Argument]:
    lists = {group: names.pack() for group, names in definitions.name_lists.items()}
    tables: tuple[Mapping[bytes, Any], ...] = (definitions.names, definitions.terms, lists)
    arguments: list[Argument] = []
    for table in tables:
        arguments.append(len(table))
        arguments += itertools.chain.from_iterable(table.items())
    return arguments


def part_arguments(part: Part) -> list[Argument]:
    return [
        str(part.source),
        part.expected,
        part.next,
        part.high_ms,
        part.watermark_ms,
        part.raise_to_ms,
        part.rejected,
        part.words,
        int(part.register),
        part.gap_to_ms,
        part.edition,
        part.rows,
        part.latencies,
        part.signals,
    ]
