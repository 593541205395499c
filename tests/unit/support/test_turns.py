"""Turns among processes, taken by threads: a lock of a file belongs to who opened it."""

from __future__ import annotations

import collections
import contextlib
import fcntl
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from tests.support.turns import Company, turn
from tests.support.waiting import wait_until


class Visitors:
    """Threads that take turns, each until it is told to end."""

    def __init__(self, folder: Path, pool: ThreadPoolExecutor) -> None:
        self._folder = folder
        self._pool = pool
        self._running: dict[str, Future[None]] = {}
        self._may_end: dict[str, threading.Event] = collections.defaultdict(threading.Event)
        self.began: list[str] = []

    def come(self, name: str, company: Company) -> None:
        """Begin to wait for a turn."""
        self._running[name] = self._pool.submit(self._run, name, company, self._may_end[name])

    def _run(self, name: str, company: Company, may_end: threading.Event) -> None:
        with turn(self._folder, company):
            self.began.append(name)
            assert may_end.wait(60)

    def wait_until_at_the_door(self, *, who: str) -> None:
        """Until somebody is there."""
        wait_until(lambda: is_held(self._folder / "door"), what=f"{who} to be at the door")

    def leave(self, name: str) -> None:
        """End a turn that has begun, and wait for it."""
        wait_until(lambda: name in self.began, what=f"the turn of {name}")
        self._may_end[name].set()
        self._running[name].result()


@contextlib.contextmanager
def visitors(folder: Path) -> Iterator[Visitors]:
    with ThreadPoolExecutor(4) as pool:
        yield Visitors(folder, pool)


def test_who_is_alone_runs_beside_nobody_and_is_not_kept_out_by_those_who_come_later(tmp_path: Path) -> None:
    with visitors(tmp_path) as here:
        here.come("one", "any")
        here.come("two", "any")
        wait_until(lambda: {"one", "two"} == set(here.began), what="two to share")
        here.come("alone", "none")
        here.wait_until_at_the_door(who="the one who wants to be alone")
        here.leave("one")
        here.come("late", "any")
        here.leave("two")
        wait_until(lambda: "alone" in here.began, what="the one who wants to be alone")
        assert ["alone"] == here.began[2:]
        here.leave("alone")
        here.leave("late")


def test_who_is_calm_runs_beside_the_calm_only(tmp_path: Path) -> None:
    with visitors(tmp_path) as here:
        here.come("calm one", "calm")
        here.come("calm two", "calm")
        wait_until(lambda: {"calm one", "calm two"} == set(here.began), what="two to share")
        here.come("any", "any")
        here.wait_until_at_the_door(who="one that is not calm")
        here.leave("calm one")
        here.leave("calm two")
        wait_until(lambda: "any" in here.began, what="the one that is not calm")
        here.come("calm three", "calm")
        here.wait_until_at_the_door(who="one that is calm")
        assert ["any"] == here.began[2:]
        here.leave("any")
        here.leave("calm three")


def is_held(lock: Path) -> bool:
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
