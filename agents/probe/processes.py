"""A process and its children, found by pid, command line or port, and read by psutil.

A process is known by its pid and its moment of creation: a pid that is given to another process is another target.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import psutil

from agents.probe.readings import CpuUse, Reading, Trouble, TroubleReason

__all__ = ["ProcessFinder", "by_cmdline", "by_pid", "by_port", "read_processes", "tree_of"]

ProcessFinder = Callable[[], psutil.Process]
"""Finds the root of the tree to watch. Raises Trouble if there is none now."""

_GONE = (psutil.NoSuchProcess, psutil.ZombieProcess)


@dataclasses.dataclass(slots=True)
class _Sum:
    """What has been added up of a tree; a figure that one process refuses is not known of the tree."""

    rss_bytes: int = 0
    threads: int = 0
    open_fds: int | None = 0


def by_pid(pid: int) -> ProcessFinder:
    """The process that has this pid now, and never another one."""
    created: list[float] = []

    def find() -> psutil.Process:
        try:
            process = psutil.Process(pid)
            _refuse_zombie(process)
        except _GONE as error:
            raise Trouble(TroubleReason.NO_PROCESS, f"there is no process {pid}") from error
        if not created:
            created.append(process.create_time())
        elif created[0] != process.create_time():
            raise Trouble(TroubleReason.NO_PROCESS, f"process {pid} has ended; another one has its pid now")
        return process

    return find


def by_cmdline(pattern: str) -> ProcessFinder:
    """The oldest process whose command line holds a regular expression, and that is not a child of another such one."""
    expression = re.compile(pattern)

    def find() -> psutil.Process:
        # The probe's own command line holds the pattern, and so may those of the shells that started it.
        mine = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
        found = [process for process in _all_processes() if process.pid not in mine and _matches(process, expression)]
        if not found:
            raise Trouble(TroubleReason.NO_PROCESS, f"no process has a command line like {pattern!r}")
        return _oldest_root(found)

    return find


def by_port(port: int) -> ProcessFinder:
    """The process that listens on a TCP port; of several that share it, the one that began."""

    def find() -> psutil.Process:
        hidden = Trouble(
            TroubleReason.PERMISSION_DENIED,
            f"who listens on port {port} is not shown to this user; run the probe as the model's user or as root",
        )
        try:
            connections = psutil.net_connections("tcp")
        except psutil.AccessDenied as error:
            raise hidden from error
        listening = [
            each for each in connections if each.status == psutil.CONN_LISTEN and each.laddr and each.laddr.port == port
        ]
        pids = {each.pid for each in listening if each.pid is not None}
        if listening and not pids:
            raise hidden
        found = []
        for pid in pids:
            with contextlib.suppress(*_GONE):
                found.append(psutil.Process(pid))
        if not found:
            raise Trouble(TroubleReason.NO_PROCESS, f"no process listens on port {port}")
        return _oldest_root(found)

    return find


def tree_of(process: psutil.Process) -> list[psutil.Process]:
    """A process and all its descendants.

    Raises: Trouble if it has ended.
    """
    try:
        _refuse_zombie(process)
        return [process, *_descendants(process)]
    except _GONE as error:
        raise Trouble(TroubleReason.NO_PROCESS, f"process {process.pid} has ended") from error


def read_processes(processes: Sequence[psutil.Process]) -> Reading:
    """Add up processes, the first of which is the root: its start is that of the target.

    Raises: Trouble if the root has ended.
    """
    total, seconds = _Sum(), {}
    for process in processes:
        try:
            with process.oneshot():
                times = process.cpu_times()
                seconds[process.pid, process.create_time()] = times.user + times.system
                total.rss_bytes += process.memory_info().rss
                total.threads += process.num_threads()
            total.open_fds = _plus(total.open_fds, process)
        except _GONE as error:
            if process is processes[0]:
                raise Trouble(TroubleReason.NO_PROCESS, f"process {process.pid} has ended") from error
        except psutil.AccessDenied as error:
            raise Trouble(
                TroubleReason.PERMISSION_DENIED,
                f"process {process.pid} may not be read; run the probe as its user or as root",
            ) from error
    return Reading(
        cpu=CpuUse(dict(seconds)),
        rss_bytes=total.rss_bytes,
        threads=total.threads,
        open_fds=total.open_fds,
        start_ms=round(processes[0].create_time() * 1000),
    )


def _descendants(process: psutil.Process) -> Iterator[psutil.Process]:
    """All descendants, by the kernel's lists of children if it keeps them: psutil looks at every process there is."""
    tasks = Path(f"/proc/{process.pid}/task")
    if not (tasks / str(process.pid) / "children").exists():
        yield from process.children(recursive=True)
        return
    for file in tasks.glob("*/children"):
        try:
            pids = file.read_text().split()
        except OSError:
            continue  # the thread has ended; its children are another's now
        for pid in pids:
            with contextlib.suppress(*_GONE):
                child = psutil.Process(int(pid))
                if child.status() != psutil.STATUS_ZOMBIE:
                    yield child
                    yield from _descendants(child)


def _plus(open_fds: int | None, process: psutil.Process) -> int | None:
    try:
        return None if open_fds is None else open_fds + process.num_fds()
    except psutil.AccessDenied:
        return None


def _refuse_zombie(process: psutil.Process) -> None:
    if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
        raise psutil.NoSuchProcess(process.pid)


def _all_processes() -> Iterable[psutil.Process]:
    for pid in psutil.pids():
        with contextlib.suppress(psutil.NoSuchProcess):
            yield psutil.Process(pid)


def _matches(process: psutil.Process, expression: re.Pattern[str]) -> bool:
    try:
        # A zombie has no command line.
        return expression.search(" ".join(process.cmdline())) is not None
    except (psutil.AccessDenied, *_GONE):
        return False


def _oldest_root(found: Sequence[psutil.Process]) -> psutil.Process:
    pids = {process.pid for process in found}
    roots = []
    for process in found:
        with contextlib.suppress(*_GONE):
            if process.ppid() not in pids:
                roots.append((process.create_time(), process.pid, process))
    if not roots:
        raise Trouble(TroubleReason.NO_PROCESS, "the process has just ended")
    return min(roots)[2]
