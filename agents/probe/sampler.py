"""From two readings of a target to a resource sample."""

from __future__ import annotations

import uuid

import msgspec

from agents.probe.readings import Reading
from schemas.codec import cloud_event_headers
from schemas.resource_sample import SentResourceSample
from schemas.times import format_time
from schemas.window_report import NAMESPACE
from streams.ports import OutgoingMessage

__all__ = ["Sampler"]


class Sampler:
    """Makes the samples of one target.

    `restarts` counts how often another process was found in the target's place.
    """

    def __init__(self, *, target: str, model: str, model_version: str, topic: str) -> None:
        self.restarts = 0
        self._target = target
        self._model = model
        self._model_version = model_version
        self._topic = topic
        self._last: tuple[float, Reading] | None = None
        self._start_ms: int | None = None

    def sample(self, reading: Reading, *, now_ms: int, monotonic_seconds: float) -> SentResourceSample:
        """The sample of a reading that was made now; rates are since the one before, and unknown in the first."""
        if reading.start_ms is not None and self._start_ms not in (None, reading.start_ms):
            self.restarts += 1
        self._start_ms = reading.start_ms if reading.start_ms is not None else self._start_ms
        last, self._last = self._last, (monotonic_seconds, reading)
        return SentResourceSample(
            target=self._target,
            model=self._model,
            model_version=self._model_version or None,
            event_time=format_time(now_ms),
            cpu_cores=None if last is None else _cores(*last, reading, monotonic_seconds),
            cpu_limit_cores=reading.cpu_limit_cores,
            cpu_throttled_ratio=None if last is None else _throttled(last[1], reading),
            rss_bytes=reading.rss_bytes,
            working_set_bytes=reading.working_set_bytes,
            memory_limit_bytes=reading.memory_limit_bytes,
            open_fds=reading.open_fds,
            threads=reading.threads,
            gpu=reading.gpu,
            process_start_time=None if reading.start_ms is None else format_time(reading.start_ms),
            oom_kills=reading.oom_kills,
            pressure=reading.pressure,
            queue_length=reading.queue_length,
        )

    def message(self, sample: SentResourceSample, *, now_ms: int) -> OutgoingMessage:
        """The record of a sample."""
        identity = str(uuid.uuid5(NAMESPACE, f"{self._target}\n{sample.event_time}"))
        source = f"/latelabel/probe/{uuid.uuid5(NAMESPACE, self._target)}"
        return OutgoingMessage(
            topic=self._topic,
            key=self._target.encode(),
            value=msgspec.json.encode(sample),
            headers=cloud_event_headers("resource_sample", event_id=identity, source=source, time_ms=now_ms),
            timestamp_ms=now_ms,
        )


def _cores(earlier_seconds: float, earlier: Reading, reading: Reading, monotonic_seconds: float) -> float | None:
    seconds = monotonic_seconds - earlier_seconds
    if earlier.cpu is None or reading.cpu is None or seconds <= 0:
        return None
    return reading.cpu.since(earlier.cpu) / seconds


def _throttled(earlier: Reading, reading: Reading) -> float | None:
    """Of the periods between; in none the target did not run, so that nothing held it back."""
    if None in (earlier.periods, earlier.throttled, reading.periods, reading.throttled):
        return None
    assert earlier.periods is not None
    assert earlier.throttled is not None
    assert reading.periods is not None
    assert reading.throttled is not None
    periods, throttled = reading.periods - earlier.periods, reading.throttled - earlier.throttled
    if periods < 0 or throttled < 0:
        return None  # of another container
    return min(1.0, throttled / periods) if periods else 0.0
