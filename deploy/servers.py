"""A Kafka node and a Redis server as child processes (`server_process`).

    with KafkaServer() as kafka, RedisServer() as redis:
        print(kafka.address, redis.url)

Only the standard library is needed. Programs that are missing are named together with the remedy.
"""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path

from deploy.server_process import Server, StackError, free_port

__all__ = ["KAFKA_VERSION", "KafkaServer", "RedisServer"]

ROOT = Path(__file__).resolve().parent.parent
KAFKA_VERSION = "4.3.1"
KAFKA_LIBS = ROOT / ".cache" / f"kafka-{KAFKA_VERSION}" / "libs"

UNIX_SOCKET_BYTES = 107
"""Linux' limit for the path of a unix socket."""


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
