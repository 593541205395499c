"""Alerts for tests, and `latelabel alerts forward` as a process."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from confluent_kafka import Producer

from deploy.alertmanager_server import AlertmanagerServer
from schemas.alert import Alert
from schemas.codec import encode
from schemas.times import format_time
from streams.alerting.fingerprint import fingerprint
from tests.support.services import create_topic, unique_name

__all__ = ["AlertTopic", "active", "an_alert", "forwarder", "now_ms"]

ROOT = Path(__file__).resolve().parents[2]
FOUR_MINUTES_MS = 240_000


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def an_alert(
    model: str = "fraud",
    *,
    status: Literal["firing", "resolved"] = "firing",
    starts_ms: int | None = None,
    ends_ms: int | None = None,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Alert:
    """An alert about a model that began a second ago; a firing one ends in four minutes, a resolved one ended now."""
    starts_ms = now_ms() - 1000 if starts_ms is None else starts_ms
    if ends_ms is None:
        ends_ms = now_ms() + (FOUR_MINUTES_MS if status == "firing" else 0)
    named = {
        "alertname": "AccuracyLow",
        "model": model,
        "model_version": "3",
        "severity": "warning",
        "rule": "quality/AccuracyLow",
        **(labels or {}),
    }
    return Alert(
        labels=named,
        annotations=dict({"summary": f"accuracy of {model} is 0.71"} if annotations is None else annotations),
        starts_at=format_time(starts_ms),
        ends_at=format_time(ends_ms),
        generator_url="http://monitor:6066/",
        status=status,
        fingerprint=fingerprint(named),
        name=named["alertname"],
        severity=named["severity"],
        reason="final_below" if status == "firing" else "revised",
    )


def active(server: AlertmanagerServer) -> list[dict[str, Any]]:
    """What Alertmanager holds as not resolved."""
    with urllib.request.urlopen(f"{server.url}/api/v2/alerts") as answer:
        alerts: list[dict[str, Any]] = json.loads(answer.read())
    return alerts


class AlertTopic:
    """An alerts topic of its own, with a group of its own."""

    def __init__(self, brokers: str, *, partitions: int = 3) -> None:
        self.brokers = brokers
        self.group = unique_name("alerts")
        self.name = create_topic(brokers, f"{self.group}-topic", partitions=partitions)
        self._producer = Producer({"bootstrap.servers": brokers, "linger.ms": 5})

    def publish(self, *alerts: Alert) -> None:
        """Write alerts as workers do, and wait until they are written."""
        for alert in alerts:
            self._producer.produce(self.name, key=alert.fingerprint, value=encode(alert))
        self.flush()

    def publish_bytes(self, value: bytes | None, *, key: str = "k") -> None:
        """Write what no worker writes."""
        self._producer.produce(self.name, key=key, value=value)
        self.flush()

    def flush(self) -> None:
        assert 0 == self._producer.flush(30)

    @property
    def environment(self) -> dict[str, str]:
        """Of programs that read it."""
        return {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "LATELABEL_KAFKA__BROKERS": self.brokers,
            "LATELABEL_KAFKA__GROUP": self.group,
            "LATELABEL_KAFKA__TOPICS__ALERTS": self.name,
            "LATELABEL_WEB__PORT": "0",
        }


@contextlib.contextmanager
def forwarder(topic: AlertTopic, *arguments: str, folder: Path, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """`latelabel alerts forward` with its log in the file `forward.log` of the folder; killed at the end.

    Args:
        variables: settings under `receivers`, as `webhook__url`.
    """
    settings = {f"LATELABEL_RECEIVERS__{name.upper()}": value for name, value in variables.items()}
    with (folder / "forward.log").open("a") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "agents", "alerts", "forward", *arguments],
            cwd=folder,
            env={**topic.environment, **settings},
            stderr=log,
            stdout=log,
            text=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
