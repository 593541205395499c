"""Turns among the processes that run tests: most tests share the machine, some need it for themselves."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

__all__ = ["Company", "turn"]

Company = Literal["any", "calm", "none"]
"""Beside whom a test may run: any other, those alone that are calm themselves, or none."""


@contextlib.contextmanager
def turn(folder: Path, company: Company) -> Iterator[None]:
    """Wait until those run whose company this test may have, or nobody runs.

    Who waits holds the door, so that those who come later cannot keep out for ever who waits for others to leave.

    Args:
        folder: one that all processes share.
        company: of the test that is about to run.
    """
    # Each kind is in a room of its own. Who enters finds the rooms empty of those whom it may not meet.
    with (folder / "any").open("w") as room_of_any, (folder / "calm").open("w") as room_of_calm:
        with (folder / "door").open("w") as door:
            fcntl.flock(door, fcntl.LOCK_EX)
            for kind, room in (("any", room_of_any), ("calm", room_of_calm)):
                fcntl.flock(room, fcntl.LOCK_SH if kind == company else fcntl.LOCK_EX)
            if company == "any":
                fcntl.flock(room_of_calm, fcntl.LOCK_UN)
            elif company == "calm":
                fcntl.flock(room_of_any, fcntl.LOCK_UN)
        yield
