"""What a probe can be pointed at. Each target is read as often as asked, and finds again what was started anew."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Protocol

import psutil

from agents.probe.cgroup import Cgroup, cgroup_at, cgroup_of
from agents.probe.gpu import GpuReader
from agents.probe.processes import ProcessFinder, read_processes, tree_of
from agents.probe.readings import Reading, Trouble, TroubleReason, merged

__all__ = ["CgroupTarget", "ManyTargets", "ProcessTarget", "Target"]


class Target(Protocol):
    """Something to watch."""

    async def read(self) -> Reading:
        """Look once. Raises Trouble, and may be asked again."""

    def opened(self) -> contextlib.AbstractAsyncContextManager[object]:
        """In this block it can be read."""


class ProcessTarget:
    """A process with its children, and the control group and processors that they run in."""

    def __init__(self, find: ProcessFinder) -> None:
        self._find = find
        self._process: psutil.Process | None = None
        self._cgroup: Cgroup | None = None
        self._gpu = GpuReader()

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        yield

    async def read(self) -> Reading:
        if self._process is None:
            self._process = self._find()
            self._cgroup = cgroup_of(self._process.pid)
        try:
            processes = tree_of(self._process)
            own = read_processes(processes)
        except Trouble:
            self._process = None
            raise
        reading = dataclasses.replace(own, gpu=self._gpu.read([process.pid for process in processes]))
        if self._cgroup is not None:
            with contextlib.suppress(Trouble):  # it vanishes with its last process, which the next look tells
                reading = merged(reading, self._cgroup.read())
        return _within_host(reading, cores=_cores_of(self._process))


class CgroupTarget:
    """A control group by its path, whatever runs in it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._gpu = GpuReader()

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        yield

    async def read(self) -> Reading:
        cgroup = cgroup_at(self._path)
        reading = cgroup.read()
        pids = cgroup.pids()
        processes = _processes(pids)
        if not processes:
            raise Trouble(TroubleReason.NO_PROCESS, f"the control group {self._path} has no process")
        inside = read_processes(processes)
        reading = dataclasses.replace(merged(reading, inside), gpu=self._gpu.read(pids))
        return _within_host(reading, cores=os.cpu_count())


class ManyTargets:
    """Several ways to look at one target; what the first does not tell, the next may."""

    def __init__(self, targets: Sequence[Target]) -> None:
        self._targets = targets

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            for target in self._targets:
                await stack.enter_async_context(target.opened())
            yield

    async def read(self) -> Reading:
        reading = Reading()
        for target in self._targets:
            reading = merged(reading, await target.read())
        return reading


def _within_host(reading: Reading, *, cores: int | None) -> Reading:
    """Without limits of its own, those of the machine hold."""
    limit = psutil.virtual_memory().total
    return dataclasses.replace(
        reading,
        memory_limit_bytes=min(limit, reading.memory_limit_bytes or limit),
        cpu_limit_cores=reading.cpu_limit_cores or cores,
    )


def _cores_of(process: psutil.Process) -> int | None:
    try:
        return len(process.cpu_affinity() or ()) or os.cpu_count()
    except psutil.Error:
        return os.cpu_count()


def _processes(pids: Sequence[int]) -> list[psutil.Process]:
    """Those that run, the one that began first in front."""
    found = []
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append((process.create_time(), pid, process))
    return [process for _, _, process in sorted(found, key=lambda each: each[:2])]
