"""Real processes, found and read: against /proc, with children, zombies, and those that are not there."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from agents.probe.processes import by_cmdline, by_pid, by_port, read_processes, tree_of
from agents.probe.readings import CpuUse, Trouble, TroubleReason
from agents.probe.targets import ProcessTarget
from tests.support.waiting import wait_until

SLEEPER = "import sys, time; print('ready', flush=True); time.sleep(600)"


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-c", SLEEPER, "marked-77"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def proc_lines(pid: int) -> dict[str, str]:
    return dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())


def reason_of(find: object) -> TroubleReason:
    with pytest.raises(Trouble) as caught:
        find()  # type: ignore[operator]
    return caught.value.reason


def test_figures_agree_with_proc(sleeper: subprocess.Popen[str]) -> None:
    reading = read_processes(tree_of(by_pid(sleeper.pid)()))
    status = proc_lines(sleeper.pid)
    assert int(status["VmRSS"].split()[0]) * 1024 == reading.rss_bytes
    assert int(status["Threads"]) == reading.threads
    assert len(list(Path(f"/proc/{sleeper.pid}/fd").iterdir())) == reading.open_fds
    fields = Path(f"/proc/{sleeper.pid}/stat").read_text().rpartition(")")[2].split()
    ticks = os.sysconf("SC_CLK_TCK")
    assert reading.cpu is not None
    assert pytest.approx((int(fields[11]) + int(fields[12])) / ticks) == reading.cpu.since(CpuUse({}))
    boot = next(
        int(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime")
    )
    assert reading.start_ms is not None
    assert abs(reading.start_ms - 1000 * (boot + int(fields[19]) / ticks)) < 1500


def test_children_are_added_up() -> None:
    parent = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {SLEEPER!r}], stdout=subprocess.PIPE, text=True)\n"
        "child.stdout.readline(); print(child.pid, flush=True); child.wait()"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        processes = tree_of(by_pid(process.pid)())
        assert [process.pid, child] == [each.pid for each in processes]
        both = sum(int(proc_lines(pid)["VmRSS"].split()[0]) * 1024 for pid in (process.pid, child))
        assert both == read_processes(processes).rss_bytes
        psutil.Process(child).kill()


def test_a_pid_that_is_not_there_is_a_named_trouble() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert TroubleReason.NO_PROCESS is reason_of(by_pid(process.pid))


def test_a_zombie_is_no_process() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE, what="a zombie")
    try:
        assert TroubleReason.NO_PROCESS is reason_of(by_pid(process.pid))
        assert TroubleReason.NO_PROCESS is reason_of(lambda: tree_of(psutil.Process(process.pid)))
    finally:
        process.wait()


def test_a_pid_is_never_followed_to_another_process(
    sleeper: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    find = by_pid(sleeper.pid)
    find()
    monkeypatch.setattr(psutil.Process, "create_time", lambda _: 1.0)
    assert TroubleReason.NO_PROCESS is reason_of(find)


def test_a_command_line_is_found_but_not_the_probe_nor_its_shell(sleeper: subprocess.Popen[str]) -> None:
    assert sleeper.pid == by_cmdline(r"marked-\d+")().pid
    assert TroubleReason.NO_PROCESS is reason_of(by_cmdline(f"^{sys.executable} .*pytest-that-is-not-there"))
    mine = psutil.Process().cmdline()
    assert TroubleReason.NO_PROCESS is reason_of(by_cmdline(f"^{' '.join(mine)}$".replace("[", r"\[")))


def test_a_listener_is_found_by_its_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        assert os.getpid() == by_port(listening.getsockname()[1])().pid
        port = listening.getsockname()[1]
    assert TroubleReason.NO_PROCESS is reason_of(by_port(port))


def test_what_may_not_be_read_is_a_named_trouble_or_left_out(
    sleeper: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> None:
        raise psutil.AccessDenied(sleeper.pid)

    processes = tree_of(psutil.Process(sleeper.pid))
    monkeypatch.setattr(psutil.Process, "num_fds", denied)
    assert None is read_processes(processes).open_fds
    monkeypatch.setattr(psutil.Process, "num_threads", denied)
    assert TroubleReason.PERMISSION_DENIED is reason_of(lambda: read_processes(processes))
    monkeypatch.setattr(psutil, "net_connections", denied)
    assert TroubleReason.PERMISSION_DENIED is reason_of(by_port(1))


def test_a_target_is_found_again_under_another_pid() -> None:
    target = ProcessTarget(by_cmdline("marked-restarting"))
    starts = []
    for _ in range(2):
        with subprocess.Popen(
            [sys.executable, "-c", SLEEPER, "marked-restarting"], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            starts.append(asyncio.run(target.read()).start_ms)
            process.kill()
        with pytest.raises(Trouble):
            asyncio.run(target.read())
    assert starts[0] != starts[1]


async def test_limits_of_the_machine_hold_where_there_are_none(sleeper: subprocess.Popen[str]) -> None:
    reading = await ProcessTarget(by_pid(sleeper.pid)).read()
    assert reading.memory_limit_bytes is not None
    assert 0 < reading.memory_limit_bytes <= psutil.virtual_memory().total
    assert reading.cpu_limit_cores is not None
    assert 0 < reading.cpu_limit_cores <= (os.cpu_count() or 1)


def test_cpu_of_a_busy_process_is_what_it_used() -> None:
    busy = (
        "import time\nend = time.process_time() + 0.5\nwhile time.process_time() < end: pass\n"
        "print(1, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", busy], stdout=subprocess.PIPE, text=True) as process:
        before = read_processes(tree_of(psutil.Process(process.pid))).cpu
        assert process.stdout is not None
        process.stdout.readline()
        after = read_processes(tree_of(psutil.Process(process.pid))).cpu
        assert before is not None
        assert after is not None
        assert 0.4 <= after.since(before) <= 0.8
        process.kill()
