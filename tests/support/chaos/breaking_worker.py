"""A worker like any other, except that its ports are wrapped: on demand it breaks itself at a named point.

    python -m tests.support.chaos.breaking_worker --config FILE worker

CHAOS_FOLDER           where it leaves an empty file called by its process id, once it can be told what to do:
                       `POINT:SIGNAL` written into that file, and SIGUSR1
CHAOS_SESSION_SECONDS  the session timeout of its group, so that a crash is noticed sooner
CHAOS_DELIVERY_SECONDS how long it waits for the broker to acknowledge, so that it gives up sooner
CHAOS_BLIND            if set, the commit script applies every part, whatever offset is stored: the control

Everything else is the product's own code, started as everybody starts it.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agents import app, redis_ledger
from agents.__main__ import main
from agents.faust_app import build_faust_app
from agents.intake import Intake
from agents.publisher import KafkaPublisher
from agents.redis_alerts import RedisAlerts
from agents.redis_ledger import RedisLedger
from agents.redis_script import RedisScript
from streams.alerting.record import MONITOR, AlertRecord
from streams.ledger.parts import CommitReply, Definitions, Part
from streams.ports import OutgoingMessage

CHECK = "source.next == part.expected and 'applied' or 'refused'"
"""The compare-and-set of agents/lua/commit.lua."""
ALERT_TYPE, WATCHDOG = b"io.latelabel.alert.v1", b'"alertname":"Watchdog"'


class _Breaker:
    """Sends this process a signal at the next passage of one point."""

    def __init__(self) -> None:
        self.point = ""
        self.released = asyncio.Event()
        self._signal = signal.SIGKILL

    def listen(self, folder: Path) -> None:
        orders = folder / str(os.getpid())
        signal.signal(signal.SIGUSR1, lambda *_: self._obey(orders.read_text()))
        orders.touch()

    def _obey(self, order: str) -> None:
        point, _, name = order.partition(":")
        self._signal = signal.Signals[name]
        self.point = point

    def passes(self, point: str) -> None:
        if point == self.point:
            self.point = ""
            print(f"breaking {point} by {self._signal.name}", file=sys.stderr, flush=True)
            os.kill(os.getpid(), self._signal)
            self.released.set()


_breaker = _Breaker()


class _Ledger(RedisLedger):
    async def commit(
        self, shard: int, parts: Sequence[Part], definitions: Definitions, *, forget_limit: int
    ) -> CommitReply:
        carries_rows = any(part.rows for part in parts)
        if carries_rows:
            _breaker.passes("before commit")
            if shard > 0 and _breaker.point == "between shards":
                # Shard 0 goes ahead alone, and then there is nobody left to follow it.
                await _breaker.released.wait()
        reply = await super().commit(shard, parts, definitions, forget_limit=forget_limit)
        if carries_rows:
            _breaker.passes("before reply")
            if shard == 0:
                _breaker.passes("between shards")
            asyncio.get_running_loop().call_soon(_breaker.passes, "after reply")
        return reply


class _Publisher(KafkaPublisher):
    async def send(self, messages: Sequence[OutgoingMessage]) -> None:
        if not messages:
            return
        what = _name_of(messages[0])
        _breaker.passes(f"before {what}")
        await super().send(messages)
        _breaker.passes(f"after {what}")


def _name_of(message: OutgoingMessage) -> str:
    headers = dict(message.headers)
    if "latelabel-reason" in headers:
        return "dead letters"
    if headers.get("ce_type") != ALERT_TYPE:
        return "publish"
    return "watchdog" if WATCHDOG in (message.value or b"") else "alerts"


class _Alerts(RedisAlerts):
    """The monitor's own alert, which always fires, breaks nothing."""

    async def save(
        self,
        model_version: bytes,
        changes: Mapping[str, AlertRecord | None],
        *,
        expected: int,
        judged: Mapping[bytes, int],
    ) -> bool:
        tells = any(record is not None and record.state.untold for record in changes.values())
        what = "nothing" if model_version == MONITOR else "change" if tells else "nothing" if judged else "mark"
        _breaker.passes(f"before {what}")
        saved = await super().save(model_version, changes, expected=expected, judged=judged)
        _breaker.passes(f"after {what}")
        return saved


class _Intake(Intake):
    async def put(self, *arguments: Any) -> None:
        _breaker.passes("after fetch")
        await super().put(*arguments)


class _BlindScript(RedisScript):
    def __init__(self, *files: str) -> None:
        super().__init__(*files)
        if "commit" in files:
            assert 1 == self._text.count(CHECK), "the commit script checks offsets in other words now"
            self._text = self._text.replace(CHECK, "'applied'")
            self._digest = hashlib.sha1(self._text.encode()).hexdigest()


def _break() -> None:
    # By name, because the wiring offers no place for it, and needs none outside these tests.
    vars(app).update(RedisLedger=_Ledger, RedisAlerts=_Alerts, KafkaPublisher=_Publisher, Intake=_Intake)
    if seconds := os.environ.get("CHAOS_DELIVERY_SECONDS"):
        vars(app)["KafkaPublisher"] = functools.partial(_Publisher, delivery_timeout_seconds=float(seconds))
    if seconds := os.environ.get("CHAOS_SESSION_SECONDS"):
        build = functools.partial(build_faust_app, session_timeout_seconds=float(seconds))
        vars(app)["build_faust_app"] = build
    if os.environ.get("CHAOS_BLIND"):
        vars(redis_ledger)["RedisScript"] = _BlindScript
    _breaker.listen(Path(os.environ["CHAOS_FOLDER"]))


if __name__ == "__main__":
    _break()
    main(prog_name="latelabel")
