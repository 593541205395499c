"""What a model server tells about itself in Prometheus' format: `process_*`, Triton's `nv_*`, vLLM's.

In Kubernetes this is often all that can be reached. An answer that hangs, is too large or is no such text is a trouble
with a name, and costs no more than a second and 8 MiB.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import statistics
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

import aiohttp

from agents.probe.readings import CpuUse, Reading, Trouble, TroubleReason
from schemas.resource_sample import Gpu

__all__ = ["ScrapeTarget", "read_metrics"]

TIMEOUT_SECONDS = 1.0
MOST_BYTES = 8 << 20
CHUNK_BYTES = 64 << 10

_LINE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{[^\n]*\})?[ \t]+(\S+)(?:[ \t]+-?\d+)?[ \t]*")
_KNOWN = frozenset(
    {
        "process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds",
        "process_threads", "go_threads", "jvm_threads_current",
        "nv_gpu_utilization", "nv_gpu_memory_used_bytes", "nv_gpu_memory_total_bytes",
        "nv_inference_pending_request_count",
        "vllm:num_requests_waiting", "vllm:gpu_cache_usage_perc", "vllm:kv_cache_usage_perc",
    }
)  # fmt: skip


class ScrapeTarget:
    """A server that tells of itself: asks one address, over a connection that is kept."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._session: aiohttp.ClientSession | None = None

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """In this block it can be asked."""
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout, headers={"Accept": "text/plain;version=0.0.4"}) as session:
            self._session = session
            yield

    async def read(self) -> Reading:
        """Ask once.

        Raises: Trouble with what is wrong with the answer.
        """
        assert self._session is not None, "open it first"
        try:
            async with self._session.get(self.url) as answer:
                if answer.status != 200:
                    raise Trouble(TroubleReason.SCRAPE_FAILED, f"{self.url} answers {answer.status} {answer.reason}")
                text = await self._text(answer)
        except TimeoutError as error:
            raise Trouble(
                TroubleReason.SCRAPE_TIMED_OUT, f"{self.url} does not answer within {TIMEOUT_SECONDS:g} s"
            ) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Trouble(TroubleReason.SCRAPE_FAILED, f"{self.url} cannot be asked: {error}") from error
        return await asyncio.to_thread(read_metrics, text, self.url)

    async def _text(self, answer: Any) -> str:
        content = bytearray()
        async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
            content += chunk
            if len(content) > MOST_BYTES:
                raise Trouble(
                    TroubleReason.SCRAPE_TOO_LARGE,
                    f"{self.url} answers with more than {MOST_BYTES:,} bytes; narrow it down",
                )
        return content.decode("utf-8", "replace")


def read_metrics(text: str, url: str) -> Reading:
    """The figures of an answer.

    Raises: Trouble if it holds none that are known.
    """
    if text.lstrip()[:1] == "<":
        raise Trouble(
            TroubleReason.SCRAPE_NOT_METRICS, f"{url} answers with a page, not with metrics; /metrics is usual"
        )
    values = _values(text)
    if not values:
        raise Trouble(
            TroubleReason.SCRAPE_NOT_METRICS,
            f"{url} tells none of process_*, nv_* and vllm:*; name the address of a model server's metrics",
        )
    cpu = _total(values, "process_cpu_seconds_total")
    start = _first(values, "process_start_time_seconds")
    return Reading(
        cpu=None if cpu is None else CpuUse({(url, start): cpu}),
        rss_bytes=_count(_total(values, "process_resident_memory_bytes")),
        open_fds=_count(_total(values, "process_open_fds")),
        threads=_count(_total(values, "process_threads", "go_threads", "jvm_threads_current")),
        start_ms=None if start is None else round(start * 1000),
        gpu=_gpu(values),
        queue_length=_total(values, "nv_inference_pending_request_count", "vllm:num_requests_waiting"),
    )


def _values(text: str) -> dict[str, list[float]]:
    """Finite numbers, not below 0, of the metrics that are known."""
    found: dict[str, list[float]] = {}
    for name, value in _samples(text):
        if name in _KNOWN and math.isfinite(value) and value >= 0:
            found.setdefault(name, []).append(value)
    return found


def _samples(text: str) -> Iterator[tuple[str, float]]:
    for line in text.split("\n"):
        if line[:1] in ("p", "g", "j", "n", "v") and (matched := _LINE.fullmatch(line.rstrip("\r"))):
            try:
                yield matched[1], float(matched[2])
            except ValueError:
                continue


def _total(values: Mapping[str, Sequence[float]], *names: str) -> float | None:
    """The sum of the first of these that is told."""
    return next((sum(values[name]) for name in names if name in values), None)


def _first(values: Mapping[str, Sequence[float]], name: str) -> float | None:
    return min(values[name]) if name in values else None


def _count(value: float | None) -> int | None:
    return None if value is None or value >= 2**63 else round(value)


def _gpu(values: Mapping[str, Sequence[float]]) -> Gpu | None:
    loads = [min(1.0, load) for load in values.get("nv_gpu_utilization", ())]
    caches = [*values.get("vllm:kv_cache_usage_perc", ()), *values.get("vllm:gpu_cache_usage_perc", ())]
    gpu = Gpu(
        memory_used_bytes=_count(_total(values, "nv_gpu_memory_used_bytes")),
        memory_limit_bytes=_count(_total(values, "nv_gpu_memory_total_bytes")) or None,
        utilization_ratio=statistics.fmean(loads) if loads else None,
        cache_ratio=min(1.0, max(caches)) if caches else None,
    )
    return None if gpu == Gpu() else gpu
