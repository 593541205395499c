"""The process of `latelabel alerts forward`: connects feed, receiver, HTTP server and clock.

A process of its own, so that a receiver that is slow or away costs counting nothing.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from agents.alert_feed import AlertFeed
from agents.alert_forwarder import AlertForwarder
from agents.alert_receivers.alertmanager import Alertmanager
from agents.alert_receivers.apprise import Apprise
from agents.alert_receivers.receiver import Receiver, Trouble
from agents.alert_receivers.webhook import Webhook
from agents.clock import SystemClock
from agents.exposition import Kind, Metric
from agents.settings import ReceiverSettings, Settings
from agents.waiting_to_start import wait_for
from agents.web.server import serve_web
from streams.alerting.notification import Notified

__all__ = ["RECEIVERS", "forward_alerts", "forwarder_metrics"]

_log = logging.getLogger(__name__)

RECEIVERS = ("alertmanager", "webhook", "apprise")


async def forward_alerts(settings: Settings, *, to: str, group: str | None = None) -> None:
    """Forward alerts until cancelled.

    Args:
        to: one of `RECEIVERS`.
        group: the consumer group, if not the usual one of this receiver.

    Raises:
        TemporaryFailure: Kafka did not answer within `startup_timeout`.
        PermanentFailure: something that an operator has to correct.
    """
    clock = SystemClock()
    receiver, notified = _receiver(settings.receivers, to)
    group = group or f"{settings.kafka.group}-alerts-{to}"
    feed = AlertFeed(settings.kafka, group=group, with_history=notified is not None)
    forwarder = AlertForwarder(feed, receiver, notified=notified, clock=clock)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(receiver.close)
        stack.push_async_callback(feed.stop)
        health = serve_web(
            settings.web,
            clock,
            unready=lambda: None if feed.has_joined else "the group has not said which partitions to read",
            metrics=lambda: forwarder_metrics(forwarder, to),
        )
        port = await stack.enter_async_context(health)
        until_seconds = clock.monotonic_seconds() + settings.startup_timeout_ms / 1000
        await wait_for(feed.start, clock=clock, until_seconds=until_seconds)
        _log.info("Forwarding alerts to %s as %s; metrics on port %d", to, group, port)
        await forwarder.run()


def _receiver(settings: ReceiverSettings, to: str) -> tuple[Receiver, Notified | None]:
    if to == "alertmanager":
        return Alertmanager(settings.alertmanager), None
    if to == "webhook":
        return Webhook(settings.webhook), Notified(repeat_ms=settings.webhook.repeat_interval_ms)
    return Apprise(settings.apprise), Notified(repeat_ms=settings.apprise.repeat_interval_ms)


def forwarder_metrics(forwarder: AlertForwarder, to: str) -> Iterator[Metric]:
    """What a forwarder exports, every series from the start."""
    receiver = ("receiver", to)
    tally = forwarder.tally
    yield Metric(
        "latelabel_alerts_delivered_total",
        Kind.COUNTER,
        "Alerts that the receiver has taken, repetitions included.",
        {(receiver, ("status", status)): tally.delivered[status] for status in ("firing", "resolved")},
    )
    yield Metric(
        "latelabel_alerts_refused_total",
        Kind.COUNTER,
        "Alerts that the receiver will never take, and that were stepped over.",
        {(receiver,): tally.refused},
    )
    yield Metric(
        "latelabel_alerts_unreadable_total",
        Kind.COUNTER,
        "Records of the alerts topic that are no alerts.",
        {(receiver,): tally.unreadable},
    )
    yield Metric(
        "latelabel_alert_delivery_failures_total",
        Kind.COUNTER,
        "Attempts to deliver that failed.",
        {(receiver, ("reason", str(trouble))): tally.failures[trouble] for trouble in Trouble},
    )
    yield Metric(
        "latelabel_alerts_waiting", Kind.GAUGE, "Alerts that wait for the receiver.", {(receiver,): forwarder.waiting}
    )
    yield Metric(
        "latelabel_alert_receiver_failing_seconds",
        Kind.GAUGE,
        "For how long the receiver has not taken everything; 0 while it does.",
        {(receiver,): forwarder.failing_seconds},
    )
