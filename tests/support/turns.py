"""Turns among the processes that run tests: most tests share the machine, some must have it to themselves."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

__all__ = ["turn"]


@contextlib.contextmanager
def turn(folder: Path, *, alone: bool) -> Iterator[None]:
    """Wait until nobody runs alone, or for `alone` until nobody runs at all.

    Who waits holds the door, so that those who share cannot keep out for ever who wants to be alone.

    Args:
        folder: one that all processes share.
        alone: whether nobody may run beside.
    """
    with (folder / "room").open("w") as room:
        with (folder / "door").open("w") as door:
            fcntl.flock(door, fcntl.LOCK_EX)
            fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
