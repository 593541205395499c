"""What the ledger needs of every Redis that holds a part of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from agents.doctor.finding import Finding, Verdict
from agents.doctor.traffic import Traffic
from agents.redis_facts import RedisFacts
from agents.settings import Settings

__all__ = ["check_clock", "check_memory", "check_servers"]

LEAST_VERSION = (7, 0)
"""The scripts use commands that came with Redis 7.0; every Valkey has them."""
BYTES_PER_ID = 170
"""Of Redis for one id that is remembered until its horizon has passed: entry, and place in the list to forget."""
TIGHT_RATIO = 0.8
CLOCK_TOLERANCE_MS = 1000
"""Beyond it figures about ages and delays are visibly wrong, and times may be taken for implausible."""


def check_servers(servers: Sequence[RedisFacts]) -> Iterator[Finding]:
    """Check version, eviction and persistence of one server, or of every node of a cluster."""
    old = [server for server in servers if _version(server) < LEAST_VERSION]
    names = sorted({f"{'Valkey' if server.is_valkey else 'Redis'} {server.version}" for server in servers})
    yield Finding(
        check="redis version",
        verdict=Verdict.FAILED if old else Verdict.OK,
        found=", ".join(names) + _at(old),
        remedy="upgrade to Redis 7.0 or Valkey" if old else "",
    )
    evicting = [server for server in servers if server.policy != "noeviction"]
    yield Finding(
        check="redis eviction",
        verdict=Verdict.FAILED if evicting else Verdict.OK,
        found=", ".join(sorted({server.policy for server in servers})) + _at(evicting),
        remedy="CONFIG SET maxmemory-policy noeviction, and in redis.conf: any other drops counts but keeps the offsets"
        if evicting
        else "",
    )
    yield _persistence(servers)


def _persistence(servers: Sequence[RedisFacts]) -> Finding:
    check = "redis persistence"
    failing = [server for server in servers if not server.last_write_succeeded]
    if failing:
        found = f"the last write to disk failed{_at(failing)}"
        return Finding(check=check, verdict=Verdict.FAILED, found=found, remedy="see its log; free its disk")
    volatile = [server for server in servers if not server.persists_commands]
    if volatile:
        return Finding(
            check=check,
            verdict=Verdict.WARNING,
            found=f"no append-only file{_at(volatile)}: a crash loses all since the last snapshot",
            remedy="CONFIG SET appendonly yes, and in redis.conf; what was lost is counted again while Kafka has it",
        )
    return Finding(check=check, verdict=Verdict.OK, found="append-only file")


def check_memory(servers: Sequence[RedisFacts], traffic: Sequence[Traffic], settings: Settings) -> Finding:
    """Compare what the ledger will need at the present rates with what Redis may use."""
    beside_ms = settings.allowed_lateness_ms + settings.max_read_ahead_ms
    needed = sum(each.per_second * (each.horizon_ms + beside_ms) / 1000 * BYTES_PER_ID for each in traffic)
    rate = sum(each.per_second for each in traffic)
    used = sum(server.used_memory_bytes for server in servers)
    limits = [server.maxmemory_bytes or server.system_memory_bytes for server in servers]
    limit = sum(limits)
    has_maxmemory = all(server.maxmemory_bytes for server in servers)
    text = (
        f"{_size(used)} used; up to {_size(needed)} for waiting ids at {rate:.1f} predictions/s, of "
        f"{_size(limit)} {'maxmemory' if has_maxmemory else 'in all, without maxmemory'}"
    )
    verdict = Verdict.OK
    if max(needed, used) > limit:
        verdict = Verdict.FAILED
    elif max(needed, used) > TIGHT_RATIO * limit or not has_maxmemory:
        verdict = Verdict.WARNING
    remedy = ""
    if verdict is not Verdict.OK:
        remedy = "raise maxmemory, spread shards over a cluster, or shorten label_horizon; full, Redis refuses commits"
        if max(needed, used) <= TIGHT_RATIO * limit:
            remedy = "set maxmemory: without it the machine ends Redis where Redis would have refused"
    return Finding(check="redis memory", verdict=verdict, found=text, remedy=remedy)


def check_clock(servers: Sequence[RedisFacts], *, now_ms: int, max_future_skew_ms: int) -> Finding:
    """Compare this host's clock with that of each server.

    Args:
        now_ms: this host's wall time when the servers were asked.
        max_future_skew_ms: how far an event time may be ahead; a host that is so far behind dead-letters what is right.
    """
    difference_ms = max(
        (server.time_ms - now_ms for server in servers if server.time_ms is not None), key=abs, default=0
    )
    far = abs(difference_ms)
    verdict = Verdict.OK
    if far > CLOCK_TOLERANCE_MS:
        verdict = Verdict.FAILED if far > max_future_skew_ms else Verdict.WARNING
    side = "ahead of" if difference_ms > 0 else "behind"
    return Finding(
        check="clock",
        verdict=verdict,
        found=f"Redis is {far / 1000:.1f} s {side} this host" if far > CLOCK_TOLERANCE_MS else "as in Redis",
        remedy="" if verdict is Verdict.OK else "synchronise both by NTP",
    )


def _version(server: RedisFacts) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", server.version)[:2]))


def _at(servers: Sequence[RedisFacts]) -> str:
    named = [server.address for server in servers if server.address]
    return f" at {', '.join(named)}" if named else ""


def _size(size_bytes: float) -> str:
    for unit in ("B", "KB", "MB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} GB"
