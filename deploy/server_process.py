"""A server as a child process: own folder, a free port, nothing left behind.

Invariants:

* A server is ready when it answers its own protocol, not when its port opens.
* A server dies with the process that started it, even if that one is killed with -9.
* `stop`, `kill` and `restart` keep data and ports, so that a test can break a server and bring it back.
  `close`, and leaving a `with` block, ends the server and removes its folder if the server made it.

Only the standard library is needed.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar, Self

__all__ = ["Server", "StackError", "free_port", "spawn_tethered"]

START_SECONDS = 120.0
"""Two seconds are usual for Kafka; a loaded CI machine may need many times that."""
STOP_SECONDS = 15.0
"""After this long without an end, SIGTERM is followed by SIGKILL."""
POLL_SECONDS = 0.02
PORTS = range(20_000, 30_000)
"""Below Linux's range for outgoing connections. Inside it a client that keeps trying to reach a server that
is down can be given the server's own port, connect to itself and so keep the server from coming back."""

# Runs in the child before the server: ask the kernel for a signal when the parent dies, then become the
# server. The comparison covers a parent that died before the request.
_TETHER = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, int(sys.argv[1]))
if os.getppid() != int(sys.argv[2]):
    os._exit(1)
os.execvp(sys.argv[3], sys.argv[3:])
"""

# The kernel sends that signal when the *thread* that started the child ends, so one that never ends starts
# them all.
_SPAWNER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="stack-spawner")


class StackError(RuntimeError):
    """A service cannot be started or reached; the message names it, where it should be, and the remedy."""


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nothing listens on, outside the range of outgoing connections.

    Raises:
        StackError: no port was found in a thousand tries.
    """
    for _ in range(1_000):
        port = random.choice(PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise StackError(f"no free port on 127.0.0.1 between {PORTS.start} and {PORTS.stop - 1}; stop what listens there")


class Server(ABC):
    """A server that runs as a child process in a folder of its own.

    Args:
        folder: where data and log live; a new temporary folder if None, which `close` removes.

    Example: `with RedisServer() as redis: print(redis.url)`
    """

    name: ClassVar[str]

    def __init__(self, folder: Path | None = None) -> None:
        self._is_temporary = folder is None
        self.folder = Path(tempfile.mkdtemp(prefix=f"latelabel-{self.name}-")) if folder is None else folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log_path = self.folder / "server.log"
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """`host:port`, the same for the life of the object."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Process id of the running server. Raises StackError if it does not run."""
        if self._process is None or self._process.poll() is not None:
            raise StackError(f"{self.name} at {self.address} is not running; call start()")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """True from `start` until the process ends, paused or not."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start the server on its data and return once it answers.

        Raises:
            StackError: a program is missing, the server ended, or it did not answer within START_SECONDS.
        """
        if self.is_running:
            return self
        self._prepare()
        with self.log_path.open("ab") as log:
            self._process = spawn_tethered(self._command(), cwd=self.folder, log=log.fileno())
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None:
                raise StackError(f"{self.name} ended with code {self._process.returncode}\n{self.log_tail()}")
            if time.monotonic() > deadline:
                self.kill()
                silence = f"did not answer at {self.address} in {START_SECONDS:.0f} s"
                raise StackError(f"{self.name} {silence}\n{self.log_tail()}")
            time.sleep(POLL_SECONDS)
        return self

    def stop(self) -> None:
        """Ask the server to end and wait for it; data and ports stay for the next `start`."""
        if self._process is None:
            return
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the server as a crash would (SIGKILL); data and ports stay for the next `start`."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait()

    def restart(self) -> Self:
        """Stop, then start on the same data and ports."""
        self.stop()
        return self.start()

    def pause(self) -> None:
        """Freeze the process (SIGSTOP): connections stay open, nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process go on (SIGCONT)."""
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """End the server for good. A temporary folder is removed, so there is nothing to write down first."""
        if self._is_temporary:
            self.kill()
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            self.stop()

    def log_tail(self, lines: int = 20) -> str:
        """Return the last lines of the server's log, empty if there is none."""
        if not self.log_path.exists():
            return ""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def _signal(self, number: signal.Signals) -> None:
        # Popen knows whether the child was already reaped, so a recycled process id is never hit.
        if self._process is not None:
            self._process.send_signal(number)

    @abstractmethod
    def _prepare(self) -> None:
        """Check that programs are there; write configuration; repair data."""

    @abstractmethod
    def _command(self) -> list[str]: ...

    @abstractmethod
    def _answers(self) -> bool: ...


def spawn_tethered(
    command: Sequence[str],
    *,
    cwd: Path | None = None,
    log: int | None = None,
    environment: Mapping[str, str] | None = None,
    death_signal: signal.Signals = signal.SIGKILL,
) -> subprocess.Popen[bytes]:
    """Start a child that gets `death_signal` when this process dies, however it dies.

    It has a session of its own, so that Ctrl-C reaches it only through us. Its output goes to the file
    descriptor `log`, or where ours goes.
    """
    tether = [sys.executable, "-ISc", _TETHER, str(int(death_signal)), str(os.getpid())]
    # Outside the terminal's foreground a child that reads from the terminal would be stopped.
    is_terminal = sys.stdin is None or sys.stdin.isatty()
    return _SPAWNER.submit(
        subprocess.Popen,
        [*tether, *command],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL if log is not None or is_terminal else None,
        stdout=log,
        stderr=log,
        start_new_session=True,
    ).result()
