"""In which order processes are given files of tests: so that none is left with a long one while the others are idle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

__all__ = ["by_length"]

BRIEF = "unit"
"""Files in folders of this name, and examples in docstrings, take seconds at most: they fill what is left over."""

EXCLUSIVE = {"calm": 2, "alone": 1}
"""Marks of tests that others may not run beside. Files that are calm come last, because they come together."""


def by_length(items: Sequence[pytest.Item], *, ordinary_seconds: float) -> list[pytest.Item]:
    """Files that may take long before others, and at the end those with a test marked `alone`, then `calm`.

    Nobody waits for a test that shares with few when nothing else is left to do. Within a file, and among files that
    are alike, tests stay in the order in which they come.

    Args:
        ordinary_seconds: the time-out of a test that names none. A longer one says that a test takes long.
    """
    exclusive: dict[Path, int] = {}
    seconds: dict[Path, float] = {}
    for item in items:
        rank = next((rank for name, rank in EXCLUSIVE.items() if item.get_closest_marker(name)), 0)
        exclusive[item.path] = max(exclusive.get(item.path, 0), rank)
        named = item.get_closest_marker("timeout")
        seconds[item.path] = max(seconds.get(item.path, 0), named.args[0] if named else ordinary_seconds)

    def place(item: pytest.Item) -> tuple[int, bool, float]:
        is_brief = BRIEF in item.path.parts or not item.nodeid.startswith("tests/")
        return exclusive[item.path], is_brief, -seconds[item.path]

    return sorted(items, key=place)
