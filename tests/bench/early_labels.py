"""What early labels say about a year of flights: one row for each label horizon, taken from final reports.

    python -m tests.bench.early_labels

writes the table of `deploy/guides/early_labels.md`. The model is a fixed rule, a flight that is due to leave at 17:00
or later will be late, and is monitored several times, with nothing but `label_horizon` different. Records go through
the intake and into Redis as any others do; only Kafka is left out.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import orjson

from agents.demo.flights import Flight, read_flights
from agents.evaluator import Evaluator
from agents.redis_connection import RedisClient
from agents.redis_ledger import RedisLedger
from agents.redis_reports import RedisReports
from deploy.servers import RedisServer
from schemas.window_report import WindowReport
from streams.ledger.parts import Definitions, Part, Role, Source
from streams.monitored_model import DAY_MS, HOUR_MS, MonitoredModel, Task
from streams.publication import EvaluationSettings
from tests.support.evaluation import quality_reports
from tests.support.intake_world import SHARDS, FakeClock, FakePublisher, IntakeWorld, batch_of
from tests.support.redis_ledgers import connected

__all__ = ["EXTRACT", "HORIZONS", "PAGE", "YEAR_SECONDS", "final_reports", "positive_rate", "with_table"]

HORIZONS = {"1 h": 1, "2 h": 2, "3 h": 3, "4 h": 4, "6 h": 6, "12 h": 12, "2 d": 48}
"""In hours, by the name of the model that has it."""
YEAR_MS = 700 * DAY_MS
"""Windows are aligned to 1970, and one of this length holds all of 2013."""
YEAR_SECONDS = YEAR_MS // 1000
SETTLED_MS = 24 * YEAR_MS
"""2015-12-31: after the end of that window."""
EVENING_HOUR = 17
EXTRACT = Path(__file__).resolve().parents[2] / "deploy/demo/flights.csv.xz"
PAGE = Path(__file__).resolve().parents[2] / "deploy/guides/early_labels.md"
TABLE = re.compile(r"(<!-- table -->\n).*?(<!-- end -->)", re.DOTALL)
KEEP_MS = 36_500 * DAY_MS
PREDICTIONS, LABELS = Source(Role.PREDICTIONS, 0), Source(Role.LABELS, 0)
MODELS = {
    name: MonitoredModel(
        name=name,
        task=Task.BINARY,
        positive_class="late",
        report_windows_ms=(DAY_MS, YEAR_MS),
        base_window_ms=DAY_MS,
        label_horizon_ms=hours * HOUR_MS,
    )
    for name, hours in HORIZONS.items()
}


async def final_reports(client: RedisClient, flights: Sequence[Flight], *, prefix: str) -> Sequence[WindowReport]:
    """Every report on every model once all windows are final."""
    ledger = RedisLedger(
        client, address="redis", prefix=prefix, shards=SHARDS, label_hold_ms=HOUR_MS, keep_windows_ms=KEEP_MS
    )
    for shard in range(SHARDS):
        await ledger.create(shard, ledger_id="early", sources={PREDICTIONS: 0, LABELS: 0})
    await _read(ledger, flights)
    publisher = FakePublisher()
    settings = EvaluationSettings(
        models=MODELS,
        interval_ms=0,
        lateness_ms=0,
        keep_windows_ms=KEEP_MS,
        confidence_level=0.95,
        config_hash="",
        topic="model-metrics",
        source="/latelabel/early",
    )
    store = RedisReports(client, address="redis", prefix=prefix)
    evaluator = Evaluator(ledger, store, publisher, settings, FakeClock(), lambda _: True)
    await evaluator.evaluate(everything=True)
    return quality_reports(publisher.sent)


async def _read(ledger: RedisLedger, flights: Sequence[Flight]) -> None:
    """Hand in what was written on each day, predictions first, and raise every watermark past the last window."""
    world = IntakeWorld(
        {PREDICTIONS: (), LABELS: ()},
        models=list(MODELS.values()),
        wrap=lambda _: ledger,
        max_read_ahead_ms=YEAR_MS,
    )
    offsets = {PREDICTIONS: 0, LABELS: 0}
    async with world.running() as intake:
        for source, values in _batches(flights):
            batch = batch_of(source, values, base=offsets[source])
            await intake.put(source, batch, lambda: None)
            offsets[source] = batch.next
        await world.settle(intake, pause_seconds=0.01)
    for shard in range(SHARDS):
        for source, offset in offsets.items():
            part = Part(source=source, expected=offset, next=offset, raise_to_ms=SETTLED_MS)
            await ledger.commit(shard, [part], Definitions(), forget_limit=1)


def _batches(flights: Sequence[Flight]) -> Iterator[tuple[Source, Sequence[bytes]]]:
    """What was written on each day, in order of time: the predictions, then the labels."""
    departing, landing = defaultdict(list), defaultdict(list)
    for flight in flights:
        departing[flight.day].append(flight)
        if flight.landing is not None:
            landing[flight._replace(scheduled_departure=flight.landing).day].append((flight.landing, flight))
    for day in sorted({*departing, *landing}):
        yield PREDICTIONS, [value for flight in departing[day] for value in _predictions(flight)]
        yield LABELS, [_label(at, flight) for at, flight in sorted(landing[day], key=lambda each: each[0])]


def _predictions(flight: Flight) -> Iterator[bytes]:
    is_said_late = flight.scheduled_departure.hour >= EVENING_HOUR
    event = {
        "request_id": flight.request_id,
        "event_time": flight.scheduled_departure,
        "prediction": "late" if is_said_late else "on_time",
    }
    for model in MODELS:
        yield orjson.dumps({**event, "model": model})


def _label(at: datetime, flight: Flight) -> bytes:
    label = "late" if flight.arrives_late else "on_time"
    return orjson.dumps({"request_id": flight.request_id, "event_time": at, "label": label})


def with_table(page: str, years: Mapping[str, WindowReport]) -> str:
    """The page with the table that these reports, one for each horizon, make."""
    return TABLE.sub(lambda found: f"{found[1]}\n{_table(years)}\n{found[2]}", page)


def _table(years: Mapping[str, WindowReport]) -> str:
    lines = ["| Labels within | Coverage | Of them late | Accuracy | possible | Recall | possible |", "|---" * 7 + "|"]
    for name in HORIZONS:
        report = years[name]
        cells = [name, f"{report.coverage:.3f}", f"{positive_rate(report):.3f}"]
        for metric in (report.metrics["accuracy"], report.metrics["recall"]):
            assert isinstance(metric.possible, tuple)
            cells += [f"{metric.value:.3f}", "{:.3f} to {:.3f}".format(*metric.possible)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def positive_rate(report: WindowReport) -> float:
    """The share of late flights among those that have a label."""
    assert report.confusion is not None
    late = report.confusion.counts[report.confusion.classes.index("late")]
    return sum(late) / report.labelled


async def _main() -> None:
    with RedisServer() as server:
        async with connected(server.unix_url) as client:
            reports = await final_reports(client, read_flights(EXTRACT), prefix="early")
    years = {report.model: report for report in reports if report.window.size_seconds == YEAR_SECONDS}
    PAGE.write_text(with_table(PAGE.read_text(), years))


if __name__ == "__main__":
    asyncio.run(_main())
