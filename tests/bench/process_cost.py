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


LOOK_SECONDS = 0.1


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
        peak_bytes = 0
        try:
            while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
                # Not the usage's own peak: that begins with the memory of whoever forked it.
                peak_bytes = _peak_bytes(process.pid) or peak_bytes
                time.sleep(LOOK_SECONDS)
        except BaseException:
            process.kill()
            raise
    _, status, usage = ended
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise BenchError(f"{' '.join(command)} exited with {process.returncode}:\n{log.read_text()[-4000:]}")
    return Cost(
        own_seconds=usage.ru_utime + usage.ru_stime,
        server_seconds={name: _seconds(pid) - before[name] for name, pid in servers.items()},
        wall_seconds=time.monotonic() - began,
        peak_bytes=peak_bytes,
    )


def _peak_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0  # it ends just now


def _seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)
