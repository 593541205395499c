"""What model servers tell of themselves, and answers that are none."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from agents.probe import scrape
from agents.probe.readings import CpuUse, Reading, Trouble, TroubleReason
from agents.probe.scrape import ScrapeTarget, read_metrics
from schemas.resource_sample import Gpu

PYTHON = """\
# HELP process_virtual_memory_bytes Virtual memory size in bytes.
# TYPE process_virtual_memory_bytes gauge
process_virtual_memory_bytes 1.7e+09
process_resident_memory_bytes 8.12646400e+08
process_start_time_seconds 1.7954216493e+09
process_cpu_seconds_total 123.45
process_open_fds 61.0
http_requests_total{path="/predict",code="200"} 1027 1395066363000
"""
TRITON = """\
nv_inference_request_success{model="flights",version="1"} 400.000000
nv_inference_pending_request_count{model="flights",version="1"} 3
nv_inference_pending_request_count{model="fraud",version="1"} 4
nv_gpu_utilization{gpu_uuid="GPU-1"} 0.5
nv_gpu_utilization{gpu_uuid="GPU-2"} 1.0
nv_gpu_memory_total_bytes{gpu_uuid="GPU-1"} 17179869184.000000
nv_gpu_memory_total_bytes{gpu_uuid="GPU-2"} 17179869184.000000
nv_gpu_memory_used_bytes{gpu_uuid="GPU-1"} 1000000000
nv_gpu_memory_used_bytes{gpu_uuid="GPU-2"} 500000000
"""
VLLM = """\
vllm:num_requests_running{model_name="m"} 8.0
vllm:num_requests_waiting{model_name="m"} 2.0
vllm:gpu_cache_usage_perc{model_name="m"} 0.42
process_resident_memory_bytes 4e9
"""

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def test_a_python_server_is_read() -> None:
    reading = read_metrics(PYTHON, "url")
    assert (812646400, 61, 1795421649300) == (reading.rss_bytes, reading.open_fds, reading.start_ms)
    assert reading.cpu is not None
    assert 123.45 == reading.cpu.since(CpuUse({}))


def test_triton_is_read() -> None:
    reading = read_metrics(TRITON, "url")
    expected = Gpu(memory_used_bytes=1_500_000_000, memory_limit_bytes=2 * 17179869184, utilization_ratio=0.75)
    assert (expected, 7.0, None) == (reading.gpu, reading.queue_length, reading.rss_bytes)


def test_vllm_is_read() -> None:
    reading = read_metrics(VLLM, "url")
    assert (Gpu(cache_ratio=0.42), 2.0, 4_000_000_000) == (reading.gpu, reading.queue_length, reading.rss_bytes)


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf", "-5", "1e400", "twelve", ""])
def test_a_value_that_is_none_is_not_known(value: str) -> None:
    reading = read_metrics(f"process_resident_memory_bytes {value}\r\nprocess_open_fds 3\r\n", "url")
    assert (None, 3) == (reading.rss_bytes, reading.open_fds)


@pytest.mark.parametrize(
    "text", ["", "<!doctype html><html>", "\n\n<html>", "up 1\n", '{"status": "ok"}', "\x00\xff" * 99]
)
def test_what_is_no_metric_is_a_named_trouble(text: str) -> None:
    with pytest.raises(Trouble) as caught:
        read_metrics(text, "http://model/")
    assert TroubleReason.SCRAPE_NOT_METRICS is caught.value.reason
    assert "http://model/" in str(caught.value)


@contextlib.asynccontextmanager
async def server(handler: Handler) -> AsyncIterator[str]:
    answering: set[asyncio.Task[None] | None] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError):
            await handler(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    serving = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = serving.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/metrics"
    finally:
        serving.close()
        await asyncio.wait([task for task in answering if task is not None])


async def read(url: str) -> Reading:
    target = ScrapeTarget(url)
    async with target.opened():
        return await target.read()


async def trouble(handler: Handler) -> TroubleReason:
    async with server(handler) as url:
        with pytest.raises(Trouble) as caught:
            await read(url)
    return caught.value.reason


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
    while True:
        writer.write(b"process_open_fds 1\n")
        await writer.drain()
        await asyncio.sleep(0.05)


async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 52428800\r\n\r\n")
    for _ in range(800):
        writer.write(b"# a comment of no use to anybody\n" * 1986)
        await writer.drain()


async def junk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")


async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nprocess_open")


async def broken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (hang, TroubleReason.SCRAPE_TIMED_OUT),
        (drip, TroubleReason.SCRAPE_TIMED_OUT),
        (flood, TroubleReason.SCRAPE_TOO_LARGE),
        (junk, TroubleReason.SCRAPE_FAILED),
        (cut, TroubleReason.SCRAPE_FAILED),
        (broken, TroubleReason.SCRAPE_FAILED),
    ],
)
async def test_an_answer_that_is_none_is_a_named_trouble(
    handler: Handler, reason: TroubleReason, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason is TroubleReason.SCRAPE_TOO_LARGE:
        # Fifty megabytes may take longer than a second on a busy machine, which would be a trouble too.
        monkeypatch.setattr(scrape, "TIMEOUT_SECONDS", 20.0)
    assert reason is await trouble(handler)


async def test_nobody_listening_is_a_named_trouble() -> None:
    with pytest.raises(Trouble) as caught:
        await read("http://127.0.0.1:1/metrics")
    assert TroubleReason.SCRAPE_FAILED is caught.value.reason


async def test_a_server_is_asked_again_and_again() -> None:
    async def metrics(_: web.Request) -> web.Response:
        return web.Response(text=PYTHON)

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    target = ScrapeTarget(f"http://127.0.0.1:{port}/metrics")
    async with target.opened():
        assert [61, 61] == [(await target.read()).open_fds for _ in range(2)]
    await runner.cleanup()
