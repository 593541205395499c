"""What processes cost: processor seconds and peak memory, from the kernel's own counters."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from deploy.server_process import spawn_tethered
from tests.bench.errors import BenchError

__all__ = ["Cost", "Meter", "cost_of_running", "cpu_seconds", "peak_bytes"]


LOOK_SECONDS = 0.1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one run: the programs' own processor seconds, those of servers meanwhile, and what it took otherwise.

    `others_cores` is what everything else on the machine used meanwhile, in cores: above a tenth or so the run was
    disturbed, and its processor seconds are too high as well.
    """

    own_seconds: float
    server_seconds: Mapping[str, float]
    wall_seconds: float
    peak_bytes: int
    others_cores: float


class Meter:
    """Reads the counters of servers, and of the machine, between two moments.

    Args:
        servers: process ids by name.
    """

    def __init__(self, servers: Mapping[str, int]) -> None:
        self._servers = servers
        self._before = self._read()

    def cost(self, *, own_seconds: float = 0.0, peak_bytes: int = 0) -> Cost:
        """What was spent since."""
        (began, busy, seconds), (ended, busy_now, seconds_now) = self._before, self._read()
        spent = {name: seconds_now[name] - seconds[name] for name in self._servers}
        wall = ended - began
        return Cost(
            own_seconds=own_seconds,
            server_seconds=spent,
            wall_seconds=wall,
            peak_bytes=peak_bytes,
            others_cores=max(0.0, (busy_now - busy - own_seconds - sum(spent.values())) / wall),
        )

    def _read(self) -> tuple[float, float, Mapping[str, float]]:
        times = psutil.cpu_times()
        busy = sum(times) - times.idle - times.iowait - times.guest - times.guest_nice
        return time.monotonic(), busy, {name: cpu_seconds(pid) for name, pid in self._servers.items()}


def cost_of_running(
    commands: Sequence[Sequence[str]],
    *,
    environment: Mapping[str, str],
    folder: Path,
    servers: Mapping[str, int],
    limit_seconds: float = 600.0,
) -> Cost:
    """Run commands beside each other, each to its end.

    Args:
        servers: process ids by name, of servers that work for them.

    Raises:
        BenchError: one failed, its output is in the message; or they took longer than the limit.
    """
    meter = Meter(servers)
    running: dict[int, tuple[Sequence[str], subprocess.Popen[bytes], Path]] = {}
    own_seconds, peaks = 0.0, dict[int, int]()
    try:
        for number, command in enumerate(commands):
            log = folder / f"output-{number}.log"
            with log.open("wb") as output:
                process = spawn_tethered(command, environment=environment, cwd=folder, log=output.fileno())
            running[process.pid] = command, process, log
        deadline = time.monotonic() + limit_seconds
        while running:
            for pid, (command, process, log) in list(running.items()):
                # Not the usage's own peak: that begins with the memory of whoever forked it.
                peaks[pid] = peak_bytes(pid) or peaks.get(pid, 0)
                ended, status, usage = os.wait4(pid, os.WNOHANG)
                if not ended:
                    continue
                del running[pid]
                process.returncode = os.waitstatus_to_exitcode(status)
                own_seconds += usage.ru_utime + usage.ru_stime
                if process.returncode:
                    said = log.read_text(errors="replace")[-4000:]
                    raise BenchError(f"{' '.join(command)} exited with {process.returncode}:\n{said}")
            if time.monotonic() > deadline:
                raise BenchError(f"{' '.join(commands[0])} ran for more than {limit_seconds:.0f} s")
            time.sleep(LOOK_SECONDS)
    finally:
        for _, process, _ in running.values():
            # With its children: the session is its own.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return meter.cost(own_seconds=own_seconds, peak_bytes=max(peaks.values()))


def peak_bytes(pid: int) -> int:
    """The most memory that a process has had resident; 0 if it has just ended."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has taken so far, by all its threads."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)
