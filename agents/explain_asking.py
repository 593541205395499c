"""Sends what the sampler picked, and finds wrong pairs by the pointers that workers share in Redis.

Everything here is at most once: what cannot be sent is dropped and counted, and nothing waits for it. A pointer is
deleted by whoever asks about it, so that one pair is asked about once, however many workers see its label.

{<prefix>}:explain:<key of the request>:<model>   a pointer: MessagePack of event time and request
{<prefix>}:explain-rate                           the highest rate at which pointers are kept
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import hashlib
import logging
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import msgspec

from agents.explain_sampler import ExplainSampler, Lookup, Pointer
from agents.exposition import Kind, Metric
from agents.publisher import KafkaPublisher
from agents.redis_connection import RedisClient, redis_failures
from agents.redis_script import RedisScript, pairs_of
from schemas.codec import cloud_event_headers, encode
from schemas.explain_request import ExplainRequest, WhyAsked, read_explain_request
from schemas.window_report import NAMESPACE
from streams.errors import LatelabelError
from streams.ledger.agreements import Agreements
from streams.ledger.eras import era_at
from streams.monitored_model import DAY_MS, HOUR_MS, MonitoredModel
from streams.ports import Clock, OutgoingMessage

__all__ = ["ExplainAsking"]

_Each = TypeVar("_Each")

_log = logging.getLogger(__name__)

FLUSH_SECONDS = 0.5
PATIENCE_SECONDS = 2.0
"""A label waits so long before it looks: its prediction's pointer may be on its way from another worker."""
RATE_SECONDS = 5.0
RATE_MARGIN = 4.0
"""Rates fall while labels are due, so labels look for pointers that were kept at higher ones."""
AT_ONCE = 500
"""Pointers of one call, which holds Redis for half a millisecond; as many commands would cost us ten times as much."""
LONGEST_MS = 7 * DAY_MS
"""A pointer's life, at most: what is later is not worth the memory."""


class ExplainAsking:
    """Runs beside the counting.

    Args:
        agreed: how models are counted at the moment, and with them how long labels count.
        publisher: its own: a topic that takes no requests must not hold up reports.
        share: of all predictions' partitions, how many are this worker's.
        topic: of requests, its name on the wire.
    """

    def __init__(
        self,
        sampler: ExplainSampler,
        redis: RedisClient,
        publisher: KafkaPublisher,
        clock: Clock,
        *,
        agreed: Callable[[], Agreements],
        address: str,
        prefix: str,
        topic: str,
        source: str,
        share: Callable[[], float],
    ) -> None:
        self._sampler = sampler
        self._redis = redis
        self._publisher = publisher
        self._clock = clock
        self._agreed = agreed
        self._address = address
        self._keys = f"{{{prefix}}}:explain"
        self._keep_pointers, self._find_pointers = RedisScript("pointers_keep"), RedisScript("pointers_found")
        self._topic = topic
        self._source = source
        self._share = share
        self._asked: collections.Counter[WhyAsked] = collections.Counter()
        self._lost = 0
        self._rates_at = float("-inf")
        self._shared_rate = 0.0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Ask for as long as the block runs; not at all if no model is explained."""
        task = None if self._sampler.is_idle else asyncio.create_task(self._run())
        try:
            yield
        finally:
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                await self._publisher.stop()

    def metrics(self) -> Iterator[Metric]:
        """What it counts, under Prometheus' names."""
        yield Metric(
            "latelabel_explain_seen_total",
            Kind.COUNTER,
            "Predictions of explained models, estimated: of each batch some thirty are counted for all.",
            self._sampler.seen,
        )
        yield Metric(
            "latelabel_explain_asked_total",
            Kind.COUNTER,
            "Explanations asked for, by why.",
            {(("reason", why),): self._asked[why] for why in WhyAsked if why is not WhyAsked.ASKED},
        )
        yield Metric(
            "latelabel_explain_dropped_total",
            Kind.COUNTER,
            "Picked and not asked about: beyond the budget, or Kafka or Redis did not answer.",
            self._sampler.dropped + self._lost,
        )

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                await self.flush()
            except LatelabelError as failure:
                _log.warning("Dropped what was to be explained: %s", failure)
            except Exception:  # noqa: BLE001  (a sample is not worth a worker)
                _log.exception("Dropped what was to be explained, because of an error that nobody expects")

    async def flush(self) -> None:
        """Share rates and pointers, look for wrong pairs, and send all requests.

        Raises: LatelabelError; what was taken from the sampler is dropped then.
        """
        self._sampler.share = self._share()
        pointers, requests = _taken(self._sampler.pointers), _taken(self._sampler.requests)
        lookups = self._due()
        self._lost += len(requests) + len(lookups)
        async with redis_failures(self._address):
            await self._share_rates(max((pointer.request.rate for pointer in pointers), default=0.0))
            await self._keep(pointers)
            wrong = await self._wrong(lookups)
        self._lost += len(wrong) - len(lookups)
        await self._publisher.send([self._message(each) for each in (*requests, *wrong)])
        self._lost -= len(requests) + len(wrong)
        self._asked.update(each.reason for each in (*requests, *wrong))

    def _due(self) -> list[Lookup]:
        until = self._clock.monotonic_seconds() - PATIENCE_SECONDS
        lookups = self._sampler.lookups
        due = []
        while lookups and lookups[0].since_seconds <= until:
            due.append(lookups.popleft())
        return due

    async def _share_rates(self, own: float) -> None:
        """The highest rate of all workers, kept for as long as its pointers may be.

        Args:
            own: the highest at which this worker kept some now. A model that nobody asks has none: its rate is 1, and
                would have every label look.
        """
        now = self._clock.monotonic_seconds()
        if now - self._rates_at < RATE_SECONDS and own <= self._shared_rate:
            return
        self._rates_at = now
        key = f"{self._keys}-rate"
        shared = float(await self._redis.get(key) or 0.0)
        if own > shared / RATE_MARGIN:
            await self._redis.set(key, repr(max(own, shared)), px=HOUR_MS)
        self._shared_rate = self._sampler.label_rate = min(1.0, max(own, shared))

    async def _keep(self, pointers: list[Pointer]) -> None:
        for some in _pieces(pointers):
            kept: list[bytes | int] = []
            for pointer in some:
                model = self._sampler.models[pointer.request.model]
                kept.append(msgspec.msgpack.encode((pointer.time_ms, encode(pointer.request))))
                kept.append(min(max(self._horizon_ms(model, pointer.time_ms), HOUR_MS), LONGEST_MS))
            places = [place for each in some for place in self._places(each.key, [each.request.model])]
            await self._keep_pointers.run(self._redis, places, *kept)

    async def _wrong(self, lookups: list[Lookup]) -> list[ExplainRequest]:
        """Requests about predictions whose label says otherwise."""
        names = [*self._sampler.models]
        asked = [
            (lookup, place)
            for lookup in lookups
            for place in self._places(lookup.key, names if lookup.model is None else {lookup.model}.intersection(names))
        ]
        wrong = []
        for some in _pieces(asked):
            found = await self._find_pointers.run(self._redis, [place for _, place in some])
            for at, content in pairs_of(found):
                lookup, place = some[at]
                request = self._judged(content, lookup)
                if request is not None and await self._redis.unlink(place):
                    wrong.append(request)
        return wrong

    def _judged(self, content: bytes, lookup: Lookup) -> ExplainRequest | None:
        time_ms, value = msgspec.msgpack.decode(content, type=tuple[int, bytes])
        request = read_explain_request(value)
        if request is None:
            return None
        model = self._sampler.models[request.model]
        label = model.class_aliases.get(lookup.text, lookup.text)
        is_due = -model.allowed_skew_ms <= lookup.time_ms - time_ms <= self._horizon_ms(model, time_ms)
        if not is_due or label == request.predicted:
            return None
        return msgspec.structs.replace(request, label=label)

    def _horizon_ms(self, model: MonitoredModel, time_ms: int) -> int:
        """Of a prediction, by its event time."""
        return era_at(self._agreed().eras(model), time_ms).label_horizon_ms

    def _places(self, key: bytes, models: Iterable[str]) -> list[str]:
        of_request = f"{self._keys}:{key.hex()}:"
        return [of_request + model for model in models]

    def _message(self, request: ExplainRequest) -> OutgoingMessage:
        value = encode(request)
        headers = cloud_event_headers(
            "explain_request",
            event_id=str(uuid.uuid5(NAMESPACE, hashlib.sha256(value).hexdigest())),
            source=self._source,
            time_ms=self._clock.now_ms(),
        )
        return OutgoingMessage(topic=self._topic, key=request.request_id.encode(), value=value, headers=headers)


def _taken(waiting: collections.deque[_Each]) -> list[_Each]:
    taken = list(waiting)
    waiting.clear()
    return taken


def _pieces(whole: Sequence[_Each]) -> Iterator[Sequence[_Each]]:
    return (whole[start : start + AT_ONCE] for start in range(0, len(whole), AT_ONCE))
