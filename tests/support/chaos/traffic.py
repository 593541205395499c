"""Everything that may come, in an order that a seed decides, at the pace of a clock.

    prediction   once, again in any partition, again with another answer, for two versions, failed, far too late
    label        after a while, early, out of order, again, corrected by time or by class, for one model,
                 outside the range, behind the watermark, or never
    poison       one record in a hundred, on both topics

`Traffic` sends it from a thread of its own: a minute of event time passes in a second of the clock. What was
acknowledged is counted, so that a log which lost a record would be noticed. The order that may decide
between predictions of one id is the order of one partition, which every reader sees alike.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import json
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

from tests.support.chaos.models import ALLOWED_LATENESS_MS, FRAUD, STARS, UNLISTED, Monitored
from tests.support.poison import POISON, PREDICTION_POISON

__all__ = ["SPEED", "Record", "Traffic", "records"]

SPEED = 60.0
"""Event time over the clock's."""
PREDICTIONS, LABELS = "predictions", "labels"
POISON_SHARE = 0.01
LARGE_BYTES = 5_000
LARGE_POISON_EVERY = 150
FLUSH_SECONDS = 60.0
PACE_SECONDS = 0.02
MAX_EARLY_MS = 60_000
COUNTRIES = ("DE", "FR", "Österreich", "a|b", "")
START_BEFORE = timedelta(hours=12)
"""Event time begins in the past, so that it can pass fast without reaching the future."""


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """What is sent, and where to."""

    role: str
    partition: int
    key: bytes | None
    value: bytes | None


def records(seed: int, *, start_ms: int, per_second: float, partitions: int) -> Iterator[tuple[int, Record]]:
    """Endless records with the event time at which each is sent, in that order.

    Args:
        start_ms: event time of the first.
        per_second: requests per second of event time.
        partitions: of each topic.
    """
    return iter(_Stream(random.Random(seed), start_ms, 1000 / per_second, partitions))


class _Stream:
    def __init__(self, rng: random.Random, start_ms: int, step_ms: float, partitions: int) -> None:
        self._rng = rng
        self._start_ms = start_ms
        self._step_ms = step_ms
        self._partitions = partitions
        self._scheduled: list[tuple[float, int, Record]] = []
        self._order = itertools.count()
        small = [payload for payload in POISON if len(payload[1] or b"") < LARGE_BYTES]
        large = [payload for payload in POISON if len(payload[1] or b"") >= LARGE_BYTES]
        self._poison = {
            PREDICTIONS: [value for _, value, _ in small + PREDICTION_POISON if len(value or b"") < LARGE_BYTES],
            LABELS: [value for _, value, _ in small],
        }
        self._large_poison = [value for _, value, _ in large if len(value or b"") <= 200_000]
        self._poisoned = 0

    def __iter__(self) -> Iterator[tuple[int, Record]]:
        for number in itertools.count():
            now_ms = self._start_ms + number * self._step_ms
            while self._scheduled and self._scheduled[0][0] <= now_ms:
                at_ms, _, record = heapq.heappop(self._scheduled)
                yield int(at_ms), record
            self._request(number, int(now_ms))

    def _send(self, at_ms: float, role: str, fields: Mapping[str, Any], *, partition: int | None = None) -> int:
        rng = self._rng
        chosen = rng.randrange(self._partitions) if partition is None else partition
        key = fields["request_id"].encode() if rng.random() < 0.7 else None
        value = json.dumps(fields, ensure_ascii=rng.random() < 0.5, separators=(",", ":")).encode()
        self._schedule(at_ms, Record(role, chosen, key, value))
        if rng.random() < POISON_SHARE:
            self._schedule(at_ms, Record(role, rng.randrange(self._partitions), b"poison", self._some_poison(role)))
        return chosen

    def _schedule(self, at_ms: float, record: Record) -> None:
        heapq.heappush(self._scheduled, (at_ms, next(self._order), record))

    def _some_poison(self, role: str) -> bytes | None:
        self._poisoned += 1
        choice = self._large_poison if self._poisoned % LARGE_POISON_EVERY == 0 else self._poison[role]
        return self._rng.choice(choice)

    def _request(self, number: int, time_ms: int) -> None:
        rng = self._rng
        model = rng.choices((FRAUD, STARS, UNLISTED), weights=(6, 3, 1))[0]
        identity = self._identity(number)
        self._prediction(model, identity, time_ms)
        if model is FRAUD and rng.random() < 0.1:
            self._prediction(model, identity, time_ms + rng.randrange(5), version="2")
        if rng.random() >= 0.05:
            self._labels(model, identity, time_ms)

    def _identity(self, number: int) -> dict[str, Any]:
        rng = self._rng
        kind = rng.random()
        if kind < 0.6:
            return {"request_id": str(uuid.UUID(int=rng.getrandbits(128), version=4))}
        if kind < 0.65:
            return {"request_id": str(uuid.UUID(int=rng.getrandbits(128), version=4)).upper()}
        if kind < 0.9:
            # Three records of one order: only the instance tells them apart.
            return {"request_id": f"order-{number // 3}", "instance": number % 3}
        return {"request_id": f"заказ №{number} \U0001f600", "instance": rng.choice((0, 0, 7, 2**31 - 1))}

    def _answer(self, model: Monitored) -> Any:
        rng = self._rng
        if model is FRAUD:
            return rng.choices(("ok", "fraud", 0, 1, "unsure"), weights=(60, 25, 6, 6, 3))[0]
        if model is STARS:
            return rng.choice((1, 2, 3, 4, 5, 3.0, -0.0, 2.5, "5"))
        return rng.choice((True, False, "true"))

    def _prediction(
        self, model: Monitored, identity: Mapping[str, Any], time_ms: int, version: str | None = None
    ) -> None:
        rng = self._rng
        fields = {**identity, "model": model.name, "event_time": self._time(time_ms), "prediction": self._answer(model)}
        if model is FRAUD:
            fields["model_version"] = version or "1"
        if rng.random() < 0.9:
            fields["segment"] = {"country": rng.choice(COUNTRIES), "undeclared": str(rng.random())}
        at_ms, chance = time_ms + rng.uniform(0, 20_000), rng.random()
        if chance < 0.02:
            fields |= {"status": rng.choice(("error", "timeout")), "error": "no answer"}
            if rng.random() < 0.5:
                del fields["prediction"]
        elif chance < 0.03 and model is not UNLISTED:
            # Around the last moment at which it still counts; no repeats, whose order would matter.
            at_ms = time_ms + model.horizon_ms + ALLOWED_LATENESS_MS + rng.uniform(-30_000, 60_000)
            self._send(at_ms, PREDICTIONS, fields)
            return
        partition = self._send(at_ms, PREDICTIONS, fields)
        if rng.random() < 0.02:
            self._send(at_ms + rng.uniform(0, 20_000), PREDICTIONS, fields)
        if rng.random() < 0.005:
            differing = {
                **fields,
                "event_time": self._time(time_ms + rng.randrange(2)),
                "prediction": self._answer(model),
            }
            self._send(at_ms + rng.uniform(0, 10_000), PREDICTIONS, differing, partition=partition)

    def _labels(self, model: Monitored, identity: Mapping[str, Any], time_ms: int) -> None:
        rng = self._rng
        chance = rng.random()
        delay_ms = rng.expovariate(1 / 60_000)
        if chance < 0.05:
            delay_ms = -rng.uniform(0, 1.2 * min(model.skew_ms, MAX_EARLY_MS))
        elif chance < 0.07 and model is not UNLISTED:
            # The ends of the range belong to it, to the millisecond.
            delay_ms = rng.choice((-model.skew_ms, model.horizon_ms)) + rng.randrange(-1, 2)
        elif chance < 0.09:
            delay_ms = min(model.horizon_ms, 10 * ALLOWED_LATENESS_MS) + rng.uniform(-60_000, 60_000)
        label_ms = int(time_ms + delay_ms)
        # Early ones are sent before their prediction is.
        at_ms = label_ms + rng.uniform(0, 40_000)
        if rng.random() < 0.02:
            self._send(
                at_ms + ALLOWED_LATENESS_MS + rng.uniform(0, 240_000), LABELS, self._label(model, identity, label_ms)
            )
            return
        fields = self._label(model, identity, label_ms)
        self._send(at_ms, LABELS, fields)
        if rng.random() < 0.03:
            self._send(at_ms + rng.uniform(0, 15_000), LABELS, fields)
        if rng.random() < 0.05:
            later_ms = label_ms + rng.choice((0, 1, 30_000))
            self._send(later_ms + rng.uniform(0, 40_000), LABELS, self._label(model, identity, later_ms))

    def _label(self, model: Monitored, identity: Mapping[str, Any], time_ms: int) -> dict[str, Any]:
        fields = {**identity, "label": self._answer(model), "event_time": self._time(time_ms)}
        addressed = self._rng.random()
        if addressed < 0.1:
            fields["model"] = model.name
        elif addressed < 0.11:
            fields["model"] = "somebody else's"
        return fields

    def _time(self, time_ms: int) -> str:
        chance = self._rng.random()
        if chance < 0.1:
            # Digits beyond milliseconds are cut off, not rounded.
            return (
                datetime.fromtimestamp(time_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
                + f".{time_ms % 1000:03}999999Z"
            )
        zone = timezone(timedelta(hours=5, minutes=30)) if chance < 0.2 else UTC
        return (datetime.fromtimestamp(time_ms // 1000, zone) + timedelta(milliseconds=time_ms % 1000)).isoformat(
            timespec="milliseconds"
        )


class Traffic:
    """Sends `records` at a pace until it is stopped.

    Args:
        topics: names on the wire of `predictions` and `labels`.
        per_second: requests per second of the clock; about as many labels come with them.
    """

    def __init__(
        self, brokers: str, topics: Mapping[str, str], *, seed: int, per_second: float, partitions: int
    ) -> None:
        self.acknowledged: Counter[str] = Counter()
        self._topics = dict(topics)
        self._producer = Producer(
            {
                "bootstrap.servers": brokers,
                "enable.idempotence": True,
                "linger.ms": 10,
                "compression.type": "lz4",
                "message.timeout.ms": 300_000,
                "queue.buffering.max.messages": 5_000_000,
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
            }
        )
        start = datetime.now(UTC) - START_BEFORE
        self._start_ms = int(start.timestamp()) * 1000
        self._records = records(seed, start_ms=self._start_ms, per_second=per_second / SPEED, partitions=partitions)
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """Stop, and wait until everything sent is acknowledged.

        Raises:
            AssertionError: the brokers did not take everything.
        """
        self._stopping.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        unsent = self._producer.flush(FLUSH_SECONDS)
        assert 0 == unsent, f"{unsent} records were not acknowledged within {FLUSH_SECONDS:g} s"

    def _run(self) -> None:
        try:
            began = time.monotonic()
            for at_ms, record in self._records:
                due = began + (at_ms - self._start_ms) / 1000 / SPEED
                while (ahead := due - time.monotonic()) > 0:
                    if self._stopping.wait(min(ahead, PACE_SECONDS)):
                        return
                    self._producer.poll(0)
                if self._stopping.is_set():
                    return
                self._send(record)
        except BaseException as failure:  # noqa: BLE001  (raised by `stop`)
            self._failure = failure

    def _send(self, record: Record) -> None:
        self._producer.produce(
            self._topics[record.role],
            value=record.value,
            key=record.key,
            partition=record.partition,
            on_delivery=self._on_delivery,
        )

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        assert error is None, error
        self.acknowledged[str(message.topic())] += 1
