"""What processes cost: processor seconds and peak memory, from the kernel's own counters."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from tests.bench.errors import BenchError

__all__ = ["Cost", "cost_of_running"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one run: the program's own processor seconds, those of servers meanwhile, and what it took otherwise."""

    own_seconds: float
    server_seconds: Mapping[str, float]
    wall_seconds: float
    peak_bytes: int


def cost_of_running(
    command: Sequence[str], *, environment: Mapping[str, str], folder: Path, servers: Mapping[str, int]
) -> Cost:
    """Run a command to its end.

    Args:
        servers: process ids by name, of servers that work for it.

    Raises:
        BenchError: it failed; its output is in the message.
    """
    before = {name: _seconds(pid) for name, pid in servers.items()}
    began = time.monotonic()
    log = folder / "output.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=output, stderr=output)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise BenchError(f"{' '.join(command)} exited with {process.returncode}:\n{log.read_text()[-4000:]}")
    return Cost(
        own_seconds=usage.ru_utime + usage.ru_stime,
        server_seconds={name: _seconds(pid) - before[name] for name, pid in servers.items()},
        wall_seconds=time.monotonic() - began,
        peak_bytes=usage.ru_maxrss * 1024,
    )


def _seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)
