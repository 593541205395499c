"""What is done to workers, broker and store while they count. Each waits until counting goes on everywhere."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator, Mapping

from redis import Redis

from tests.support.chaos.arena import SESSION_SECONDS, Arena
from tests.support.proxy import Fault, Proxy
from tests.support.waiting import wait_until

__all__ = [
    "cut_the_log_of_redis_twice",
    "empty_redis_and_rebuild",
    "freeze_before_a_commit",
    "freeze_somewhere",
    "kill_a_publisher",
    "kill_at",
    "kill_at_some_points",
    "kill_redis",
    "kill_somewhere",
    "kill_the_broker",
    "leave_redis_away",
    "leave_the_broker_away",
    "move_workers",
    "stop_the_broker",
]

COUNTING_POINTS = (
    "after fetch",
    "before commit",
    "between shards",
    "before reply",
    "after reply",
    "before dead letters",
    "after dead letters",
)
"""Those that every worker passes many times a second; see `breaking_worker`."""
PUBLISHING_SHARE = 0.3
DEATH_SECONDS = 60.0
ORDINARY_SESSION_SECONDS = 15.0
MOST_CUT_BYTES = 4 * 2**20
GRACE_SECONDS = 5.0
"""What a crash may cost beyond the session timeout, after which the group knows of it."""
LINE_SECONDS = 3.0
LINES_MORE = 5
"""An outage may be worth a line every few seconds, and a few when it begins and ends."""


def kill_at(run: Arena, points: Mapping[int, str]) -> None:
    """Have workers kill themselves with -9 at named points, by slot."""
    run.steady()
    ended = dict(run.workers.ended)
    for slot, point in points.items():
        run.workers.order(slot, point, signal.SIGKILL)
    for slot, point in points.items():
        wait_until(
            lambda slot=slot: run.workers.ended[slot] > ended.get(slot, 0),  # type: ignore[misc]
            what=f"worker {slot} to break {point}",
            seconds=DEATH_SECONDS,
        )
        assert f"breaking {point} by SIGKILL" in run.workers.log(slot)
    what = " and ".join(dict.fromkeys(points.values()))
    run.recover(f"kill -9 {what}", run.progress.offsets(), began=time.monotonic())


def kill_at_some_points(run: Arena) -> None:
    """Two workers at two points, chosen at random; or whoever publishes next."""
    if run.rng.random() < PUBLISHING_SHARE:
        kill_a_publisher(run, run.rng.choice(("before publish", "after publish")))
    else:
        kill_at(run, dict(enumerate(run.rng.sample(COUNTING_POINTS, 2))))


def kill_a_publisher(run: Arena, point: str) -> None:
    """Have the worker that next publishes reports kill itself with -9; which one that is, Kafka decides."""
    run.steady()
    ended = run.workers.ended.total()
    for slot in run.workers.slots:
        run.workers.order(slot, point, signal.SIGKILL)
    wait_until(lambda: run.workers.ended.total() > ended, what=f"a worker to break {point}", seconds=DEATH_SECONDS)
    run.recover(f"kill -9 {point}", run.progress.offsets(), began=time.monotonic())


def kill_somewhere(run: Arena, *, session_seconds: float = SESSION_SECONDS) -> None:
    """Kill a worker with -9 wherever it is; others must have taken over soon after the group knows of it."""
    slot = run.rng.choice(run.workers.slots)
    run.gather()
    began = time.monotonic()
    run.workers.kill(slot)
    since = run.progress.offsets()
    run.recover("kill -9 anywhere", since, began=began, limit_seconds=session_seconds + GRACE_SECONDS)


def freeze_before_a_commit(run: Arena, slot: int) -> None:
    """Let a worker stand still, with a commit in its hands, until others have counted on; then let it go on."""
    run.gather()
    run.workers.order(slot, "before commit", signal.SIGSTOP)
    wait_until(lambda: run.workers.is_frozen(slot), what=f"worker {slot} to freeze", seconds=DEATH_SECONDS)
    _outlive_a_frozen_worker(run, slot, "frozen before a commit")


def freeze_somewhere(run: Arena) -> None:
    """Let a worker stand still wherever it is, until others have counted on; then let it go on."""
    slot = run.rng.choice(run.workers.slots)
    run.gather()
    run.workers.freeze(slot)
    _outlive_a_frozen_worker(run, slot, "frozen anywhere")


def _outlive_a_frozen_worker(run: Arena, slot: int, what: str) -> None:
    run.recover(what, run.progress.offsets(), began=time.monotonic())
    began = time.monotonic()
    run.workers.wake(slot)
    run.recover("awake again", run.progress.offsets(), began=began)


def stop_the_broker(run: Arena) -> None:
    """Stop the broker in good order, and start it again."""
    since = run.steady()
    began = time.monotonic()
    run.kafka.restart()
    print(f"    the broker answered again after {time.monotonic() - began:.1f} s")
    run.recover("broker stopped and started", since, began=began)


def kill_the_broker(run: Arena) -> None:
    """Kill the broker, and start it again."""
    since = run.steady()
    began = time.monotonic()
    run.kafka.kill()
    run.kafka.start()
    print(f"    the broker answered again after {time.monotonic() - began:.1f} s")
    run.recover("broker killed and started", since, began=began)


def kill_redis(run: Arena) -> None:
    """Kill Redis, and start it again on what it has written."""
    since = run.steady()
    began = time.monotonic()
    run.redis.kill()
    run.redis.start()
    run.recover("Redis killed and started", since, began=began)


def leave_redis_away(run: Arena, proxy: Proxy, *, seconds: float) -> None:
    """Stop Redis for a while; who reaches it through the proxy hears nothing, not even that it is gone.

    The last worker dies with it, so that meanwhile others have to take over what they cannot look up.
    """
    run.gather()
    since = run.steady()
    with _quiet_logs(run):
        proxy.fault = Fault.SILENT
        run.redis.stop()
        members = run.members()
        run.workers.kill(run.workers.slots[-1])
        until = time.monotonic() + seconds
        wait_until(lambda: run.members() < members, what="the group to know of the death")
        members = run.members()
        while time.monotonic() < until:
            assert members == run.members(), "a worker has left its group"
            time.sleep(1)
        proxy.fault = Fault.NONE
        began = time.monotonic()
        run.redis.start()
        run.recover(f"Redis away for {seconds:g} s", since, began=began)
    assert members <= run.members()


def leave_the_broker_away(run: Arena, *, seconds: float) -> None:
    """Kill the broker and leave it away for a while."""
    since = run.steady()
    with _quiet_logs(run):
        run.kafka.kill()
        time.sleep(seconds)
        began = time.monotonic()
        run.kafka.start()
        run.recover(f"the broker away for {seconds:g} s", since, began=began)


@contextlib.contextmanager
def _quiet_logs(run: Arena) -> Iterator[None]:
    before = {slot: len(run.workers.log(slot).splitlines()) for slot in run.workers.slots}
    began = time.monotonic()
    yield
    lines = {slot: run.workers.log(slot).splitlines()[count:] for slot, count in before.items()}
    print(f"    lines in the logs meanwhile: {[len(each) for each in lines.values()]}")
    most = (time.monotonic() - began) / LINE_SECONDS + LINES_MORE
    for each in lines.values():
        assert len(each) <= most, "\n".join(each)


def cut_the_log_of_redis_twice(run: Arena) -> None:
    """Twice in a row: kill Redis, cut its append-only file at a random byte, start it again."""
    since = run.steady()
    began = time.monotonic()
    for _ in range(2):
        run.redis.kill()
        log = max(run.redis.append_only_folder.glob("*.incr.aof"), key=lambda path: path.stat().st_mtime)
        size_bytes = log.stat().st_size
        # The ledger's creation stands at the beginning; what was written since may all be lost but that.
        kept_bytes = run.rng.randint(max(size_bytes // 2, size_bytes - MOST_CUT_BYTES), size_bytes)
        with log.open("r+b") as file:
            file.truncate(kept_bytes)
        print(f"    append-only file cut at {kept_bytes} of {size_bytes} bytes")
        run.redis.start()
        before = run.progress.offsets()
        wait_until(lambda: run.progress.offsets() != before, what="writing behind the cut")  # noqa: B023
    run.recover("Redis lost its tail twice", since, began=began)


def empty_redis_and_rebuild(run: Arena) -> None:
    """Empty Redis, see that the workers refuse to begin anew, and do as they say."""
    since = run.steady()
    began = time.monotonic()
    heard = {slot: len(run.workers.log(slot)) for slot in run.workers.slots}
    with Redis.from_url(run.redis.url) as client:
        client.flushall()
    for slot in run.workers.slots:
        wait_until(
            lambda slot=slot: "init --rebuild" in run.workers.log(slot)[heard[slot] :],  # type: ignore[misc]
            what=f"worker {slot} to name the remedy",
            seconds=DEATH_SECONDS,
        )
    run.latelabel("init", "--rebuild")
    run.recover("Redis emptied and rebuilt", since, began=began)


def move_workers(run: Arena, *, seconds: float, every_seconds: float = 2.0) -> None:
    """Take a worker out, or put it in again, every few seconds."""
    until = time.monotonic() + seconds
    moves = 0
    next_move = time.monotonic()
    while time.monotonic() < until:
        slot = moves // 2 % len(run.workers.slots)
        (run.workers.add if moves % 2 else run.workers.remove)(slot)
        moves += 1
        next_move = max(next_move + every_seconds, time.monotonic())
        time.sleep(max(0.0, next_move - time.monotonic()))
    for slot in run.workers.slots:
        run.workers.add(slot)
    run.moves += moves
    print(f"    {moves} moves")
    run.recover("rebalance storm", run.progress.offsets(), began=time.monotonic())
