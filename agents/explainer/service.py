"""The explainer: requests in, explanations out, at most so many waiting.

    feed ──> backlog ──> workshop, one per child process ──> publisher
               │ full       │ when there is spare time
               └──> dropped and counted

Counting is never slowed: nothing waits for an explanation, and models run while others leave them a processor.
"""

from __future__ import annotations

import asyncio
import collections
import logging
from collections.abc import Iterator, Sequence

from agents.explainer.outcome_tally import OutcomeTally
from agents.explainer.request_feed import RequestFeed
from agents.explainer.spare_time import SpareTime
from agents.explainer.workshop import Workshop
from agents.exposition import Kind, Metric
from agents.outages import Outages
from schemas.codec import cloud_event_headers, encode
from schemas.explain_request import read_explain_request
from schemas.explanation import Explanation
from streams.explanation.backlog import Backlog
from streams.ports import Clock, OutgoingMessage, Publisher

__all__ = ["ExplainerService"]

_log = logging.getLogger(__name__)

AT_ONCE = 32
"""Requests of one job: the model is asked about all of them together."""
OVERLOAD = "overload"
UNREADABLE = "unreadable"


class ExplainerService:
    """A running explainer.

    Args:
        tally: counts what was published.
        topic: of explanations, its name on the wire.
        source: who we are, for CloudEvents.
    """

    def __init__(
        self,
        *,
        feed: RequestFeed,
        workshops: Sequence[Workshop],
        spare_time: SpareTime,
        publisher: Publisher,
        outages: Outages,
        tally: OutcomeTally,
        clock: Clock,
        topic: str,
        source: str,
    ) -> None:
        self._feed = feed
        self._workshops = workshops
        self._spare_time = spare_time
        self._publisher = publisher
        self._outages = outages
        self._tally = tally
        self._clock = clock
        self._topic = topic
        self._source = source
        self._backlog = Backlog()
        self._has_work = asyncio.Event()
        self._dropped: collections.Counter[str] = collections.Counter()

    async def run(self) -> None:
        """Explain until cancelled.

        Raises: PermanentFailure for what an operator has to decide.
        """
        parts = (self._take_in(), self._spare_time.keep(), *map(self._work, self._workshops))
        tasks = [asyncio.create_task(each) for each in parts]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def metrics(self) -> Iterator[Metric]:
        """What it counts, under Prometheus' names."""
        yield from self._tally.metrics()
        yield Metric(
            "latelabel_explain_requests_dropped_total",
            Kind.COUNTER,
            "Requests that were not answered: too many at a time, or unreadable.",
            {(("reason", reason),): self._dropped[reason] for reason in (OVERLOAD, UNREADABLE)},
        )
        yield Metric("latelabel_explain_requests_waiting", Kind.GAUGE, "Requests taken in.", self._backlog.count)
        yield Metric(
            "latelabel_explainer_waiting",
            Kind.GAUGE,
            "1 while models wait for processors that other programs need; see explainer.reserved_cores.",
            int(self._spare_time.is_short),
        )
        yield Metric("latelabel_outage", Kind.GAUGE, "1 while Kafka does not answer.", int(self._outages.is_on))

    async def _take_in(self) -> None:
        async for values in self._feed.values():
            dropped = 0
            for value in values:
                request = read_explain_request(value)
                if request is None:
                    self._dropped[UNREADABLE] += 1
                elif not self._backlog.add(request):
                    dropped += 1
            if dropped:
                self._dropped[OVERLOAD] += dropped
                _log.warning("Dropped %d requests: more come than models answer; see explainer.processes", dropped)
            if self._backlog.count:
                self._has_work.set()

    async def _work(self, workshop: Workshop) -> None:
        while True:
            requests = self._backlog.take(AT_ONCE)
            if not requests:
                self._has_work.clear()
                await self._has_work.wait()
                continue
            explanations = await self._outages.ride_out(lambda taken=requests: workshop.explain(taken))  # type: ignore[misc]
            messages = [self._message(each) for each in explanations]
            await self._outages.ride_out(lambda ready=messages: self._publisher.send(ready))  # type: ignore[misc]
            for each in explanations:
                self._tally.add(each)

    def _message(self, explanation: Explanation) -> OutgoingMessage:
        headers = cloud_event_headers(
            "explanation", event_id=explanation.event_id, source=self._source, time_ms=self._clock.now_ms()
        )
        return OutgoingMessage(
            topic=self._topic, key=explanation.request_id.encode(), value=encode(explanation), headers=headers
        )
