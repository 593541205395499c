"""Commands go to Redis as the client's own way writes them, by whatever connection."""

from __future__ import annotations

from redis._parsers import Encoder
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.connection import PythonRespSerializer

from agents.redis_connection import connect, pack_command

BUFFER_BYTES = 6000


def test_command_is_the_same_bytes_by_hiredis() -> None:
    encode = Encoder("utf-8", "strict", decode_responses=False).encode  # type: ignore[no-untyped-call]
    arguments = ["ab" * 20, 1, "{p:s0}", b"", b"\x00\xff\r\n", "\u00e9", -5, 0, 1 << 60, 0.25, b"x" * 10_000]
    for command in (("EVALSHA", *arguments), ("CONFIG GET", "maxmemory"), (b"PING",)):
        expected = PythonRespSerializer(BUFFER_BYTES, encode).pack(*command)  # type: ignore[no-untyped-call]
        assert b"".join(expected) == b"".join(pack_command(None, *command))


def test_connections_of_every_kind_write_so() -> None:
    connect("redis://127.0.0.1:6379")
    for kind in (Connection, SSLConnection, UnixDomainSocketConnection):
        assert kind.pack_command is pack_command
