"""No child process outlives the demo, and one that ends too early ends the demo."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import psutil
import pytest

from agents.demo import processes
from agents.demo.processes import CommandFailed, Commands, stop

SLEEP = "print('ready', flush=True); time.sleep(60)"
STUBBORN = f"import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"
POLITE = f"import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); {SLEEP}"


async def spawn(program: str) -> asyncio.subprocess.Process:
    """Start Python with a program that prints a line when it is ready."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    await process.stdout.readline()
    return process


async def test_child_that_ignores_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "STOP_SECONDS", 0.1)
    process = await spawn(STUBBORN)
    await stop(process)
    assert -9 == process.returncode
    assert not psutil.pid_exists(process.pid)


async def test_child_that_listens_to_sigterm_may_end_by_itself() -> None:
    process = await spawn(POLITE)
    await stop(process)
    assert 0 == process.returncode


async def test_cancelled_work_leaves_no_child(tmp_path: Path) -> None:
    children: list[int] = []
    commands = Commands(configuration=tmp_path / "latelabel.yaml", folder=tmp_path)
    started = asyncio.Event()

    async def work() -> None:
        async with commands.running("--help") as process:
            children.append(process.pid)
            started.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not psutil.pid_exists(children[0])


async def test_worker_that_ends_too_early_is_shown_with_the_end_of_its_log(tmp_path: Path) -> None:
    commands = Commands(configuration=tmp_path / "latelabel.yaml", folder=tmp_path)
    (tmp_path / "worker.log").write_text("first line\nRedis does not answer\n")
    process = await spawn("print('ready', flush=True); raise SystemExit(3)")
    with pytest.raises(CommandFailed, match=r"(?s)`latelabel worker`.*exit code 3.*Redis does not answer"):
        await commands.watch(process, "worker", during=asyncio.Event().wait())


async def test_work_that_fails_is_heard_of_while_the_worker_runs(tmp_path: Path) -> None:
    async def fail() -> None:
        raise ValueError("no such topic")

    commands = Commands(configuration=tmp_path / "latelabel.yaml", folder=tmp_path)
    process = await spawn(f"import time; {SLEEP}")
    with pytest.raises(ValueError, match="no such topic"):
        await commands.watch(process, "worker", during=fail())
    await stop(process)
