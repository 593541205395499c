"""The ways Redis can stand: one server or a cluster, in the clear or over TLS with a user of few rights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from deploy.server_process import free_port
from deploy.servers import RedisServer
from tests.support.certificates import Certificates, make_certificates
from tests.support.waiting import wait_until

__all__ = [
    "PASSWORD",
    "TOPOLOGIES",
    "USER",
    "RedisClusterServers",
    "RedisTopology",
    "operate",
    "start_topology",
    "user_rules",
]

TOPOLOGIES = ("unix", "tls", "cluster", "tls-cluster")
SLOTS = 16384
NODE_TIMEOUT_MS = 1_000
"""A cluster notices a dead node after about twice as long."""
ADMIN_PASSWORD = "the-operators:all/rights?"
USER, PASSWORD = "latelabel", "p@ss/w:rd #1"
"""Full of what URLs reserve, so that a test fails if it is not taken apart properly."""
GUIDE = Path(__file__).resolve().parents[2] / "deploy/guides/security.md"
CLUSTER_RULES = ("+cluster|slots", "+command")
TEST_RULES = ("+scan", "+dump", "+restore", "+del", "+multi", "+exec")
"""No command of ours lists keys or takes shards back to what they were, but tests do."""


def user_rules(prefix: str) -> list[str]:
    """The rights that the guide gives to a user of a single server, on keys of this prefix."""
    _, _, rules = GUIDE.read_text().partition("ACL SETUSER latelabel on >PASSWORD ")
    return rules.partition("```")[0].replace("latelabel", prefix).split()


class RedisClusterServers:
    """Three or more masters that share all slots, without replicas until `add_replica`.

    Args:
        options: of every node, as for `RedisServer`.
    """

    def __init__(self, nodes: int = 3, *, options: Mapping[str, str] | None = None) -> None:
        self._bus_ports = [free_port() for _ in range(nodes)]
        self.nodes = [RedisServer(options={**_cluster_options(port), **(options or {})}) for port in self._bus_ports]
        self.replicas: list[RedisServer] = []

    @property
    def addresses(self) -> str:
        """`host:port` of every node, as redis+cluster:// wants them."""
        return ",".join(node.address for node in self.nodes)

    def slots_of(self, number: int) -> range:
        """The slots that node `number` is given at the start."""
        return range(number * SLOTS // len(self.nodes), (number + 1) * SLOTS // len(self.nodes))

    def wait_until_whole(self) -> None:
        """Return once every node serves, and knows that the others do."""
        for node in self.nodes:
            self._wait_until_serving(node)

    @staticmethod
    def _wait_until_serving(node: RedisServer) -> None:
        wait_until(
            lambda: operate(node, "CLUSTER INFO")["cluster_state"] == "ok",
            what=f"the cluster to be whole as {node.address} sees it",
        )

    def add_replica(self, number: int) -> RedisServer:
        """Start a replica of node `number`; returns it once it holds all that the node holds."""
        bus_port = free_port()
        replica = RedisServer(options=_cluster_options(bus_port))
        self.replicas.append(replica)
        replica.start()
        master = self.nodes[number]
        operate(self.nodes[0], "CLUSTER MEET", "127.0.0.1", replica.port, bus_port)
        master_id = operate(master, "CLUSTER MYID")
        wait_until(lambda: master_id in str(operate(replica, "CLUSTER NODES")), what="the replica to know its master")
        operate(replica, "CLUSTER REPLICATE", master_id)
        wait_until(
            lambda: "master_link_status:up" in str(operate(replica, "INFO replication")),
            what="the replica to hold what its master holds",
        )
        for node in self.nodes:
            wait_until(
                lambda node=node: operate(replica, "CLUSTER MYID") in str(operate(node, "CLUSTER NODES")),  # type: ignore[misc]
                what="every master to know the replica",
            )
        return replica

    def __enter__(self) -> Self:
        try:
            for node in self.nodes:
                node.start()
            for number, node in enumerate(self.nodes):
                slots = self.slots_of(number)
                operate(node, "CLUSTER ADDSLOTSRANGE", slots.start, slots.stop - 1)
                operate(node, "CLUSTER SET-CONFIG-EPOCH", number + 1)
            for node, bus_port in zip(self.nodes[1:], self._bus_ports[1:], strict=True):
                operate(self.nodes[0], "CLUSTER MEET", "127.0.0.1", node.port, bus_port)
            self.wait_until_whole()
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """End every node and remove its folder."""
        for node in (*self.nodes, *self.replicas):
            node.close()

    def __exit__(self, *_: object) -> None:
        self.close()


class RedisTopology:
    """Servers that stand in one of the ways, and the URL of a client for them."""

    def __init__(self, url: str, servers: Sequence[RedisServer]) -> None:
        self.url = url
        self.servers = servers

    def clear(self) -> None:
        """Remove all keys and all scripts."""
        for server in self.servers:
            operate(server, "FLUSHALL")
            operate(server, "SCRIPT FLUSH")


@contextlib.contextmanager
def start_topology(name: str, folder: Path) -> Iterator[RedisTopology]:
    """Start what stands in the way `name`; certificates go to `folder`."""
    if name == "unix":
        with RedisServer() as server:
            yield RedisTopology(server.unix_url, [server])
    elif name == "cluster":
        with RedisClusterServers() as cluster:
            yield RedisTopology(f"redis+cluster://{cluster.addresses}", cluster.nodes)
    elif name == "tls":
        certificates = make_certificates(folder)
        with RedisServer(options=tls_options(certificates)) as server:
            yield _guarded("rediss", server.address, [server], certificates)
    else:
        certificates = make_certificates(folder)
        options = {**tls_options(certificates), "tls-cluster": "yes"}
        with RedisClusterServers(options=options) as cluster:
            yield _guarded("rediss+cluster", cluster.addresses, cluster.nodes, certificates)


def operate(server: RedisServer, command: str, *arguments: str | int) -> Any:
    """Run a command by the unix socket as the operator, who has all rights. Text is Latin-1, so that any key fits."""
    password, once = server.options.get("requirepass"), Retry(NoBackoff(), 0)
    with Redis(
        unix_socket_path=str(server.socket_path),
        password=password,
        retry=once,
        encoding="latin-1",
        decode_responses=True,
    ) as client:
        # The client's fast serializer knows UTF-8 alone.
        encoded = [each.encode("latin-1") if isinstance(each, str) else each for each in arguments]
        return client.execute_command(command, *encoded)


def tls_options(certificates: Certificates) -> dict[str, str]:
    """Settings of a server that speaks TLS alone and lets nobody in without a password."""
    return {
        "tls-cert-file": str(certificates.certificate),
        "tls-key-file": str(certificates.key),
        "tls-ca-cert-file": str(certificates.authority),
        "tls-auth-clients": "no",
        "requirepass": ADMIN_PASSWORD,
    }


def _guarded(scheme: str, addresses: str, servers: Sequence[RedisServer], certificates: Certificates) -> RedisTopology:
    for server in servers:
        operate(
            server, "ACL SETUSER", USER, "on", f">{PASSWORD}", *user_rules("latelabel"), *CLUSTER_RULES, *TEST_RULES
        )
    credentials = f"{USER}:{quote(PASSWORD, safe='')}"
    return RedisTopology(f"{scheme}://{credentials}@{addresses}?ssl_ca_certs={certificates.authority}", servers)


def _cluster_options(bus_port: int) -> dict[str, str]:
    timeout_ms = str(NODE_TIMEOUT_MS)
    return {"cluster-enabled": "yes", "cluster-port": str(bus_port), "cluster-node-timeout": timeout_ms}
