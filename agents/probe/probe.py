"""A probe as a Python object, for a model server that watches itself.

    with Probe(model="fraud", model_version="3"):
        serve()

It runs in a thread of its own, and whatever it meets, nothing of it reaches the program around it but log lines.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from agents.clock import SystemClock
from agents.kafka_connection import connection_options
from agents.kafka_topics import KafkaTopics
from agents.probe.processes import by_cmdline, by_pid, by_port
from agents.probe.run import ProbeRun
from agents.probe.sampler import Sampler
from agents.probe.targets import CgroupTarget, ManyTargets, ProcessTarget, Target
from agents.publisher import KafkaPublisher
from agents.settings import KafkaSettings, environment, load_settings

__all__ = ["Probe", "ProbeOptions", "build_run"]

_log = logging.getLogger(__name__)

STOP_SECONDS = 8.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ProbeOptions:
    """What to watch, and as what.

    One of `pid`, `cmdline`, `port` and `cgroup`, and `scrape` beside it or alone. `target` names what is watched over
    its restarts; default this machine's name, which in Kubernetes is the pod's.
    """

    model: str
    model_version: str = ""
    target: str = ""
    pid: int | None = None
    cmdline: str | None = None
    port: int | None = None
    cgroup: Path | None = None
    scrape: str | None = None
    interval_seconds: float = 1.0

    @property
    def ways(self) -> list[str]:
        """Which ways to find the target are given, `scrape` apart."""
        given = {"pid": self.pid, "cmdline": self.cmdline, "port": self.port, "cgroup": self.cgroup}
        return [name for name, value in given.items() if value is not None]


def build_run(options: ProbeOptions, kafka: KafkaSettings) -> ProbeRun:
    """A probe that is ready to be run, in the event loop of the caller."""
    topic = kafka.topic("resource_samples")
    publisher = KafkaPublisher(connection_options(kafka))

    async def connect() -> None:
        async with KafkaTopics(kafka) as topics:
            await topics.partitions(topic)
        await publisher.start()

    return ProbeRun(
        target=_target(options),
        sampler=Sampler(
            target=options.target or socket.gethostname(),
            model=options.model,
            model_version=options.model_version,
            topic=topic,
        ),
        publisher=publisher,
        clock=SystemClock(),
        interval_seconds=options.interval_seconds,
        follows=options.pid is None,
        connect=connect,
        close=publisher.stop,
    )


def _target(options: ProbeOptions) -> Target:
    targets: list[Target] = []
    if options.pid is not None:
        targets.append(ProcessTarget(by_pid(options.pid)))
    if options.cmdline is not None:
        targets.append(ProcessTarget(by_cmdline(options.cmdline)))
    if options.port is not None:
        targets.append(ProcessTarget(by_port(options.port)))
    if options.cgroup is not None:
        targets.append(CgroupTarget(options.cgroup))
    if options.scrape is not None:
        # It needs an HTTP client, which is a fifth of the memory that a probe may take.
        from agents.probe.scrape import ScrapeTarget

        targets.append(ScrapeTarget(options.scrape))
    return ManyTargets(targets)


class Probe:
    """Watches this process, or what is named, while its block runs.

    Args:
        model: whose server this is.
        model_version: likewise.
        target: see `ProbeOptions`, as all that follow.
        kafka: where to send; default what the configuration says (`LATELABEL_CONFIG`, `./latelabel.yaml`, environment).
    """

    def __init__(
        self,
        *,
        model: str,
        model_version: str = "",
        target: str = "",
        pid: int | None = None,
        scrape: str | None = None,
        interval_seconds: float = 1.0,
        kafka: KafkaSettings | None = None,
    ) -> None:
        self._options = ProbeOptions(
            model=model,
            model_version=model_version,
            target=target,
            pid=os.getpid() if pid is None and scrape is None else pid,
            scrape=scrape,
            interval_seconds=interval_seconds,
        )
        self._kafka = kafka
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._work, name="latelabel-probe", daemon=True)

    def start(self) -> None:
        """Begin to watch; once."""
        self._thread.start()

    def stop(self) -> None:
        """Send what is left, for some seconds, and end."""
        if self._loop is not None and self._stop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(STOP_SECONDS)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.stop()

    def _work(self) -> None:
        try:
            asyncio.run(self._run())
        except Exception as error:  # noqa: BLE001  (a model must not fall over its probe)
            _log.error("The probe of %s has ended: %s", self._options.model, error)

    async def _run(self) -> None:
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        kafka = load_settings(None, environment()).kafka if self._kafka is None else self._kafka
        await build_run(self._options, kafka).run(self._stop)
