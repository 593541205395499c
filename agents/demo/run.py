"""The demo from beginning to end, in the order in which it happens."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import dataclasses
import json
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from textwrap import indent
from typing import Any

import msgspec
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from agents.demo.alerts import ToldAlerts
from agents.demo.classifier import MODEL, SIGNALS, Prediction, learn_and_predict
from agents.demo.configuration import MODEL_FILE
from agents.demo.explained import Explained, read_explained
from agents.demo.flights import read_flights
from agents.demo.processes import Commands, stop
from agents.demo.replay import Progress, publish
from agents.demo.screen import Screen, open_screen
from agents.demo.signals import signals_since
from agents.demo.standing import Standing
from agents.demo.timeline import Timeline
from agents.demo.topic_feed import TopicFeed
from agents.explainer.in_words import in_words
from schemas.signals_report import SignalsReport
from schemas.stability_report import StabilityReport
from schemas.window_report import WindowReport
from streams.reports import Report

__all__ = ["Demo", "DemoFailed", "cancelled_by_signals", "check_kafka_is_unused", "predictions_of", "run_demo"]


DECODERS: Mapping[str, Callable[[bytes], Report]] = {
    "quality": msgspec.json.Decoder(WindowReport).decode,
    "stability": msgspec.json.Decoder(StabilityReport).decode,
    "signals": msgspec.json.Decoder(SignalsReport).decode,
}


class DemoFailed(Exception):
    """The demo cannot go on; the message says why and what helps."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """What a run needs to know.

    Attributes:
        brokers: bootstrap addresses of Kafka, comma-separated.
        redis: URL of Redis.
        topics: name on the wire of each role.
        configuration: the file for the commands that are run.
        data: the folder that holds `flights.csv.xz` and `recount.py`.
        folder: where everything the run writes is kept.
        speed: event seconds per second.
        days: how many days to replay; `None`: all there are.
        page: where the worker serves its page.
        stays: keep a worker running at the end, for whoever looks at the page.
    """

    brokers: str
    redis: str
    topics: Mapping[str, str]
    configuration: Path
    data: Path
    folder: Path
    speed: float
    days: int | None = None
    page: str
    stays: bool = False

    @property
    def flights(self) -> Path:
        """Where the flights are."""
        return self.data / "flights.csv.xz"


async def run_demo(demo: Demo) -> bool:
    """Replay the flights, show their reports, and have every figure recounted; true if all were equal.

    Raises:
        DemoFailed, CommandFailed: what was in the way.
        asyncio.CancelledError: SIGINT or SIGTERM came; all child processes are gone.
    """
    with cancelled_by_signals():
        commands = Commands(configuration=demo.configuration, folder=demo.folder)
        await check_kafka_is_unused(demo)
        await commands.run("topics", "create")
        async with commands.running("worker") as worker:
            print(f"A worker judges and serves its page at {demo.page}", flush=True)
            print("Learning from the flights of January and February, New York, 2013 …", flush=True)
            predictions = await asyncio.to_thread(predictions_of, demo.flights, demo.folder, days=demo.days)
            standing = Standing()
            screen = open_screen(standing, days=len({prediction.flight.day for prediction in predictions}))
            screen.say(f"Replaying {len(predictions):,} flights. A worker judges the predictions as the flights land.")
            told = ToldAlerts(screen)
            reports = TopicFeed(
                brokers=demo.brokers, topic=demo.topics["metrics"], receive=_report_receiver(standing, screen)
            )
            alerts = TopicFeed(brokers=demo.brokers, topic=demo.topics["alerts"], receive=told.receive)
            async with commands.running("explainer"), reports, alerts:
                with screen.live():
                    async with _background(reports.follow()), _background(alerts.follow()):
                        progress = await _replay(demo, commands, worker, Timeline(predictions), screen)
                    await reports.drain()
                    await alerts.drain()
                explained = await read_explained(brokers=demo.brokers, topic=demo.topics["explanations"])
        equal = await _recount(demo, commands, standing)
        _summarise(screen, standing, progress, explained, told, equal=equal)
        if demo.stays:
            await _stay(demo, commands)
        return equal


async def _stay(demo: Demo, commands: Commands) -> None:
    """Keep a worker running until it is interrupted."""
    async with commands.running("worker") as worker:
        print(
            f"""
The page stays at {demo.page} until Ctrl+C. In another terminal paste, for `latelabel show {MODEL}` and the rest:

export LATELABEL_CONFIG={demo.configuration}
export LATELABEL_KAFKA__BROKERS={demo.brokers}
export LATELABEL_REDIS__URL={demo.redis}""",
            flush=True,
        )
        with contextlib.suppress(asyncio.CancelledError):
            await worker.wait()


async def _replay(demo: Demo, commands: Commands, worker: Process, timeline: Timeline, screen: Screen) -> Progress:
    """Publish everything while the worker judges it, then have another worker close all days."""
    topics = {role: demo.topics[role] for role in ("predictions", "labels")}
    replay = publish(timeline, brokers=demo.brokers, topics=topics, speed=demo.speed, report=screen.progress)
    progress = await commands.watch(worker, "worker", during=replay)
    # Labels that have not come by now never will, so all days may be closed; only the last worker may do so.
    await stop(worker)
    screen.say(
        "All is published. Another worker, which has no page, closes all days: labels that have not come never will."
    )
    await commands.run("worker", "--until-caught-up", "--close")
    return progress


@contextlib.contextmanager
def cancelled_by_signals() -> Iterator[None]:
    """Let the first SIGINT or SIGTERM cancel the running task; more of them cannot disturb the cleaning up."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    asked: list[int] = []

    def cancel(number: int) -> None:
        if not asked:
            asked.append(number)
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, cancel, number)
    yield


@contextlib.asynccontextmanager
async def _background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run `work` beside the block and end it with it; what it raised is raised here."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def check_kafka_is_unused(demo: Demo) -> None:
    """Refuse a Kafka that already has our topics: whatever they hold, it is not the demo's."""
    admin = AIOKafkaAdminClient(bootstrap_servers=demo.brokers)
    try:
        await admin.start()
        taken = sorted(set(demo.topics.values()) & set(await admin.list_topics()))
    except KafkaError as error:
        raise DemoFailed(
            f"Kafka at {demo.brokers} does not answer. `make demo` starts a Kafka and a Redis; without it,"
            " LATELABEL_KAFKA__BROKERS and LATELABEL_REDIS__URL name those to use."
        ) from error
    finally:
        await admin.close()
    if taken:
        raise DemoFailed(
            f"Kafka at {demo.brokers} already has the topic {taken[0]!r}. The demo writes to topics of the usual"
            " names and wants a Kafka and a Redis of its own: `make demo` starts them."
        )


def predictions_of(flights: Path, folder: Path, *, days: int | None) -> list[Prediction]:
    """Learn, predict, keep what is replayed, and write it down for the recount.

    Args:
        flights: the extract.
        folder: where the model and the predictions are written.
        days: how many to keep; None for all there are.
    """
    predictions = learn_and_predict(read_flights(flights), folder / MODEL_FILE)
    # The data ends at midnight in New York, when the last UTC day has only begun: it is no day to judge.
    end = predictions[-1].flight.day
    if days is not None:
        end = min(end, predictions[0].flight.day + timedelta(days=days))
    predictions = [prediction for prediction in predictions if prediction.flight.day < end]
    with (folder / "predictions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("scheduled_departure", "carrier", "flight", "origin", "prediction", *SIGNALS))
        for each in predictions:
            flight, told = each.flight, [each.signals.get(name) for name in SIGNALS]
            departure = flight.scheduled_departure.isoformat(timespec="minutes")
            writer.writerow((departure, flight.carrier, flight.number, flight.origin, each.prediction, *told))
    return predictions


def _report_receiver(standing: Standing, screen: Screen) -> Callable[[bytes, bytes], None]:
    def receive(key: bytes, value: bytes) -> None:
        decode = DECODERS.get(json.loads(key)[0])
        if decode is not None:
            report = decode(value)
            if standing.add(key, value, report) and not report.segment:
                if isinstance(report, WindowReport):
                    screen.revised(report)
                elif isinstance(report, SignalsReport):
                    screen.told(report)

    return receive


async def _recount(demo: Demo, commands: Commands, standing: Standing) -> bool:
    """Hand the monitor's counts and last reports to a program that knows nothing of the monitor."""
    counts, totals, reports = (demo.folder / f"{name}.jsonl" for name in ("counts", "totals", "reports"))
    reports.write_bytes(b"\n".join(standing.last_values))
    await commands.run("counts", "--format", "jsonl", output=counts)
    await commands.run("counts", "--totals", "--format", "jsonl", output=totals)
    print("Recounting from the input file with scikit-learn, in a program that imports nothing of the pipeline …")
    sys.stdout.flush()
    recount = await asyncio.create_subprocess_exec(
        *(sys.executable, str(demo.data / "recount.py"), "--flights", str(demo.flights)),
        *("--predictions", str(demo.folder / "predictions.csv")),
        *("--counts", str(counts), "--totals", str(totals), "--reports", str(reports)),
        stdin=asyncio.subprocess.DEVNULL,
    )
    try:
        return await recount.wait() == 0
    finally:
        await stop(recount)


def _tell_why(screen: Screen, explained: Explained) -> None:
    """One of the misses that were explained; a replay of seconds may leave no time for any."""
    if explained.surest is None:
        return
    screen.say(
        f"\n{explained.count:,} predictions were explained meanwhile, {explained.misses:,} of them wrong. The model was"
        " surest of this one, which came late:\n"
    )
    screen.say(indent(in_words(explained.surest), "  "))


def _summarise(
    screen: Screen, standing: Standing, progress: Progress, explained: Explained, told: ToldAlerts, *, equal: bool
) -> None:
    early = standing.early_figures()
    screen.say("")
    if not equal:
        screen.say("DIFFERENT: the monitor's figures are not those of the recount. This is a bug; please report it.")
        return
    screen.say(
        f"""\
EQUAL: every cell and every figure is what scikit-learn counts from the input file.

What you saw: {progress.published:,} records through Kafka, {progress.speed:,.0f} times faster than life;
{standing.revisions:,} reports on model-metrics, revised as labels landed, {len(standing.days)} days now final.
While days were over but labels still due, {early.reports:,} reports about all flights were published: the final
accuracy lay inside `possible` for {early.possible:,} of them, inside the 95 % interval for {early.interval:,}.
Alerts that fired on model-alerts, by the rules beside the configuration: {told.fired:,}."""
    )
    if lines := [*signals_since(standing.signals)]:
        screen.say("\nWhat the model told of its own state meanwhile, its signals:")
        screen.say("\n".join(lines))
    _tell_why(screen, explained)
    screen.say(
        """
Where to look next: README.md, to publish predictions and labels of your own; `make up` for a Kafka and a
Redis to play with; latelabel.yaml for every setting."""
    )
