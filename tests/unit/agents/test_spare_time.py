"""Spare time: jobs begin while models have used no more than other programs leave, or than is reserved for them."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agents.explainer import spare_time
from agents.explainer.child_process import ChildLimits, ChildProcess
from agents.explainer.spare_time import SpareTime, seconds_left, seconds_used

CORES = 2
BURN = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"


class Machine:
    """Two cores: others need `busy` of them, models have used `used` seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.left = 0.0
        self.used = 0.0

    def monotonic_seconds(self) -> float:
        return self.seconds

    def now_ms(self) -> int:
        return int(self.seconds * 1000)

    async def passes(self, account: SpareTime, *, seconds: float, busy: float) -> bool:
        """Whether models may run when so much time has passed."""
        self.seconds += seconds
        self.left += seconds * (CORES - busy)
        for _ in range(5):
            await asyncio.sleep(0.001)
        return not account.is_short


@pytest.fixture
def machine() -> Machine:
    return Machine()


@contextlib.asynccontextmanager
async def kept(machine: Machine, monkeypatch: pytest.MonkeyPatch, *, reserved_cores: float) -> AsyncIterator[SpareTime]:
    monkeypatch.setattr(spare_time, "TICK_SECONDS", 0)
    account = SpareTime(reserved_cores, machine, left=lambda: machine.left, used=lambda: machine.used)
    task = asyncio.create_task(account.keep())
    await asyncio.sleep(0.001)
    try:
        yield account
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_models_run_while_others_leave_what_they_use(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    async with kept(machine, monkeypatch, reserved_cores=0.1) as account:
        assert await machine.passes(account, seconds=0.6, busy=0.0)
        for _ in range(20):
            machine.used += 1.0
            assert await machine.passes(account, seconds=1.0, busy=0.9)
        machine.used += 1.5
        assert not await machine.passes(account, seconds=0.5, busy=1.7)
        await machine.passes(account, seconds=2.0, busy=0.9)
        await asyncio.wait_for(account.turn(), timeout=10)


async def test_models_get_their_reserve_of_a_machine_that_others_need_whole(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with kept(machine, monkeypatch, reserved_cores=0.1) as account:
        assert not await machine.passes(account, seconds=9.9, busy=2.0)
        assert await machine.passes(account, seconds=0.2, busy=2.0)
        machine.used += 0.5
        assert not await machine.passes(account, seconds=4.8, busy=2.0)
        assert await machine.passes(account, seconds=0.2, busy=2.0)


async def test_neither_a_long_rest_nor_a_long_job_is_remembered_for_long(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with kept(machine, monkeypatch, reserved_cores=0.1) as account:
        assert await machine.passes(account, seconds=3600, busy=0.0)
        machine.used += 1.1
        assert not await machine.passes(account, seconds=0.001, busy=2.0)
        machine.used += 3600
        assert not await machine.passes(account, seconds=0.0, busy=2.0)
        assert not await machine.passes(account, seconds=9.9, busy=2.0)
        assert await machine.passes(account, seconds=0.2, busy=2.0)


async def test_job_waits_for_its_turn() -> None:
    never = asyncio.Event()
    child = ChildProcess(ChildLimits(memory_bytes=4 << 30, open_files=64, seconds=0.1), turn=never.wait)  # type: ignore[arg-type]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(child.run(None), timeout=1)  # type: ignore[arg-type]
    assert () == child.pids


def test_time_of_processes_that_run_and_that_have_ended_is_used() -> None:
    before = seconds_used(())
    with subprocess.Popen([sys.executable, "-c", BURN], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert seconds_used([process.pid]) - before > 0.25
        assert seconds_used(()) - before < 0.1
        process.communicate(b"\n")
    assert seconds_used([process.pid]) - before > 0.25


def test_what_is_idle_is_left_and_nothing_else() -> None:
    before = seconds_left()
    fields = [int(field) / 100 for field in Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
    _user, _nice, _system, idle, iowait, *_ = fields
    assert before <= idle + iowait + 0.001
    assert idle + iowait - 0.001 <= seconds_left()
