"""A Kafka node and a Redis server as child processes: own folder, free ports, nothing left behind.

    with KafkaServer() as kafka, RedisServer() as redis:
        print(kafka.address, redis.url)

Invariants:

* A server is ready when it answers its own protocol, not when its port opens.
* A server dies with the process that started it, even if that one is killed with -9.
* `stop`, `kill` and `restart` keep data and ports, so that a test can break a server and bring it back.
  `close`, and leaving a `with` block, ends the server and removes its folder if the server made it.

Only the standard library is needed. Programs that are missing are named together with the remedy.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import uuid
from abc import ABC, abstractmethod
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar, Self

__all__ = ["KafkaServer", "RedisServer", "Server", "StackError", "free_port", "spawn_tethered"]

ROOT = Path(__file__).resolve().parent.parent
KAFKA_VERSION = "4.3.1"
KAFKA_LIBS = ROOT / ".cache" / f"kafka-{KAFKA_VERSION}" / "libs"

START_SECONDS = 60.0
"""Two seconds are usual for Kafka; a loaded CI machine may need many times that."""
STOP_SECONDS = 15.0
"""After this long without an end, SIGTERM is followed by SIGKILL."""
POLL_SECONDS = 0.02
PORTS = range(20_000, 30_000)
"""Below Linux's range for outgoing connections. Inside it a client that keeps trying to reach a server that
is down can be given the server's own port, connect to itself and so keep the server from coming back."""
UNIX_SOCKET_BYTES = 107
"""Linux' limit for the path of a unix socket."""

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


class KafkaServer(Server):
    """Apache Kafka, one KRaft node with a heap of 512 MB, without topics and without automatic topics.

    Args:
        folder: see `Server`.
        listeners: names of further listeners and their security protocols, such as `{"GUARDED": "SASL_SSL"}`;
            the one at `address` is always in the clear, for the broker itself and for operators.
        options: further settings by their names in server.properties, those of the listeners among them.
    """

    name = "kafka"

    def __init__(
        self,
        folder: Path | None = None,
        *,
        listeners: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(folder)
        self.options = dict(options or {})
        self._protocols = {"PLAINTEXT": "PLAINTEXT", **(listeners or {})}
        self._ports = {name: self.port if name == "PLAINTEXT" else free_port() for name in self._protocols}
        self._controller_port = free_port()
        self._properties = self.folder / "server.properties"

    def address_of(self, listener: str) -> str:
        """`host:port` of one of the listeners."""
        return f"127.0.0.1:{self._ports[listener]}"

    def _prepare(self) -> None:
        _require("java", package="default-jre-headless")
        if not any(KAFKA_LIBS.glob("kafka_*.jar")):
            raise StackError(f"Kafka's jars are not in {KAFKA_LIBS}; run `make setup`")
        data = self.folder / "data"
        template = (ROOT / "deploy/kafka/server.properties").read_text()
        listeners = ",".join(f"{name}://{self.address_of(name)}" for name in self._protocols)
        protocols = ",".join(f"{name}:{protocol}" for name, protocol in self._protocols.items())
        for name, value in {
            "@LISTENERS@": listeners,
            "@PROTOCOLS@": protocols,
            "@CONTROLLER_PORT@": str(self._controller_port),
            "@DATA@": str(data),
        }.items():
            template = template.replace(name, value)
        # Of a name that stands twice the last line counts.
        options = "".join(f"{name}={value}\n" for name, value in self.options.items())
        self._properties.write_text(f"{template}\n{options}")
        if not (data / "meta.properties").exists():
            self._format()

    def _format(self) -> None:
        cluster_id = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # An id that starts with a hyphen would be taken for an option.
        tool = [*self._java("128m"), "kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}"]
        done = subprocess.run(
            [*tool, "--config", str(self._properties)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if done.returncode != 0:
            raise StackError(f"Kafka could not format {self.folder}:\n{done.stdout.decode(errors='replace')}")

    def _command(self) -> list[str]:
        return [*self._java("512m"), "kafka.Kafka", str(self._properties)]

    def _java(self, heap: str) -> list[str]:
        logging = ROOT / "deploy/kafka/log4j2.properties"
        # Without perf data the JVM writes nothing outside the folder.
        options = [f"-Xmx{heap}", "-XX:-UsePerfData", f"-Dlog4j2.configurationFile={logging}"]
        return ["java", *options, "-cp", f"{KAFKA_LIBS}/*"]

    def _answers(self) -> bool:
        # ApiVersions, version 0, correlation id 7, no client id. The broker replies once it is unfenced.
        request = struct.pack(">hhih", 18, 0, 7, -1)
        reply = _exchange(("127.0.0.1", self.port), struct.pack(">i", len(request)) + request, reply_bytes=10)
        return len(reply) == 10 and struct.unpack(">iih", reply)[1:] == (7, 0)


class RedisServer(Server):
    """Redis (or Valkey) with deploy/redis/redis.conf, on a TCP port and on a unix socket.

    Args:
        folder: see `Server`.
        options: further settings by their names in redis.conf, such as `{"maxmemory": "64mb"}`. With
            `tls-cert-file` the port speaks TLS alone.
    """

    name = "redis"

    def __init__(self, folder: Path | None = None, *, options: Mapping[str, str] | None = None) -> None:
        super().__init__(folder)
        self.options = dict(options or {})
        self.socket_path = self.folder / "redis.sock"
        self._pid_path = self.folder / "redis.pid"

    @property
    def url(self) -> str:
        """Address for clients over TCP, database 0."""
        return f"redis://{self.address}/0"

    @property
    def unix_url(self) -> str:
        """Address for clients over the unix socket, database 0."""
        return f"unix://{self.socket_path}"

    @property
    def append_only_folder(self) -> Path:
        """Where the append-only files and their manifest are, for tests that damage them."""
        return self.folder / "appendonlydir"

    def _prepare(self) -> None:
        _require("redis-server", package="redis-server")
        _require("redis-check-aof", package="redis-tools")
        if len(os.fsencode(self.socket_path)) > UNIX_SOCKET_BYTES:
            raise StackError(f"{self.socket_path} is too long for a unix socket; choose a shorter folder")
        # Redis removes its pid file when it ends in good order.
        if self._pid_path.exists():
            self._repair()

    def _repair(self) -> None:
        """Cut off the half-written end that a crash leaves.

        Redis 7.0 drops an unfinished transaction at the first restart but leaves it in the file, writes on
        behind it, and at the second restart replays the half together with what follows.
        """
        manifest = self.append_only_folder / "appendonly.aof.manifest"
        if manifest.exists():
            tool = ["redis-check-aof", "--fix", str(manifest)]
            done = subprocess.run(tool, input=b"y\n", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
            if done.returncode != 0:
                raise StackError(
                    f"redis-check-aof could not repair {manifest}:\n{done.stdout.decode(errors='replace')}"
                )

    def _command(self) -> list[str]:
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "unixsocket": str(self.socket_path),
            "dir": str(self.folder),
            "pidfile": str(self._pid_path),
            **self.options,
        }
        if "tls-cert-file" in settings:
            settings |= {"port": "0", "tls-port": str(self.port)}
        arguments = [part for name, value in settings.items() for part in (f"--{name}", value)]
        return ["redis-server", str(ROOT / "deploy/redis/redis.conf"), *arguments]

    def _answers(self) -> bool:
        # While Redis loads its files it answers PING with an error instead.
        password = self.options.get("requirepass")
        request, reply = (f"AUTH {password}\r\n", "+OK\r\n") if password else ("", "")
        request, reply = f"{request}PING\r\n", f"{reply}+PONG\r\n"
        return _exchange(str(self.socket_path), request.encode(), reply_bytes=len(reply)) == reply.encode()


def _require(program: str, *, package: str) -> None:
    if shutil.which(program) is None:
        raise StackError(f"{program} is not installed; run `make setup`, or `apt-get install {package}`")


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


def _exchange(address: str | tuple[str, int], request: bytes, *, reply_bytes: int) -> bytes:
    """Send bytes to a socket and return the first bytes of the answer; empty if nobody answers."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(1.0)
        try:
            connection.connect(address)
            connection.sendall(request)
            return connection.recv(reply_bytes, socket.MSG_WAITALL)
        except OSError:
            return b""
