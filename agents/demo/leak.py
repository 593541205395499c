"""The demo of a model that leaks: served over HTTP, watched by a probe, and told of by an alert.

Everything is real and of now: the model answers requests about flights of 2013, one after the other, its answers and
their labels go to Kafka as they come, and the probe looks at its process five times a second. Blocks of the leak rule
are a second long instead of a minute, so that half a minute is enough.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from pathlib import Path

from agents.clock import SystemClock
from agents.demo.classifier import LEARN_UNTIL, MODEL, MODEL_VERSION, NEGATIVE, POSITIVE
from agents.demo.flights import Flight, read_flights
from agents.demo.processes import Commands, stop
from agents.demo.run import Demo, DemoFailed, cancelled_by_signals, check_kafka_is_unused
from agents.kafka_connection import connection_options
from agents.publisher import KafkaPublisher
from agents.settings import KafkaSettings
from agents.topic_tail import TopicTail
from schemas.codec import encode
from schemas.times import format_time
from streams.ports import OutgoingMessage

__all__ = ["run_leak_demo", "write_leak_configuration"]

REQUESTS_PER_SECOND = 40
PATIENCE_SECONDS = 180.0
TARGET = "flights-server"

TEMPLATE = f"""\
kafka:
  partitions: 1
redis:
  shards: 1

evaluation_interval: 1s         # usual is 10s
resources:
  leak_block: 1s                # usual is 1m: a verdict then takes twenty minutes

models:
  - name: {MODEL}
    task: binary
    positive_class: {POSITIVE}
    classes: {{names: [{POSITIVE}, {NEGATIVE}]}}
    report_windows: [1m]
    label_horizon: 10m
rule_files: ["@RULES@"]

web: {{host: 127.0.0.1, port: @PORT@}}
"""


def write_leak_configuration(path: Path, *, rules: Path, web_port: int) -> None:
    """Write `latelabel.yaml`; `rules` are those on resources."""
    path.write_text(TEMPLATE.replace("@RULES@", str(rules)).replace("@PORT@", str(web_port)))


async def run_leak_demo(demo: Demo, kafka: KafkaSettings) -> bool:
    """Serve a model that leaks until the alert comes, and show it; true if it came.

    Raises:
        DemoFailed, CommandFailed: what was in the way.
        asyncio.CancelledError: SIGINT or SIGTERM came; all child processes are gone.
    """
    with cancelled_by_signals():
        commands = Commands(configuration=demo.configuration, folder=demo.folder)
        await check_kafka_is_unused(demo)
        await commands.run("topics", "create")
        print("A model learns from the flights of January and February, and is served over HTTP …", flush=True)
        flights = await asyncio.to_thread(_flights, demo.flights)
        async with _serving(demo) as (server, port), commands.running("worker") as worker:
            watching = ("probe", "--model", MODEL, "--model-version", MODEL_VERSION, "--target", TARGET)
            async with commands.running(*watching, "--pid", str(server.pid), "--interval", "200ms") as probe:
                print(f"It leaks. A worker judges it ({demo.page}), a probe watches process {server.pid}.", flush=True)
                asking = asyncio.ensure_future(_ask(port, flights, kafka))
                following = commands.watch(probe, *watching, during=_follow_alerts(kafka, demo, asking))
                try:
                    came = await commands.watch(worker, "worker", during=following)
                finally:
                    asking.cancel()
                    await asyncio.gather(asking, return_exceptions=True)
            shown = demo.folder / "show.txt"
            await commands.run("show", MODEL, output=shown)
            print(f"\n$ latelabel show {MODEL}\n\n{shown.read_text()}", flush=True)
        return came


def _flights(path: Path) -> list[Flight]:
    return [flight for flight in read_flights(path) if flight.scheduled_departure.date() >= LEARN_UNTIL]


@contextlib.asynccontextmanager
async def _serving(demo: Demo) -> AsyncIterator[tuple[Process, int]]:
    with (demo.folder / "model-server.log").open("wb") as log:
        server = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "agents.demo.model_server", str(demo.flights), "--leak"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
        try:
            assert server.stdout is not None
            line = await server.stdout.readline()
            if not line.strip():
                raise DemoFailed(f"the model's server did not start; {log.name} says why")
            yield server, int(line)
        finally:
            await stop(server)


async def _ask(port: int, flights: list[Flight], kafka: KafkaSettings) -> None:
    """Ask about one flight after the other, and publish what the model said and what was true."""
    clock = SystemClock()
    publisher = KafkaPublisher(connection_options(kafka))
    connection = http.client.HTTPConnection("127.0.0.1", port)
    try:
        await publisher.start()
        for at, flight in enumerate(flights):
            began = clock.monotonic_seconds()
            answer = await asyncio.to_thread(_request, connection, at)
            seconds = clock.monotonic_seconds() - began
            await publisher.send(_messages(at, flight, answer, seconds * 1000, clock.now_ms(), kafka))
            await asyncio.sleep(max(0.0, 1 / REQUESTS_PER_SECOND - (clock.monotonic_seconds() - began)))
    finally:
        connection.close()
        await publisher.stop()


def _request(connection: http.client.HTTPConnection, at: int) -> dict[str, object]:
    connection.request("POST", "/predict", json.dumps({"at": at}), {"Content-Type": "application/json"})
    answer: dict[str, object] = json.loads(connection.getresponse().read())
    return answer


def _messages(
    at: int, flight: Flight, answer: dict[str, object], latency_ms: float, now_ms: int, kafka: KafkaSettings
) -> list[OutgoingMessage]:
    request_id = f"{at}/{flight.request_id}"
    time = format_time(now_ms)
    prediction = {
        "request_id": request_id, "model": MODEL, "model_version": MODEL_VERSION, "event_time": time,
        "latency_ms": latency_ms, **answer,
    }  # fmt: skip
    messages = [OutgoingMessage(topic=kafka.topic("predictions"), key=request_id.encode(), value=encode(prediction))]
    if flight.arrives_late is not None:
        label = {"request_id": request_id, "label": POSITIVE if flight.arrives_late else NEGATIVE, "event_time": time}
        messages.append(OutgoingMessage(topic=kafka.topic("labels"), key=request_id.encode(), value=encode(label)))
    return messages


async def _follow_alerts(kafka: KafkaSettings, demo: Demo, asking: asyncio.Future[None]) -> bool:
    """Print alerts as they come, until a leak is suspected and told. False if that takes too long."""
    wanted = {"SuspectedLeak", "MemoryFullSoon"}
    with contextlib.suppress(TimeoutError):
        topic = demo.topics["alerts"]
        async with asyncio.timeout(PATIENCE_SECONDS), TopicTail(kafka, topic, from_beginning=True) as tail:
            async for values in tail.batches():
                for alert in map(json.loads, values):
                    if alert["status"] == "firing" and alert["name"] != "Watchdog":
                        print(
                            f"  {alert['severity']:<8} {alert['name']}: {alert['annotations']['summary']}", flush=True
                        )
                        wanted.discard(alert["name"])
                if asking.done():
                    asking.result()
                if not wanted:
                    return True
    return False
