"""A probe at work: rates, restarts, a bounded buffer while Kafka is away, troubles named and counted."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import sys
import types
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from agents.clock import SystemClock
from agents.probe.gpu import GpuReader
from agents.probe.readings import CpuUse, Reading, Trouble, TroubleReason, merged
from agents.probe.run import Buffer, ProbeRun
from agents.probe.sampler import Sampler
from agents.probe.targets import ManyTargets
from schemas.codec import decode_resource_samples
from schemas.resource_sample import Gpu
from streams.errors import PermanentFailure, TemporaryFailure
from streams.ports import OutgoingMessage

NOON_MS = 1_795_435_200_000


def sampler() -> Sampler:
    return Sampler(target="pod-1", model="fraud", model_version="3", topic="resource-samples")


def message(number: int) -> OutgoingMessage:
    return OutgoingMessage(topic="t", key=None, value=str(number).encode())


def test_rates_are_unknown_at_first_and_then_since_the_sample_before() -> None:
    samples = sampler()
    readings = [
        Reading(cpu=CpuUse({"a": 10.0, "b": 5.0}), periods=100, throttled=10),
        Reading(cpu=CpuUse({"a": 11.0, "c": 1.0}), periods=120, throttled=15),
        Reading(cpu=CpuUse({"a": 11.0, "c": 1.0}), periods=120, throttled=15),
        Reading(cpu=CpuUse({"a": 11.5}), periods=20, throttled=0),
    ]
    made = [samples.sample(reading, now_ms=NOON_MS, monotonic_seconds=2.0 * at) for at, reading in enumerate(readings)]
    assert [None, 1.0, 0.0, 0.25] == [each.cpu_cores for each in made]
    assert [None, 0.25, 0.0, None] == [each.cpu_throttled_ratio for each in made]


def test_another_start_is_a_restart() -> None:
    samples = sampler()
    for start_ms in (1, 1, None, 1, 2, 2, 3):
        samples.sample(Reading(start_ms=start_ms), now_ms=NOON_MS, monotonic_seconds=0.0)
    assert 2 == samples.restarts


def test_a_sample_is_one_that_the_contract_takes() -> None:
    samples = sampler()
    reading = Reading(rss_bytes=5, start_ms=NOON_MS - 1, gpu=Gpu(utilization_ratio=0.5), queue_length=1.0)
    sent = samples.message(samples.sample(reading, now_ms=NOON_MS, monotonic_seconds=0.0), now_ms=NOON_MS)
    decoded = decode_resource_samples([sent.value], [NOON_MS], now_ms=NOON_MS, max_future_skew_ms=0)
    assert ([], NOON_MS) == (decoded.rejected, decoded.times_ms[0])
    expected = {"target": "pod-1", "model": "fraud", "model_version": "3", "event_time": "2026-11-23T12:00:00Z",
                "rss_bytes": 5, "gpu": {"utilization_ratio": 0.5}, "process_start_time": "2026-11-23T11:59:59.999Z",
                "queue_length": 1.0}  # fmt: skip
    assert expected == json.loads(sent.value or b"")
    assert (b"pod-1", NOON_MS, b"io.latelabel.resource_sample.v1") == (
        sent.key, sent.timestamp_ms, dict(sent.headers)["ce_type"]
    )  # fmt: skip


def test_a_full_buffer_drops_the_oldest_and_counts_them() -> None:
    buffer = Buffer(most=3)
    for number in range(5):
        buffer.put(message(number))
    assert 2 == buffer.dropped
    taken = buffer.take(2)
    assert [b"2", b"3"] == [each.value for each in taken]
    buffer.put(message(5))
    buffer.put(message(6))
    buffer.give_back(taken)
    assert (4, [b"4", b"5", b"6"]) == (buffer.dropped, [each.value for each in buffer.take(9)])


@dataclasses.dataclass
class ScriptedTarget:
    """Answers in turn; the last answer stays."""

    answers: Sequence[Reading | Trouble]
    asked: int = 0

    async def read(self) -> Reading:
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        if isinstance(answer, Trouble):
            raise answer
        return answer

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        yield


@dataclasses.dataclass
class AwayPublisher:
    """Fails so often, then takes everything."""

    failures: int
    sent: list[OutgoingMessage] = dataclasses.field(default_factory=list)
    failing: Any = None

    async def send(self, messages: Sequence[OutgoingMessage]) -> None:
        if self.failures:
            self.failures -= 1
            raise TemporaryFailure("Kafka is away")
        self.sent += messages


async def nothing() -> None:
    """Connect, or close."""


def run_of(target: Any, publisher: Any, *, follows: bool = True, buffer: Buffer | None = None) -> ProbeRun:
    return ProbeRun(
        target=target,
        sampler=sampler(),
        publisher=publisher,
        clock=SystemClock(),
        interval_seconds=0.01,
        follows=follows,
        connect=nothing,
        close=nothing,
        buffer=Buffer() if buffer is None else buffer,
    )


async def until(run: ProbeRun, condition: Any) -> None:
    stop = asyncio.Event()
    working = asyncio.ensure_future(run.run(stop))
    deadline = asyncio.get_running_loop().time() + 20
    while not condition() and not working.done() and asyncio.get_running_loop().time() < deadline:
        await asyncio.wait({working}, timeout=0.005)
    stop.set()
    await working


async def test_samples_are_kept_while_kafka_is_away_and_sent_in_order() -> None:
    target, publisher = ScriptedTarget([Reading(rss_bytes=1)]), AwayPublisher(failures=30)
    run = run_of(target, publisher, buffer=Buffer(most=3))
    await until(run, lambda: run.sent >= 10)
    assert run.buffer.dropped > 0
    assert run.sent + run.buffer.dropped + len(run.buffer) == target.asked
    assert f"{run.sent} samples sent, {run.buffer.dropped} dropped" in run.summary()


async def test_a_target_in_trouble_is_told_once_counted_and_looked_for_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    trouble = Trouble(TroubleReason.NO_PROCESS, "no process has a command line like 'model'")
    target = ScriptedTarget([trouble, trouble, trouble, Reading(start_ms=1), trouble, Reading(start_ms=2)])
    run = run_of(target, AwayPublisher(failures=0))
    await until(run, lambda: run.sampler.restarts == 1)
    assert {TroubleReason.NO_PROCESS: 4} == run.troubles
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert 2 == len(told)
    assert "looking again" in told[0]
    assert "1 restarts, 4 without a sample for no_process" in run.summary()


async def test_a_pid_that_ends_ends_the_probe() -> None:
    gone = Trouble(TroubleReason.NO_PROCESS, "process 7 has ended")
    publisher = AwayPublisher(failures=0)
    run = run_of(ScriptedTarget([Reading(rss_bytes=1), gone]), publisher, follows=False)
    await until(run, lambda: False)
    assert 1 == len(publisher.sent)


async def test_a_pid_that_never_was_is_a_failure_with_the_remedy() -> None:
    gone = Trouble(TroubleReason.NO_PROCESS, "there is no process 7")
    with pytest.raises(PermanentFailure, match="--cmdline or --port"):
        await until(run_of(ScriptedTarget([gone]), AwayPublisher(failures=0), follows=False), lambda: False)


async def test_what_one_way_does_not_tell_another_may() -> None:
    process = ScriptedTarget([Reading(rss_bytes=1, start_ms=5)])
    server = ScriptedTarget([Reading(rss_bytes=2, queue_length=3.0)])
    assert Reading(rss_bytes=1, start_ms=5, queue_length=3.0) == await ManyTargets([process, server]).read()
    assert Reading(rss_bytes=1) == merged(Reading(), Reading(rss_bytes=1))


class FakeNvml(types.ModuleType):
    """Two devices; process 7 runs on the first, and it knows of no ECC."""

    class NVMLError(Exception):
        """As the library's."""

    def __init__(self) -> None:
        super().__init__("pynvml")
        self.nvmlInit = lambda: None
        self.nvmlDeviceGetCount = lambda: 2
        self.nvmlDeviceGetHandleByIndex = lambda index: index
        self.nvmlDeviceGetComputeRunningProcesses = lambda at: [types.SimpleNamespace(pid=7)] if at == 0 else []
        self.nvmlDeviceGetMemoryInfo = lambda _: types.SimpleNamespace(used=3, total=4)
        self.nvmlDeviceGetUtilizationRates = lambda _: types.SimpleNamespace(gpu=50)
        self.nvmlDeviceGetTemperature = lambda *_: 60
        self.nvmlDeviceGetTotalEccErrors = self.refuse

    def refuse(self, *_: object) -> None:
        raise self.NVMLError("not supported")


def test_processors_of_the_target_are_read_and_others_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml())
    reader = GpuReader()
    expected = Gpu(memory_used_bytes=3, memory_limit_bytes=4, utilization_ratio=0.5, temperature_celsius=60.0)
    assert expected == reader.read([7])
    assert None is reader.read([8])


def test_without_the_library_or_a_driver_there_are_silently_no_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert None is GpuReader().read([7])
    without_driver = FakeNvml()
    without_driver.nvmlInit = without_driver.refuse
    monkeypatch.setitem(sys.modules, "pynvml", without_driver)
    assert None is GpuReader().read([7])
