"""What explaining costs the counting: a backlog counted alone, and beside an explainer that has its hands full.

Alone no model is explained, so the difference holds the sampling and the asking as well. The explainer would have a
machine of its own; here it takes the worker's cores by the clock, so the bar is on the worker's processor time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import json
import operator
import re
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

from deploy.server_process import free_port
from tests.bench.backlog import Shape
from tests.bench.errors import BenchError
from tests.bench.explained_models import CLASSES
from tests.bench.figures import Figure
from tests.bench.instructions import sampling_share
from tests.bench.process_cost import cpu_seconds
from tests.bench.workers import LEAST_SHARE, Installation, Log, Services, check_cells, wait_for
from tests.support.services import unique_name

__all__ = ["explained"]

PREDICTIONS = 250_000
COUNTING_BAR = 0.95
SAMPLING_BAR_PERCENT = 2.0
RATE_PER_MINUTE = 600
"""Twenty times what a model is asked about unless somebody says otherwise."""
REQUESTS, REQUESTS_EACH, PAUSE_SECONDS = 1_000, 50, 0.05
"""Beside those of the worker: so many predictions, asked about again and again, a thousand a second."""
MOST_ROUNDS = 2
SHARES = (0.1, 0.95)
PATIENCE_SECONDS = 300.0


_wait = functools.partial(wait_for, seconds=PATIENCE_SECONDS)


@dataclasses.dataclass(frozen=True, slots=True)
class _State:
    """An explainer in trouble; `killed_every_seconds` with -9, to be started again."""

    name: str
    model: str
    timeout: str = "10s"
    killed_every_seconds: float | None = None

    def settings(self, shape: Shape, port: int) -> Mapping[str, Any]:
        """The configuration of worker and explainer."""
        explain = {
            "predictor": f"tests.bench.explained_models:{self.model}",
            "classes": list(CLASSES),
            "rate_per_minute": RATE_PER_MINUTE,
        }
        model = {"report_windows": ["1m"], "segments": ["region"], "explain": explain}
        return {
            "models": [{"name": f"m{number}", **model} for number in range(shape.models)],
            "explainer": {"port": port, "timeout": self.timeout},
        }


STATES = (
    _State("saturated", "slow"),
    _State("hung", "hang", timeout="1s"),
    _State("killed every 3 s", "slow", killed_every_seconds=3.0),
)


def explained(services: Services) -> Iterator[Figure]:
    """Speed of counting beside an explainer, of that alone in the same round; every cell is compared."""
    yield Figure(
        "sampling, of decoding and packing: instructions", (100 * sampling_share(),), "%", SAMPLING_BAR_PERCENT
    )
    shape = Shape(predictions=services.scaled(PREDICTIONS))
    rounds = [
        [_speed(services, shape, state) for state in (None, *STATES)] for _ in range(min(services.repeats, MOST_ROUNDS))
    ]
    yield Figure(
        "counting without explanations: records per second of processor time",
        tuple(alone.per_cpu for alone, *_ in rounds),
        "records/s",
    )
    for at, state in enumerate(STATES, start=1):
        what = f"counting, explainer {state.name}"
        by_cpu = tuple(each[at].per_cpu / each[0].per_cpu for each in rounds)
        yield Figure(f"{what}: by processor time, of alone", by_cpu, "", COUNTING_BAR, operator.ge)
        by_clock = tuple(each[at].per_clock / each[0].per_clock for each in rounds)
        yield Figure(f"{what}: by the clock, of alone", by_clock, "")


@dataclasses.dataclass(frozen=True, slots=True)
class _Speed:
    """Records a second, between two shares of the log: neither the worker's start nor its end is in it."""

    per_cpu: float
    per_clock: float


def _speed(services: Services, shape: Shape, state: _State | None) -> _Speed:
    expected, log, explainer_port = services.expected(shape), services.log(shape), free_port()
    settings = {} if state is None else state.settings(shape, explainer_port)
    installation = services.installation(log, **settings)
    marks = []
    with contextlib.ExitStack() as stack:
        if state is not None:
            stack.enter_context(_explainer(services, installation, log, state, explainer_port))
        worker = stack.enter_context(installation.running())
        for share in SHARES:
            wanted = share * expected.records
            _wait(lambda wanted=wanted: installation.records_counted() >= wanted, what="the log to be counted")  # type: ignore[misc]
            marks.append((installation.records_counted(), cpu_seconds(worker.pid), time.monotonic()))
    (first, cpu, clock), (last, cpu_then, clock_then) = marks
    if last - first < LEAST_SHARE * expected.records:
        raise BenchError("the log is too short: raise the scale")
    # What was not counted when the worker was told to stop.
    installation.run_until_caught_up()
    check_cells(expected.cells, installation.counted())
    return _Speed((last - first) / (cpu_then - cpu), (last - first) / (clock_then - clock))


@contextlib.contextmanager
def _explainer(services: Services, installation: Installation, log: Log, state: _State, port: int) -> Iterator[None]:
    """An explainer that is asked about more than it can do, all the time.

    Raises:
        BenchError: it was not busy, or was not killed: then there is nothing to compare with.
    """
    requests = itertools.cycle(_requests(services, log))
    command = [sys.executable, "-m", "agents", "explainer"]
    producer = Producer({"bootstrap.servers": services.kafka.address})
    is_over = threading.Event()
    kills = 0

    def keep_busy() -> None:
        nonlocal kills
        while not is_over.is_set():
            with installation.running(*command) as explainer:
                until = time.monotonic() + (state.killed_every_seconds or float("inf"))
                while time.monotonic() < until and not is_over.wait(PAUSE_SECONDS):
                    for request in itertools.islice(requests, REQUESTS_EACH):
                        producer.produce(installation.requests_topic, request)
                    producer.poll(0)
                if not is_over.is_set():
                    explainer.kill()
                    kills += 1

    thread = threading.Thread(target=keep_busy)
    thread.start()
    try:
        _wait(lambda: _figure(port, "latelabel_explain_requests_waiting") > 0, what="the explainer to be busy")
        yield
        if state.killed_every_seconds is None and not _figure(port, "latelabel_explain_requests_waiting"):
            raise BenchError("the explainer had nothing to do")
        if state.killed_every_seconds is not None and not kills:
            raise BenchError("the explainer was not killed; raise the scale")
    finally:
        is_over.set()
        thread.join()
        producer.flush(10)


def _requests(services: Services, log: Log) -> Sequence[bytes]:
    """Requests about the first predictions of the log."""
    consumer = Consumer({"bootstrap.servers": services.kafka.address, "group.id": unique_name("reader")})
    consumer.assign([TopicPartition(log.predictions_topic, 0, OFFSET_BEGINNING)])
    requests = []
    for message in consumer.consume(REQUESTS, timeout=10):
        prediction = json.loads(message.value() or b"")
        place = {"topic": log.predictions_topic, "partition": 0, "offset": message.offset()}
        about = {name: prediction[name] for name in ("request_id", "model", "model_version")}
        requests.append(json.dumps({**about, **place, "reason": "base", "rate": 1.0}).encode())
    consumer.close()
    return requests


def _figure(port: int, name: str) -> float:
    """The sum over all labels of what a process counts; 0 while it does not answer."""
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as told:
        text = told.read().decode()
        return sum(map(float, re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE)))
    return 0.0
