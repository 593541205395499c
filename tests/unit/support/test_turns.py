"""Turns among processes, taken by threads: a lock of a file belongs to who opened it."""

from __future__ import annotations

import fcntl
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.turns import turn
from tests.support.waiting import wait_until


def test_who_is_alone_runs_beside_nobody_and_is_not_kept_out_by_those_who_come_later(tmp_path: Path) -> None:
    began: list[str] = []
    may_end = {name: threading.Event() for name in ("one", "two", "alone", "late")}

    def run(name: str) -> None:
        with turn(tmp_path, "none" if name == "alone" else "any"):
            began.append(name)
            assert may_end[name].wait(60)

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(run, name) for name in ("one", "two")]
        wait_until(lambda: {"one", "two"} == set(began), what="two to share")
        running.append(pool.submit(run, "alone"))
        wait_until(lambda: is_held(tmp_path / "door"), what="the one who wants to be alone to be at the door")
        may_end["one"].set()
        running[0].result()
        running.append(pool.submit(run, "late"))
        may_end["two"].set()
        wait_until(lambda: "alone" in began, what="the one who wants to be alone")
        assert ["alone"] == began[2:]
        may_end["alone"].set()
        wait_until(lambda: "late" in began, what="the one who came later")
        may_end["late"].set()
        for each in running:
            each.result()


def test_who_is_calm_runs_beside_the_calm_only(tmp_path: Path) -> None:
    began: list[str] = []
    may_end = {name: threading.Event() for name in ("calm one", "calm two", "any", "calm three")}

    def run(name: str) -> None:
        with turn(tmp_path, "calm" if name.startswith("calm") else "any"):
            began.append(name)
            assert may_end[name].wait(60)

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(run, name) for name in ("calm one", "calm two")]
        wait_until(lambda: {"calm one", "calm two"} == set(began), what="two to share")
        running.append(pool.submit(run, "any"))
        wait_until(lambda: is_held(tmp_path / "door"), what="one that is not calm to be at the door")
        may_end["calm one"].set()
        may_end["calm two"].set()
        wait_until(lambda: "any" in began, what="the one that is not calm")
        running.append(pool.submit(run, "calm three"))
        wait_until(lambda: is_held(tmp_path / "door"), what="one that is calm to be at the door")
        assert ["any"] == began[2:]
        may_end["any"].set()
        wait_until(lambda: "calm three" in began, what="the one that is calm")
        may_end["calm three"].set()
        for each in running:
            each.result()


def is_held(lock: Path) -> bool:
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
