"""`latelabel explainer`: explain predictions that are asked about, until told to stop."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os

import click

from agents.clock import SystemClock
from agents.commands.command_line import Invocation
from agents.commands.serving import serve
from agents.explainer.child_process import ChildLimits, ChildProcess
from agents.explainer.outcome_tally import OutcomeTally
from agents.explainer.record_log import RecordLog
from agents.explainer.request_feed import RequestFeed
from agents.explainer.service import ExplainerService
from agents.explainer.spare_time import SpareTime, seconds_left, seconds_used
from agents.explainer.workshop import Workshop
from agents.kafka_connection import connection_options
from agents.outages import Outages
from agents.publisher import KafkaPublisher
from agents.settings import Settings
from agents.waiting_to_start import wait_for
from agents.web.server import serve_web

__all__ = ["explainer"]

_log = logging.getLogger(__name__)

NICENESS = 10
"""Of this process and of those in which models run: on a core that both want, counting gets nine tenths. More would
have models run into their timeouts there."""


@click.command()
@click.pass_obj
def explainer(invocation: Invocation) -> None:
    """Explain the predictions that workers ask about, and publish why.

    Start as many as you like; they share the requests. Models run in processes of their own, with limits and without
    secrets. All of them run at niceness 10: on a core that workers want too, counting goes first.
    """
    os.nice(NICENESS)
    settings = invocation.settings()
    invocation.log_by(settings, is_member=True)
    serve(_explain(settings), what="The explainer")


async def _explain(settings: Settings) -> None:
    """Wire the parts, and run until cancelled."""
    clock = SystemClock()
    outages = Outages(clock)
    feed = RequestFeed(settings.kafka, settings.kafka.topic("explain_requests"))
    log = RecordLog(settings.kafka)
    publisher = KafkaPublisher(connection_options(settings.kafka))
    spare_time = SpareTime(
        settings.explainer.reserved_cores,
        clock,
        left=seconds_left,
        used=lambda: seconds_used(pid for child in children for pid in child.pids),
    )
    limits = ChildLimits.of(settings.explainer)
    children = [ChildProcess(limits, turn=spare_time.turn) for _ in range(settings.explainer.processes)]
    explained = [model.name for model in settings.models if model.explanation is not None]
    service = ExplainerService(
        feed=feed,
        workshops=[Workshop(settings, log, child, clock) for child in children],
        spare_time=spare_time,
        publisher=publisher,
        outages=outages,
        tally=OutcomeTally(explained, clock),
        clock=clock,
        topic=settings.kafka.topic("explanations"),
        source=f"/latelabel/{settings.kafka.group}",
    )
    has_started = False
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(
            serve_web(
                dataclasses.replace(settings.web, port=settings.explainer.port),
                clock,
                unready=lambda: None if has_started else "waiting for Kafka",
                metrics=service.metrics,
            )
        )
        for part in (feed, log, publisher):
            stack.push_async_callback(part.stop)
        for child in children:
            stack.push_async_callback(child.stop)
        until_seconds = clock.monotonic_seconds() + settings.startup_timeout_ms / 1000
        for start in (feed.start, log.start, publisher.start):
            await wait_for(start, clock=clock, until_seconds=until_seconds)
        has_started = True
        _log.info("Explaining, processes: %d", len(children))
        await service.run()
