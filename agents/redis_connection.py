"""Redis clients, and what their errors mean: pass by themselves, or need somebody.

No call lasts longer than `CALL_SECONDS`, and none is repeated here: whoever rides out an outage must see each
failure, to say so and to know that the call may have taken effect.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import redis.asyncio as redis
from redis import exceptions as redis_errors
from redis.asyncio.cluster import ClusterNode, ClusterPipeline, RedisCluster
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.connection import HiredisRespSerializer

from agents.redis_url import RedisUrl
from streams.errors import LatelabelError, PermanentFailure, TemporaryFailure

__all__ = ["RedisClient", "connect", "execute", "redis_failures"]

RedisClient = Any
"""`redis.asyncio.Redis` or `RedisCluster`: they share the commands used here, but no base class with types.

What must happen together is a script, never `pipeline(transaction=True)`: that of a cluster's client runs each
command in a thread with an event loop of its own, and connects there if it was not connected before.
"""

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 10.0
"""Longer than the 5 s after which Redis itself says `BUSY`, so that the better message wins."""
CALL_SECONDS = CONNECT_SECONDS + ANSWER_SECONDS
"""One connection and one answer. A cluster's client could otherwise wait for one node after the other."""

_REMEDIES = {
    "LOADING": "it is reading its files after a start",
    "BUSY": "a script has been running for seconds; `SCRIPT KILL` ends one that only reads",
    "READONLY": "it is a replica; the URL must name the primary",
    "OOM": "its memory is full; raise `maxmemory`",
    "MISCONF": "it cannot write to its disk",
    "NOREPLICAS": "fewer replicas follow it than `min-replicas-to-write`",
    "CLUSTERDOWN": "some slots of the cluster are not served",
    "MASTERDOWN": "it is a replica that lost its primary",
    "TRYAGAIN": "the shard is moving to another node",
    "MOVED": "it is a node of a cluster; the URL must begin with redis+cluster:// or rediss+cluster://",
    "ASK": "the shard is moving to another node",
}
"""Refusals that pass without us, by code: what the operator should know."""

_IN_A_SCRIPT = {
    "Script attempted to access a non local key": "TRYAGAIN",
    "while the cluster is down": "CLUSTERDOWN",
}
"""The same refusals as a script meets them, which gives them no code."""

_NOT_ALLOWED_IN_A_SCRIPT = ("The user executing the script can't", "ACL failure in script")
"""How Redis 7.0 and later releases refuse a script's command; the former do not say which."""

_PIPELINE_ERROR = re.compile(r"^Command # \d+ \(.*?\) of pipeline caused error: ", re.DOTALL)
_CREDENTIAL_ERRORS = (
    redis_errors.AuthenticationError,
    redis_errors.AuthorizationError,
    redis_errors.AuthenticationWrongNumberOfArgsError,
)
_CLIENT_ERRORS = (redis_errors.RedisError, redis_errors.RedisClusterException, OSError)


_serializer = HiredisRespSerializer()


def pack_command(_: Any, *arguments: Any) -> list[bytes]:
    """A command as Redis reads it, put together by hiredis: so does the client that knows no asyncio.

    The other one copies what it has so far at each argument, and a commit may have a thousand.
    """
    packed: list[bytes] = _serializer.pack(*arguments)
    return packed


def connect(redis_url: str) -> RedisClient:
    """A client for any URL of `agents.redis_url`. Connects at the first call.

    Raises:
        PermanentFailure: the URL is wrong, or a file it names cannot be read.
    """
    # No argument of a client leads there, of a cluster's least of all.
    AbstractConnection.pack_command = pack_command  # type: ignore[assignment,method-assign]
    url = RedisUrl.parse(redis_url)
    options: dict[str, Any] = {
        "username": url.username,
        "password": url.password if url.password_file is None else _password_of(url),
        "protocol": 2,
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_timeout": ANSWER_SECONDS,
        "retry": Retry(NoBackoff(), 0),
    }
    if url.is_tls:
        options |= _tls_options(url)
    if url.is_cluster:
        nodes = [ClusterNode(host, port) for host, port in url.nodes]
        return RedisCluster(startup_nodes=nodes, **options)
    options["db"] = url.database
    if url.socket_path:
        return redis.Redis(unix_socket_path=url.socket_path, **options)
    host, port = url.nodes[0]
    return redis.Redis(host=host, port=port, **options)


async def execute(pipeline: Any) -> list[Any]:
    """Run a pipeline and return its replies.

    When a node fails it, a cluster's client looks for its nodes again before the next call; by itself it does so
    after single commands only, and would ask a master that died for ever.
    """
    try:
        replies: list[Any] = await pipeline.execute()
    except (redis_errors.ConnectionError, redis_errors.TimeoutError):
        if isinstance(pipeline, ClusterPipeline):
            pipeline.cluster_client._initialize = True  # noqa: SLF001
        raise
    return replies


def _password_of(url: RedisUrl) -> str:
    try:
        return Path(url.password_file or "").read_text().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise PermanentFailure(
            f"the password file {url.password_file} of Redis at {url.address} cannot be read ({error}); correct"
            " password_file in redis.url or the file's permissions"
        ) from error


def _tls_options(url: RedisUrl) -> dict[str, Any]:
    try:
        context = ssl.create_default_context(cafile=url.ca_file)
        if url.certificate_file:
            context.load_cert_chain(url.certificate_file, url.key_file)
    except OSError as error:
        files = ", ".join(name for name in (url.ca_file, url.certificate_file, url.key_file) if name)
        raise PermanentFailure(
            f"Redis at {url.address} needs TLS, but {files} cannot be used: {error.strerror or error}; name PEM files"
            " in ssl_ca_certs, ssl_certfile and ssl_keyfile of redis.url"
        ) from error
    return {
        "ssl": True,
        "ssl_cert_reqs": "required",
        "ssl_check_hostname": url.checks_hostname,
        "ssl_ca_certs": url.ca_file,
        "ssl_certfile": url.certificate_file,
        "ssl_keyfile": url.key_file,
    }


@contextlib.asynccontextmanager
async def redis_failures(address: str) -> AsyncIterator[None]:
    """Give calls to Redis a deadline, and turn what the client raises into the core's errors.

    Args:
        address: named in every message; without credentials.

    Raises:
        PermanentFailure: credentials, certificates or the kind of server are wrong.
        TemporaryFailure: away, silent for too long, or one of the refusals that pass; whether the call took
            effect is unknown unless Redis refused it.
    """
    task = asyncio.current_task()
    cancellations = task.cancelling() if task else 0
    try:
        async with asyncio.timeout(CALL_SECONDS):
            yield
    except _CLIENT_ERRORS as error:
        failure = _failure(error, address)
        if failure is None:
            raise
        raise failure from error
    finally:
        # The client sends under `asyncio.wait_for`, which before Python 3.12 may lose a cancellation as it ends.
        if task and task.cancelling() > cancellations:
            raise asyncio.CancelledError


def _failure(error: BaseException, address: str) -> LatelabelError | None:
    """What an error means; None for one that shows a mistake of ours."""
    causes = list(_causes(error))
    for cause in causes:
        if needs := _needs(cause):
            return PermanentFailure(f"Redis at {address} {needs}")
    for cause in causes:
        code = _code(cause)
        if code in _REMEDIES:
            return TemporaryFailure(f"Redis at {address} refuses for now: {code}, {_REMEDIES[code]}")
    if isinstance(error, redis_errors.ResponseError | redis_errors.DataError):
        return None
    hint = "; a port without TLS is as silent" if "Timeout connecting" in str(error) else ""
    if isinstance(error, redis_errors.RedisClusterException | redis_errors.ClusterError):
        return TemporaryFailure(f"Redis Cluster at {address} is not ready: {error}{hint}")
    refused = any(isinstance(cause, ConnectionRefusedError) for cause in causes)
    said = "nothing listens there" if refused else str(error) or "no reply in time"
    return TemporaryFailure(f"Redis at {address} does not answer: {said}{hint}")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it came from: the client wraps what the socket or a cluster's node said."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _needs(cause: BaseException) -> str | None:
    """What only somebody else can put right; None if the cause may pass."""
    if isinstance(cause, _CREDENTIAL_ERRORS):
        return "refuses the credentials; correct user and password, or password_file, in redis.url"
    if isinstance(cause, redis_errors.NoPermissionError):
        return f"does not allow its user enough: {cause}; grant the command or the keys with ACL SETUSER"
    if isinstance(cause, redis_errors.ResponseError) and any(said in str(cause) for said in _NOT_ALLOWED_IN_A_SCRIPT):
        return "does not allow its user enough inside a script; `ACL LOG` tells what, grant it with ACL SETUSER"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return (
            f"shows a certificate that is not trusted: {cause.verify_message}; name the authority that signed it in"
            " ssl_ca_certs of redis.url"
        )
    if isinstance(cause, ssl.SSLError) and cause.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
        return "does not speak TLS at this port; correct the port in redis.url, or set tls-port on the server"
    if isinstance(cause, ssl.SSLError) and "CERTIFICATE_REQUIRED" in (cause.reason or ""):
        return "asks for a certificate; name one in ssl_certfile and ssl_keyfile of redis.url"
    if isinstance(cause, redis_errors.ResponseError) and "cluster support disabled" in str(cause):
        return "is not a cluster; redis.url must begin with redis:// or rediss://"
    if isinstance(cause, redis_errors.InvalidResponse):
        return "does not answer as Redis does; correct the port in redis.url"
    return None


def _code(cause: BaseException) -> str:
    code = getattr(cause, "status_code", None)
    if code in _REMEDIES:
        return str(code)
    message = _PIPELINE_ERROR.sub("", str(cause))
    for text, meaning in _IN_A_SCRIPT.items():
        if text in message:
            return meaning
    return message.partition(" ")[0] if isinstance(cause, redis_errors.ResponseError) else ""
