"""Keeps workers alive, as production would: what ends with an error is started again.

Each worker has a slot with its own log. `kill`, `freeze` and `wake` act on the process in a slot; the watching
thread notices the end, counts it in `ended`, and starts the next one a moment later. A worker that ends without an
error although nobody asked it to is a failure of its own kind and is kept in `surprises`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from deploy.server_process import spawn_tethered
from tests.support.waiting import wait_until

__all__ = ["ROOT", "Supervisor"]

ROOT = Path(__file__).resolve().parents[3]
WATCH_SECONDS = 0.1
RESTART_SECONDS = 0.5
"""Between an end and the next start, as supervisors wait."""
STOP_SECONDS = 10.0
"""What the worker promises after SIGTERM."""


@dataclasses.dataclass(slots=True)
class _Slot:
    command: Sequence[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    is_wanted: bool = False
    start_at: float = 0.0


class Supervisor:
    """Runs `count` workers with one command.

    Args:
        command: of a worker; `{slot}` in it is replaced by the number of the slot.
        folder: for the logs.
        environment: of the workers, beside this process's own.
    """

    def __init__(
        self, command: Sequence[str], *, folder: Path, count: int = 2, environment: Mapping[str, str] | None = None
    ) -> None:
        self.ended: Counter[int] = Counter()
        self.surprises: list[str] = []
        self.peak_rss_bytes = 0
        self._folder = folder
        self._environment = {**os.environ, **(environment or {})}
        self._slots = [
            _Slot([word.replace("{slot}", str(slot)) for word in command], folder / f"worker-{slot}.log")
            for slot in range(count)
        ]
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    @property
    def slots(self) -> range:
        """The numbers of the slots."""
        return range(len(self._slots))

    def start(self) -> None:
        """Start a worker in every slot, and keep them running."""
        for slot in self.slots:
            self.add(slot)
        self._thread.start()

    def add(self, slot: int) -> None:
        """Want a worker in the slot."""
        with self._lock:
            self._slots[slot].is_wanted = True

    def remove(self, slot: int) -> None:
        """Stop the slot's worker (SIGTERM), and want none there."""
        with self._lock:
            self._slots[slot].is_wanted = False
            process = self._slots[slot].process
        if process is not None:
            self._finish(slot, process)

    def kill(self, slot: int) -> None:
        """End the slot's worker as a crash would."""
        self._signal(slot, signal.SIGKILL)

    def freeze(self, slot: int) -> None:
        """Stop the slot's worker in the middle of whatever it does."""
        self._signal(slot, signal.SIGSTOP)

    def wake(self, slot: int) -> None:
        """Let a frozen worker go on, unaware."""
        self._signal(slot, signal.SIGCONT)

    def order(self, slot: int, point: str, number: signal.Signals) -> None:
        """Have the slot's worker, a breakable one, send itself a signal when it next comes to a point."""
        wait_until(lambda: self._orders(slot).exists(), what=f"worker {slot} to take orders")
        self._orders(slot).write_text(f"{point}:{number.name}")
        self._signal(slot, signal.SIGUSR1)

    def _orders(self, slot: int) -> Path:
        process = self._slots[slot].process
        return self._folder / (str(process.pid) if process is not None else "nobody")

    def is_frozen(self, slot: int) -> bool:
        """Whether the slot's worker stands still, for instance by its own hand."""
        process = self._slots[slot].process
        with contextlib.suppress(psutil.NoSuchProcess):
            return process is not None and psutil.Process(process.pid).status() == psutil.STATUS_STOPPED
        return False

    def running(self) -> int:
        """How many workers run."""
        with self._lock:
            return sum(slot.process is not None and slot.process.poll() is None for slot in self._slots)

    def stop(self) -> None:
        """Stop all workers, each within the time that it promises."""
        for slot in self.slots:
            self.wake(slot)
        for slot in self.slots:
            with self._lock:
                self._slots[slot].is_wanted = False
                process = self._slots[slot].process
            if process is not None and process.poll() is None:
                process.terminate()
        for slot in self.slots:
            if (process := self._slots[slot].process) is not None:
                self._finish(slot, process)
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def log(self, slot: int) -> str:
        """Everything that the slot's workers have written."""
        path = self._slots[slot].log
        return path.read_text(errors="replace") if path.exists() else ""

    def _signal(self, slot: int, number: signal.Signals) -> None:
        with self._lock:
            process = self._slots[slot].process
            if process is not None and process.poll() is None:
                process.send_signal(number)

    def _finish(self, slot: int, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                self.surprises.append(f"worker {slot} did not stop within {STOP_SECONDS:g} s of SIGTERM")
        with self._lock:
            self._slots[slot].process = None

    def _watch(self) -> None:
        while not self._ended.wait(WATCH_SECONDS):
            with self._lock:
                for number, slot in enumerate(self._slots):
                    self._look_after(number, slot)

    def _look_after(self, number: int, slot: _Slot) -> None:
        now = time.monotonic()
        process = slot.process
        if process is not None and process.poll() is None:
            with contextlib.suppress(psutil.Error):
                self.peak_rss_bytes = max(self.peak_rss_bytes, psutil.Process(process.pid).memory_info().rss)
            return
        if not slot.is_wanted:
            return
        if process is not None:
            if process.returncode == 0:
                self.surprises.append(f"worker {number} ended with code 0 although nobody had asked it to")
            self.ended[number] += 1
            slot.process = None
            slot.start_at = now + RESTART_SECONDS
        elif now >= slot.start_at:
            with slot.log.open("ab") as log:
                slot.process = spawn_tethered(slot.command, cwd=ROOT, log=log.fileno(), environment=self._environment)
