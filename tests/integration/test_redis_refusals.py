"""What Redis refuses or leaves unanswered: nothing is half applied, and the ledger goes on when the cause is gone."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from redis.exceptions import RedisError

from agents.clock import SystemClock
from agents.outages import Outages
from deploy.servers import RedisServer
from streams.errors import TemporaryFailure
from streams.ledger.parts import Outcome, Part
from streams.ledger.reference import ReferenceLedger
from tests.support.histories import LABEL_HOLD_MS, Cells, Packer
from tests.support.proxy import Fault, Proxy
from tests.support.redis_ledgers import LogReader, connected, draw_packer, redis_ledger
from tests.support.redis_topologies import RedisClusterServers, operate
from tests.support.waiting import wait_until
from tests.support.world import FOREVER_MS, readable_cells

SHARDS = 3
COMMITS_BEFORE = 20


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """One server for the module; each test cures what it caused."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> float:
    """Clients that wait as briefly as a test can; returns what a call may last at most, in seconds."""
    monkeypatch.setattr("agents.redis_connection.CONNECT_SECONDS", 0.2)
    monkeypatch.setattr("agents.redis_connection.ANSWER_SECONDS", 0.3)
    monkeypatch.setattr("agents.redis_connection.CALL_SECONDS", 0.5)
    return 0.5


@dataclasses.dataclass(frozen=True, slots=True)
class HalfRead:
    """A ledger that has read a part of its logs, and for each shard the commit that comes next."""

    reader: LogReader
    packer: Packer
    next_parts: list[Part]
    stored_before: list[object]

    async def refuses(self, message: str, *, shards: range = range(SHARDS)) -> None:
        """Check that every call which writes fails for the time being."""
        for shard in shards:
            with pytest.raises(TemporaryFailure, match=message):
                await self.reader.commit(shard, self.next_parts[shard])

    async def is_untouched(self) -> None:
        """Check that the commits which were refused left nothing behind."""
        assert self.stored_before == [await stored(self.reader, shard) for shard in range(SHARDS)]

    async def goes_on(self) -> None:
        """Check that the same client reads to the end, riding out what is left of the trouble, and counts right."""
        outages = Outages(SystemClock())
        async with asyncio.timeout(60):
            while await outages.ride_out(self.reader.read_some):
                pass
        assert await counted_by_reference(self.packer) == await readable_cells(self.reader.ledger, self.packer.models)


async def stored(reader: LogReader, shard: int) -> object:
    """All of a shard that its port shows."""
    windows = await reader.ledger.windows(shard)
    return (
        await reader.ledger.state(shard),
        await reader.ledger.fates(shard),
        await reader.ledger.names(shard),
        [dict(cells) for cells in await reader.ledger.cells(shard, windows)],
    )


async def counted_by_reference(packer: Packer) -> Cells:
    """The cells after the whole log."""
    reference = ReferenceLedger(shards=packer.shards, label_hold_ms=LABEL_HOLD_MS, keep_windows_ms=FOREVER_MS)
    reader = LogReader(reference, packer, random.Random(0))
    await reader.create()
    await reader.read_all()
    return await readable_cells(reference, packer.models)


@contextlib.asynccontextmanager
async def half_read(url: str) -> AsyncIterator[HalfRead]:
    """A ledger of its own behind `url`."""
    seed = random.randrange(10**6)
    print(f"history {seed}")
    packer = draw_packer(seed, shards=SHARDS, ids=20)
    async with connected(url) as client:
        ledger = redis_ledger(client, address="the test's Redis", shards=SHARDS, prefix=f"history-{seed}")
        reader = LogReader(ledger, packer, random.Random(seed))
        await reader.create()
        for _ in range(COMMITS_BEFORE):
            await reader.read_some()
        parts = [part for shard in range(SHARDS) if (part := await reader.next_part(shard))]
        assert SHARDS == len(parts)
        yield HalfRead(reader, packer, parts, [await stored(reader, shard) for shard in range(SHARDS)])


Commands = list[tuple[str, ...]]


@pytest.mark.parametrize(
    ("cause", "cure", "message"),
    [
        pytest.param(
            [("CONFIG SET", "maxmemory", "1")], [("CONFIG SET", "maxmemory", "0")], "OOM, .*maxmemory", id="OOM"
        ),
        pytest.param(
            [("REPLICAOF", "127.0.0.1", "1")], [("REPLICAOF", "NO", "ONE")], "READONLY, .*primary", id="READONLY"
        ),
        pytest.param(
            [("CONFIG SET", "replica-serve-stale-data", "no"), ("REPLICAOF", "127.0.0.1", "1")],
            [("REPLICAOF", "NO", "ONE"), ("CONFIG SET", "replica-serve-stale-data", "yes")],
            "MASTERDOWN, .*primary",
            id="MASTERDOWN",
        ),
        pytest.param(
            [("CONFIG SET", "min-replicas-to-write", "1")],
            [("CONFIG SET", "min-replicas-to-write", "0")],
            "NOREPLICAS, .*min-replicas-to-write",
            id="NOREPLICAS",
        ),
    ],
)
async def test_refused_commit_leaves_nothing_and_is_repeated(
    server: RedisServer, cause: Commands, cure: Commands, message: str
) -> None:
    async with half_read(server.url) as ledger:
        for command in cause:
            operate(server, *command)
        try:
            await ledger.refuses(message)
        finally:
            for command in cure:
                operate(server, *command)
        await ledger.is_untouched()
        await ledger.goes_on()


async def test_server_that_cannot_save_refuses(server: RedisServer) -> None:
    # A folder in the place of the file makes every snapshot fail, even root's.
    obstacle = server.folder / "dump.rdb"
    async with half_read(server.url) as ledger:
        obstacle.mkdir()
        (obstacle / "file").touch()
        operate(server, "CONFIG SET", "save", "3600 1")
        save(server, "err")
        await ledger.refuses("MISCONF, .*disk")
        (obstacle / "file").unlink()
        obstacle.rmdir()
        save(server, "ok")
        operate(server, "CONFIG SET", "save", "")
        await ledger.is_untouched()
        await ledger.goes_on()


def save(server: RedisServer, status: str) -> None:
    """Take a snapshot and wait for its outcome."""
    operate(server, "BGSAVE")
    wait_until(
        lambda: operate(server, "INFO", "persistence")["rdb_last_bgsave_status"] == status,
        what=f"a snapshot to end with {status}",
    )


async def test_server_busy_with_a_script_refuses(server: RedisServer) -> None:
    operate(server, "CONFIG SET", "busy-reply-threshold", "10")
    async with half_read(server.url) as ledger:
        endless = asyncio.create_task(asyncio.to_thread(operate, server, "EVAL", "while true do end", 0))
        await until(lambda: is_busy(server), what="the script to be noticed")
        await ledger.refuses("BUSY, .*SCRIPT KILL")
        operate(server, "SCRIPT KILL")
        with contextlib.suppress(RedisError):
            await endless
        await ledger.is_untouched()
        await ledger.goes_on()


def is_busy(server: RedisServer) -> bool:
    """Whether other commands are refused because of a script."""
    try:
        operate(server, "PING")
    except RedisError as error:
        return "BUSY" in str(error)
    return False


async def until(condition: Callable[[], bool], *, what: str) -> None:
    """As `wait_until`, without holding up the loop."""
    await asyncio.to_thread(wait_until, condition, what=what)


async def test_server_that_loads_its_files_refuses() -> None:
    # Loading is slowed down to 5 ms a key, and the server answers after each kilobyte.
    options = {"key-load-delay": "5000", "loading-process-events-interval-bytes": "1024"}
    with RedisServer() as server:
        async with half_read(server.url) as ledger:
            for number in range(400):
                operate(server, "SET", f"ballast {number}", random.randbytes(1024).decode("latin-1"))
            operate(server, "BGREWRITEAOF")
            await until(lambda: is_rewritten(server), what="one file with everything")
            server.stop()
            server.options |= options
            start = asyncio.create_task(asyncio.to_thread(server.start))
            await until(lambda: is_loading(server), what="the server to load")
            await ledger.refuses("LOADING")
            await start
            await ledger.is_untouched()
            await ledger.goes_on()


def is_rewritten(server: RedisServer) -> bool:
    """Whether the append-only file was rewritten since the server started."""
    info = operate(server, "INFO", "persistence")
    return not info["aof_rewrite_in_progress"] and bool(list(server.append_only_folder.glob("*.2.base.rdb")))


def is_loading(server: RedisServer) -> bool:
    """Whether the server answers, but refuses because it loads."""
    try:
        operate(server, "GET", "any")
    except RedisError as error:
        return "loading" in str(error)
    return False


async def test_server_that_is_killed_and_comes_back_is_found_again() -> None:
    with RedisServer() as server:
        async with half_read(server.url) as ledger:
            server.kill()
            await ledger.refuses("does not answer")
            server.start()
            await ledger.is_untouched()
            await ledger.goes_on()


async def test_connections_that_the_server_closed_are_replaced(server: RedisServer) -> None:
    async with half_read(server.url) as ledger:
        operate(server, "CLIENT KILL", "TYPE", "normal")
        await ledger.goes_on()


async def test_server_that_came_back_unnoticed_is_taught_the_scripts_again() -> None:
    with RedisServer() as server:
        async with half_read(server.unix_url) as ledger:
            server.restart()
            operate(server, "SCRIPT FLUSH")
            await ledger.goes_on()


async def test_frozen_server_is_given_up_within_the_time_out(quick: float) -> None:
    with RedisServer() as server:
        async with half_read(server.url) as ledger:
            server.pause()
            started = time.monotonic()
            await ledger.refuses("does not answer")
            await asyncio.gather(*(ledger.refuses("does not answer") for _ in range(10)))
            assert time.monotonic() - started < 2 * SHARDS * quick + 1
            server.resume()
            # What it had received, it applies when it wakes, perhaps after the answer to what is asked then.
            await ledger.goes_on()


@pytest.mark.parametrize("fault", [Fault.SILENT, Fault.LOSE_REPLIES, Fault.CUT])
async def test_broken_network_ends_every_call_in_time(server: RedisServer, quick: float, fault: Fault) -> None:
    async with Proxy(server.address) as proxy, half_read(f"redis://{proxy.address}") as ledger:
        proxy.fault = fault
        started = time.monotonic()
        await ledger.refuses("does not answer")
        assert time.monotonic() - started < SHARDS * quick + 1
        proxy.fault = Fault.NONE
        if fault is not Fault.LOSE_REPLIES:
            await ledger.is_untouched()
        await ledger.goes_on()


async def test_commit_whose_reply_was_lost_is_applied_once(server: RedisServer) -> None:
    async with Proxy(server.address) as proxy, half_read(f"redis://{proxy.address}") as ledger:
        for shard, part in enumerate(ledger.next_parts):
            proxy.fault = Fault.LOSE_REPLIES
            await ledger.refuses("does not answer", shards=range(shard, shard + 1))
            proxy.fault = Fault.NONE
            applied = await stored(ledger.reader, shard)
            assert applied != ledger.stored_before[shard]
            reply = await ledger.reader.commit(shard, part)
            assert (Outcome.REFUSED, part.next) == (reply.parts[0].outcome, reply.parts[0].stored)
            assert applied == await stored(ledger.reader, shard)
        await ledger.goes_on()


async def test_call_that_is_cancelled_at_any_step_ends_cancelled(server: RedisServer) -> None:
    steps = 0
    has_ended = False
    while not has_ended:
        steps += 1
        async with connected(server.url) as client:
            ledger = redis_ledger(client, address=server.address, shards=1, prefix="cancelled")
            call = asyncio.create_task(ledger.state(0))
            for _ in range(steps):
                await asyncio.sleep(0)
            has_ended = call.done()
            call.cancel()
            await asyncio.wait([call])
            assert call.cancelled() or has_ended, f"cancelled at step {steps}, and it went on"
    assert steps > 10


async def test_slow_network_is_only_slow(server: RedisServer) -> None:
    async with Proxy(server.address) as proxy, half_read(f"redis://{proxy.address}") as ledger:
        proxy.delay_seconds = 0.005
        await ledger.goes_on()


async def test_drizzle_of_answers_cannot_stretch_a_call(server: RedisServer, quick: float) -> None:
    # Each answer of a pipeline comes in time, all of them together do not.
    async with Proxy(server.address) as proxy, half_read(f"redis://{proxy.address}") as ledger:
        proxy.delay_seconds = 0.9 * quick
        started = time.monotonic()
        with pytest.raises(TemporaryFailure, match="does not answer"):
            await ledger.reader.ledger.state(0)
        assert time.monotonic() - started < quick + 0.5
        proxy.delay_seconds = 0.0
        await ledger.goes_on()


async def test_cluster_that_lost_a_node_refuses_until_it_is_back() -> None:
    with RedisClusterServers() as cluster:
        async with half_read(f"redis+cluster://{cluster.addresses}") as ledger:
            cluster.nodes[1].kill()
            await until(lambda: knows_that_it_is_broken(cluster.nodes[0]), what="the cluster to notice")
            await ledger.refuses("CLUSTERDOWN|does not answer|not ready")
            cluster.nodes[1].start()
            await asyncio.to_thread(cluster.wait_until_whole)
            await ledger.goes_on()


async def test_cluster_that_promotes_a_replica_for_a_master_that_died_is_counted_on_in() -> None:
    with RedisClusterServers() as cluster:
        async with half_read(f"redis+cluster://{cluster.addresses}") as ledger:
            replica = await asyncio.to_thread(cluster.add_replica, 1)
            cluster.nodes[1].kill()
            await until(lambda: operate(replica, "ROLE")[0] == "master", what="the replica to be promoted")
            await until(lambda: not knows_that_it_is_broken(cluster.nodes[0]), what="the cluster to be whole")
            await ledger.goes_on()


def knows_that_it_is_broken(node: RedisServer) -> bool:
    """Whether a node refuses because others do not serve their slots."""
    return bool(operate(node, "CLUSTER INFO")["cluster_state"] == "fail")


async def test_frozen_node_of_a_cluster_is_given_up_within_the_time_out(quick: float) -> None:
    with RedisClusterServers() as cluster:
        async with half_read(f"redis+cluster://{cluster.addresses}") as ledger:
            cluster.nodes[1].pause()
            started = time.monotonic()
            await ledger.refuses("does not answer|CLUSTERDOWN|not ready", shards=range(1, 2))
            await ledger.refuses("does not answer|CLUSTERDOWN|not ready", shards=range(1, 2))
            assert time.monotonic() - started < 2 * quick + 1
            cluster.nodes[1].resume()
            await asyncio.to_thread(cluster.wait_until_whole)
            await ledger.goes_on()
