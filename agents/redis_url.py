"""Where Redis is, in one URL: a server, a unix socket or a cluster, in the clear or over TLS.

    redis://user:password@host:6379/0       rediss://...          one server
    redis+cluster://host1:7000,host2:7000   rediss+cluster://...  a cluster, by any of its nodes
    unix:///run/redis.sock?db=0                                   a socket

Any URL takes `?password_file=FILE` in place of the password. A TLS URL takes `?ssl_ca_certs=FILE` (default: the
system's), `ssl_certfile=FILE` and `ssl_keyfile=FILE` to show a certificate of our own, and `ssl_check_hostname=no` for
certificates that do not name the host. There is no way to skip the check of the certificate itself. What is reserved in
URLs must be percent-encoded in user and password.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from streams.errors import PermanentFailure

__all__ = ["RedisUrl"]

DEFAULT_PORT = 6379
SCHEMES = ("redis", "rediss", "unix", "redis+cluster", "rediss+cluster")
_TLS_OPTIONS = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisUrl:
    """A URL taken apart. `nodes` is empty for a socket, and `socket_path` for anything else."""

    scheme: str
    nodes: tuple[tuple[str, int], ...] = ()
    socket_path: str = ""
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    password_file: str | None = None
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    checks_hostname: bool = True

    @property
    def is_cluster(self) -> bool:
        """Whether keys are spread over several servers."""
        return self.scheme.endswith("+cluster")

    @property
    def is_tls(self) -> bool:
        """Whether nothing is ever sent in the clear."""
        return self.scheme.startswith("rediss")

    @property
    def address(self) -> str:
        """For messages and logs: no user, no password, no files.

        >>> RedisUrl.parse("rediss://user:secret@redis.example/2").address
        'rediss://redis.example:6379/2'
        """
        nodes = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.nodes)
        database = "" if self.is_cluster or self.socket_path else f"/{self.database}"
        return f"{self.scheme}://{nodes}{self.socket_path}{database}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Take a URL apart.

        Raises:
            PermanentFailure: it is none of ours; the message says what is wrong, without quoting the URL, because
                a password that was not encoded may stand in any part of it.
        """
        parts = _split(text)
        if parts.scheme not in SCHEMES:
            raise PermanentFailure(f"redis.url must begin with one of {', '.join(f'{each}://' for each in SCHEMES)}")
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        user, _, hosts = parts.netloc.rpartition("@")
        username, _, password = user.partition(":")
        is_socket, is_cluster = parts.scheme == "unix", parts.scheme.endswith("+cluster")
        nodes = () if is_socket else _nodes(hosts, is_cluster=is_cluster)
        database = options.pop("db", "") if is_socket else parts.path.strip("/")
        password_file = options.pop("password_file", None)
        if unknown := options.keys() - (_TLS_OPTIONS if parts.scheme.startswith("rediss") else set()):
            raise PermanentFailure(
                f"redis.url has the option {min(unknown)}, which {parts.scheme}:// does not take; any URL takes"
                f" password_file, a rediss:// URL {', '.join(sorted(_TLS_OPTIONS))} too"
            )
        if password and password_file is not None:
            raise PermanentFailure("redis.url must give the password or password_file, not both")
        if database and not (database.isdecimal() and (int(database) == 0 or not is_cluster)):
            raise PermanentFailure("redis.url must end in a database's number or in nothing; a cluster has only 0")
        return cls(
            scheme=parts.scheme,
            nodes=nodes,
            socket_path=_socket_path(parts, hosts) if is_socket else "",
            database=int(database or 0),
            username=unquote(username) or None,
            password=unquote(password) or None,
            password_file=password_file,
            ca_file=options.get("ssl_ca_certs"),
            certificate_file=options.get("ssl_certfile"),
            key_file=options.get("ssl_keyfile"),
            checks_hostname=_truth(options.get("ssl_check_hostname", "yes")),
        )


def _split(text: str) -> SplitResult:
    try:
        return urlsplit(text)
    except ValueError:
        raise PermanentFailure("redis.url is not a URL; percent-encode what is special in user and password") from None


def _nodes(hosts: str, *, is_cluster: bool) -> tuple[tuple[str, int], ...]:
    nodes = []
    for node in hosts.split(","):
        try:
            parts = urlsplit(f"//{node}")
            host, port = parts.hostname or "", DEFAULT_PORT if parts.port is None else parts.port
        except ValueError:
            host, port = "", 0
        if not host or not port:
            raise PermanentFailure(
                "redis.url must name its servers as host or host:port; percent-encode what is special in the password"
            )
        nodes.append((unquote(host), port))
    if len(nodes) > 1 and not is_cluster:
        raise PermanentFailure("redis.url names several servers; write redis+cluster:// or rediss+cluster:// for that")
    return tuple(nodes)


def _socket_path(parts: SplitResult, host: str) -> str:
    path = unquote(parts.path)
    if host or len(path) < 2:
        raise PermanentFailure("redis.url must name the socket by its whole path, as in unix:///run/redis.sock")
    return path


def _truth(text: str) -> bool:
    if text.lower() not in ("yes", "true", "1", "no", "false", "0"):
        raise PermanentFailure("redis.url must say yes or no for ssl_check_hostname")
    return text.lower() in ("yes", "true", "1")
