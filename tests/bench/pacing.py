"""W2 and small batches: records come at a steady pace, and each says when it was meant to be sent.

The sender is a process of its own that keeps to its plan whatever happens to the worker, and latency counts from
the plan (no coordinated omission). A label counts as readable once a report on its window is read that has as many
labels as its window had planned until then: labels are told apart by number, since a report names none.
"""

from __future__ import annotations

import bisect
import collections
import dataclasses
import functools
import multiprocessing
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence

import msgspec
import numpy as np
from confluent_kafka import Consumer, TopicPartition

from deploy.server_process import free_port
from tests.bench.backlog import Shape, backlog, finish, producer
from tests.bench.errors import BenchError
from tests.bench.figures import Figure
from tests.bench.process_cost import Meter, cpu_seconds, peak_bytes
from tests.bench.workers import Installation, Log, Services, check_cells, wait_for
from tests.support.services import unique_name

__all__ = ["small_batches", "w2"]

MIB = 2**20
RATES = (1_000, 5_000, 20_000)
"""Records a second, predictions and labels together."""
SECONDS = 15
LABEL_AFTER_SECONDS = (2, 10)
EVALUATION_INTERVAL_MS = 1_000
"""All labels come within its hundredfold of their windows' ends, so that every window may be revised at each."""
LEAD_MS = 3_000
LEAD_MS_PER_PREDICTION = 0.03
"""What the sender needs to begin: it draws ids and labels before the first record."""
READY_SECONDS = 60.0
LAST_REPORT_SECONDS = 30.0
LATENCY_BAR_MS = 250 + EVALUATION_INTERVAL_MS

Window = tuple[str, str]
"""Model and start."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Paced:
    worker_us_per_record: float
    redis_us_per_record: float
    broker_us_per_record: float
    peak_bytes: int
    others_cores: float
    behind_ms: float
    latencies_ms: Sequence[float]
    cells: int


class _Report(msgspec.Struct):
    """Of any kind; only those on quality know labels."""

    kind: str
    model: str
    window: Mapping[str, str | int]
    segment: Mapping[str, str]
    labelled: int = 0


def w2(services: Services) -> Iterator[Figure]:
    """1,000, 5,000 and 20,000 records a second over 4 + 4 partitions, by default half a minute each."""
    for rate in RATES:
        run = _paced(services, rate=rate, partitions=4)
        what = f"W2, {rate:,} records/s"
        for share in (50, 99):
            value = float(np.percentile(run.latencies_ms, share))
            bar = LATENCY_BAR_MS if share == 99 and rate > RATES[0] else None
            yield Figure(f"{what}: label produced to report readable, p{share}", (value,), "ms", bar)
        yield from _costs(what, run)


def small_batches(services: Services) -> Iterator[Figure]:
    """5,000 records a second over 16 + 16 partitions, so that a fetch holds few of each."""
    run = _paced(services, rate=5_000, partitions=16)
    yield from _costs("5,000 records/s over 32 partitions", run, worker_bar=10)


def _costs(what: str, run: _Paced, *, worker_bar: float | None = None) -> Iterator[Figure]:
    yield Figure(f"{what}: worker CPU per record", (run.worker_us_per_record,), "us", worker_bar)
    yield Figure(f"{what}: Redis CPU per record", (run.redis_us_per_record,), "us")
    yield Figure(f"{what}: broker CPU per record", (run.broker_us_per_record,), "us")
    yield Figure(f"{what}: worker memory at its peak", (run.peak_bytes / MIB,), "MiB", 300)
    yield Figure(f"{what}: wrong cells", (0,), f"of {run.cells:,}", 0)
    yield Figure(f"{what}: sender behind its plan, at most", (run.behind_ms,), "ms")
    yield Figure(f"{what}: others on the machine meanwhile", (run.others_cores,), "cores")


def _paced(services: Services, *, rate: int, partitions: int) -> _Paced:
    predictions = services.scaled(rate * SECONDS // 2)
    seconds = 2 * predictions / rate
    per_second = rate // 2
    shape = Shape(
        predictions=predictions,
        microseconds_apart=1_000_000 // per_second,
        label_after_records=tuple(
            int(after * per_second * min(1.0, seconds / SECONDS)) + 1 for after in LABEL_AFTER_SECONDS
        ),  # type: ignore[arg-type]  # two, as the constant
    )
    log = services.empty_log(shape, partitions=partitions)
    port = free_port()
    installation = services.installation(log, evaluation_interval=f"{EVALUATION_INTERVAL_MS}ms", web={"port": port})
    with installation.running() as worker:
        wait_for(functools.partial(_is_reading, port), what="the worker to read", seconds=READY_SECONDS)
        return _measure(services, installation, log, worker.pid)


def _measure(services: Services, installation: Installation, log: Log, worker: int) -> _Paced:
    lead_ms = LEAD_MS + int(LEAD_MS_PER_PREDICTION * log.shape.predictions)
    shape = dataclasses.replace(log.shape, start_ms=int(time.time() * 1000) + lead_ms)
    log = dataclasses.replace(log, shape=shape)
    reports = _ReportReader(services.kafka.address, installation.metrics_topic)
    spawn = multiprocessing.get_context("spawn")
    lateness = spawn.Queue()
    sender = spawn.Process(target=_send, args=(services.kafka.address, log, lateness), daemon=True)
    sender.start()
    time.sleep(max(0.0, shape.start_ms / 1000 - time.time()))
    meter, before = Meter(installation.servers), cpu_seconds(worker)
    behind_ms = lateness.get(timeout=600)
    if isinstance(behind_ms, str):
        raise BenchError(behind_ms)
    cost = meter.cost(own_seconds=cpu_seconds(worker) - before)
    sender.join()
    # Only now: until here the machine belongs to what is measured.
    expected, planned = services.expected(shape), _planned_ms(shape)
    readable = reports.until({window: len(times) for window, times in planned.items()}, seconds=LAST_REPORT_SECONDS)
    check_cells(expected.cells, installation.counted())
    return _Paced(
        worker_us_per_record=1e6 * cost.own_seconds / expected.records,
        redis_us_per_record=1e6 * cost.server_seconds["redis"] / expected.records,
        broker_us_per_record=1e6 * cost.server_seconds["kafka"] / expected.records,
        peak_bytes=peak_bytes(worker),
        others_cores=cost.others_cores,
        behind_ms=behind_ms,
        latencies_ms=[latency for window in planned for latency in _latencies(planned[window], readable[window])],
        cells=len(expected.cells),
    )


def _send(brokers: str, log: Log, lateness: multiprocessing.Queue[float | str]) -> None:
    """Runs in a process of its own: sends each record at its event time, and tells how far behind it was."""
    failed: list[object] = []
    sender = producer(brokers, linger_ms=5, failures=failed)
    behind_ms = 0.0
    try:
        for record in backlog(log.shape):
            while (early_ms := record.time_ms - time.time() * 1000) > 0:
                sender.poll(0)
                time.sleep(min(early_ms, 5.0) / 1000)
            behind_ms = max(behind_ms, -early_ms)
            sender.produce(log.topics[record.is_prediction], record.value, record.key, timestamp=record.time_ms)
        finish(sender, failed)
    except Exception as error:  # noqa: BLE001  # told in the process that waits for it
        lateness.put(f"the sender failed: {error!r}")
    else:
        lateness.put(behind_ms)


def _planned_ms(shape: Shape) -> Mapping[Window, Sequence[int]]:
    """When each pair of a window is complete, in order."""
    predicted: dict[str, tuple[Window, int]] = {}
    labelled: dict[str, int] = {}
    for record in backlog(shape):
        row = msgspec.json.decode(record.value)
        if record.is_prediction:
            predicted[record.key] = (row["model"], row["event_time"][:16]), record.time_ms
        else:
            labelled.setdefault(record.key, record.time_ms)
    planned: dict[Window, list[int]] = collections.defaultdict(list)
    for request_id, (window, time_ms) in predicted.items():
        if request_id in labelled:
            planned[window].append(max(time_ms, labelled[request_id]))
    return {window: sorted(times) for window, times in planned.items()}


def _latencies(planned_ms: Sequence[int], readable: Sequence[tuple[int, float]]) -> Iterator[float]:
    """Of each label of a window, from reports as (labels, when read) in the order of both."""
    counts = [labelled for labelled, _ in readable]
    for number, time_ms in enumerate(planned_ms, start=1):
        yield readable[bisect.bisect_left(counts, number)][1] - time_ms


class _ReportReader:
    """Reads the reports on everything as they come, and notes when."""

    def __init__(self, brokers: str, topic: str) -> None:
        self._consumer = Consumer(
            {"bootstrap.servers": brokers, "group.id": unique_name("reader"), "fetch.wait.max.ms": 5, "log_level": 0}
        )
        self._consumer.assign([TopicPartition(topic, 0, 0)])
        self._labelled: dict[Window, list[tuple[int, float]]] = collections.defaultdict(list)
        self._is_over = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        decoder = msgspec.json.Decoder(_Report)
        while not self._is_over:
            for message in self._consumer.consume(100, 0.01):
                report = decoder.decode(message.value() or b"")
                if report.kind == "quality" and not report.segment:
                    read = self._labelled[report.model, str(report.window["start"])[:16]]
                    if not read or read[-1][0] < report.labelled:
                        read.append((report.labelled, time.time() * 1000))

    def until(self, labelled: Mapping[Window, int], *, seconds: float) -> Mapping[Window, Sequence[tuple[int, float]]]:
        """Wait until all labels are in reports. Raises BenchError if they are not in time."""
        deadline = time.monotonic() + seconds
        while missing := [
            window for window, count in labelled.items() if not (read := self._labelled[window]) or read[-1][0] < count
        ]:
            if time.monotonic() > deadline:
                raise BenchError(f"no report has all labels of {len(missing)} windows, such as {missing[0]}")
            time.sleep(0.05)
        self._is_over = True
        self._thread.join()
        self._consumer.close()
        return self._labelled


def _is_reading(port: int) -> bool:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1):
        return True
