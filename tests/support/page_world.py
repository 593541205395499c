"""A store full of reports for the page and the API: models good, bad, silent, undefined, and with hostile names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

import msgspec

from agents.dead_letter_log import Letter
from schemas.dead_letter import Origin
from schemas.explain_request import WhyAsked
from schemas.explanation import Attribution, Explanation, Failure, Fit, Source
from schemas.resource_report import Memory, ResourceReport
from schemas.signals_report import SignalsReport
from schemas.stability_report import StabilityReport
from schemas.times import format_time, parse_time_ms
from schemas.window_report import Metric, Window, WindowReport, report_key
from streams.identity import model_version_hash, model_version_name
from streams.monitored_model import HOUR_MS, MonitoredModel, Task
from streams.ports import LastReport, ReportStore
from tests.support.fleet import NOON_MS, binary_cells, report_on
from tests.support.signal_reports import signals_of_a_day

__all__ = [
    "HOSTILE",
    "NOW_MS",
    "SHOWN_AT_MS",
    "explained",
    "keep",
    "letter",
    "many_segments",
    "many_versions",
    "quality",
    "revised",
    "world",
]

FRAUD = MonitoredModel(name="fraud", task=Task.BINARY, positive_class="fraud", segments=("country",))
CHURN = MonitoredModel(name="churn", task=Task.BINARY, positive_class="fraud")
HOSTILE = '<img src=x onerror="window.hacked=1">' + "🦊" * 20
EVALUATOR = b"the evaluator of this world"
NOW_MS = NOON_MS + 24 * HOUR_MS
SHOWN_AT_MS = NOW_MS + 60_000


Report = WindowReport | StabilityReport | ResourceReport | SignalsReport
R = TypeVar("R", bound=Report)


def quality(model: str, version: str) -> list[WindowReport]:
    """The reports on all predictions of one model version, oldest window first."""
    return [
        report
        for report in world()
        if isinstance(report, WindowReport)
        and (report.model, report.model_version) == (model, version)
        and not report.segment
    ]


def world() -> Iterator[Report]:
    """All reports: a day of hours of each model version, the newest ones provisional."""
    for hour in range(24):
        start_ms = NOON_MS + hour * HOUR_MS
        due = 0 if hour < 20 else (hour - 19) * 80
        wrong = 12 if hour < 16 else 90
        cells = binary_cells(60, wrong, wrong // 2, 400 - due, due)
        yield _at(FRAUD, cells, start_ms, failed=hour % 3)
        for at, country in enumerate(("DE", "FR", "__missing__")):
            part = binary_cells(20, (wrong // 6) * (at + 1), wrong // 6, 130 - due // 3, due // 3)
            yield _at(FRAUD, part, start_ms, segment={"country": country})
        yield _at(FRAUD, binary_cells(70, 4, 3, 420), start_ms, version="2")
        yield from _of_the_service(FRAUD.name, start_ms, hour)
        yield _at(CHURN, binary_cells(0, 0, 0, 0, 300), start_ms, version="")
    yield from signals_of_a_day(FRAUD, version="3", noon_ms=NOON_MS, now_ms=NOW_MS)
    hostile = MonitoredModel(name=HOSTILE)
    yield _at(hostile, {("<script>", "<script>"): 40, ("<b>", "<script>"): 9}, NOON_MS + 22 * HOUR_MS)
    many = MonitoredModel(name="two hundred classes")
    cells = {(f"class {at}", f"class {(at * 7) % 200 if at % 9 == 0 else at}"): at + 1 for at in range(200)}
    yield _at(many, cells, NOON_MS + 22 * HOUR_MS)
    price = MonitoredModel(name="price", task=Task.REGRESSION)
    yield _at(price, {(None, ""): 30}, NOON_MS + 2 * HOUR_MS, produced_ms=NOON_MS + 3 * HOUR_MS)
    lost = MonitoredModel(name="lost input")
    yield _at(lost, {("a", "a"): 90, ("a", "b"): 10}, NOON_MS + 23 * HOUR_MS, missing=("labels/3: 40 offsets",))


def _of_the_service(model: str, start_ms: int, hour: int) -> Iterator[Report]:
    """What version 3 and the process that serves it took: slower and larger by the hour."""
    window = Window(format_time(start_ms), format_time(start_ms + HOUR_MS), 3600)
    latencies = {"latency_p50_ms": 12.0 + hour, "latency_p95_ms": 40.0 + 3 * hour, "latency_p99_ms": 90.0 + 9 * hour}
    rates = {"error_rate": 0.002 * hour, "timeout_rate": 0.001 * hour}
    yield StabilityReport(
        model=model,
        model_version="3",
        segment={},
        window=window,
        status="provisional",
        revision=0,
        event_id=f"stability {hour}",
        predictions=500,
        failed=hour % 3,
        timed_out=0,
        with_latency=500,
        metrics={name: Metric(value, value * 0.9, value * 1.1, 500) for name, value in (latencies | rates).items()},
        undefined={},
        config_hash="",
        produced_at=format_time(NOW_MS),
    )
    yield _resources(model, "fraud-7f", window, rss_bytes=3e8 + 2e7 * hour, leaks=hour >= 20)
    yield _resources(model, "fraud-8a", window, rss_bytes=2.5e8, leaks=False, restarts=2 if hour == 14 else 0)


def _resources(
    model: str,
    target: str,
    window: Window,
    *,
    version: str = "3",
    rss_bytes: float,
    leaks: bool,
    restarts: int = 0,
) -> ResourceReport:
    """The report on a process that serves a version; one that leaks fills its limit in ten hours."""
    growth = 2e7 if leaks else 0.0
    figures = {"rss_bytes": rss_bytes, "cpu_cores_mean": 0.5, "restarts": float(restarts), "oom_kills": 0.0}
    return ResourceReport(
        model=model,
        model_version=version,
        segment={"target": target},
        window=window,
        status="final",
        revision=0,
        event_id=f"resources {target} {window.start}",
        samples=3600,
        memory=Memory(
            state="suspected_leak" if leaks else "stable", bytes=int(rss_bytes), limit_bytes=int(rss_bytes + 2e8)
        ),
        metrics={
            **{name: Metric(value, value, value, 3600) for name, value in figures.items()},
            "working_set_bytes": Metric(None, None, None, 0),
            "memory_growth_bytes_per_hour": Metric(growth, growth * 0.9, growth * 1.1, 40),
            "seconds_to_memory_limit": Metric(36_000.0, 33_000.0, 40_000.0, 40)
            if leaks
            else Metric(None, None, None, 0),
        },
        undefined={
            "working_set_bytes": "not_sampled",
            **({} if leaks else {"seconds_to_memory_limit": "not_growing"}),
        },
        config_hash="",
        produced_at=format_time(NOW_MS),
    )


def many_versions(*, models: int, versions: int) -> Iterator[WindowReport | ResourceReport]:
    """A day of hours of many model versions, each a little different and served by one process; newest first."""
    window = Window(format_time(NOW_MS - HOUR_MS), format_time(NOW_MS), 3600)
    for model in range(models):
        for version in range(versions):
            name = MonitoredModel(name=f"model {model:03}", task=Task.BINARY, positive_class="fraud")
            for hour in reversed(range(24)):
                cells = binary_cells(60 + model, 10 + hour, 5 + version * 7, 400 + model * hour, hour)
                yield _at(name, cells, NOON_MS + hour * HOUR_MS, version=str(version))
            target, size = f"{name.name}-{version}-7f", 3e8 + 1e6 * model
            yield _resources(name.name, target, window, version=str(version), rss_bytes=size, leaks=version == 1)


def many_segments(segments: int) -> Iterator[WindowReport]:
    """A day of hours of a model with many countries, the later ones in the alphabet the worse; the newest windows lack
    labels."""
    model = MonitoredModel(name="sliced", task=Task.BINARY, positive_class="fraud", segments=("country",))
    for hour in range(24):
        due = 400 if hour >= 22 else 0
        yield _at(model, binary_cells(60, 30, 20, 400 - due, due), NOON_MS + hour * HOUR_MS)
        for at in range(segments):
            part = binary_cells(60, 2 * at + hour % 5, 5, 400 - due, due)
            yield _at(model, part, NOON_MS + hour * HOUR_MS, segment={"country": f"C{at:02}"})


def _at(
    model: MonitoredModel,
    cells: Mapping[tuple[str | None, str], int],
    start_ms: int,
    *,
    version: str = "3",
    failed: int = 0,
    segment: Mapping[str, str] | None = None,
    missing: Iterable[str] = (),
    produced_ms: int = NOW_MS,
) -> WindowReport:
    report = report_on(
        model,
        cells,
        version=version,
        start_ms=start_ms,
        watermark_ms=NOW_MS,
        failed=failed,
        segment=segment,
        missing=tuple(missing),
    )
    return msgspec.structs.replace(report, produced_at=format_time(produced_ms))


def explained(
    request_id: str,
    *,
    time_ms: int,
    model: str = "fraud",
    version: str = "3",
    label: str | None = "fraud",
    predicted: str = "ok",
    segment: Mapping[str, str] | None = None,
    weights: Mapping[str, float] | None = None,
    failure: Failure | None = None,
) -> Explanation:
    """An explanation of one prediction, as the explainer publishes it; `weights` by rule."""
    explanation = Explanation(
        request_id=request_id,
        instance=0,
        model=model,
        model_version=version,
        source=Source("predictions", 7, 81_234),
        reason=WhyAsked.WRONG,
        rate=0.05,
        predicted=predicted,
        label=label,
        failure=failure,
        event_time=format_time(time_ms),
        segment=segment or {},
        inputs={"amount": 12.5, "country": "DE", "age_days": None},
        event_id=request_id,
        produced_at=format_time(NOW_MS),
    )
    if failure is not None:
        return explanation
    named = weights or {"amount <= 20": 0.31, "country = DE": 0.09, "30 < age_days <= 90": -0.14}
    return msgspec.structs.replace(
        explanation,
        method="lime",
        explained_class=predicted,
        answer=0.81,
        outputs={"fraud": 0.19, "ok": 0.81},
        attributions=tuple(
            Attribution(feature=rule, value=None, rule=rule, weight=weight, standard_error=0.02)
            for rule, weight in named.items()
        ),
        fit=Fit(
            intercept=0.42, local_prediction=0.78, r2=0.64, stability=0.9, samples=5000, seed=7, pool_id="5d41402a"
        ),
        imputed={"age_days": 41.5},
        notes=(),
    )


def letter(value: bytes | None, *, offset: int = 5, message: str = "the value ends early") -> Letter:
    """A dead letter; its record's time is beyond what can be told."""
    return Letter(
        topic="dead-letters",
        partition=2,
        offset=offset,
        timestamp_ms=NOW_MS,
        key=b"r1",
        value=value,
        headers=[("latelabel-reason", b"malformed_json"), ("trace", b"\x00\xff")],
        origin=Origin(
            topic="predictions",
            partition=3,
            offset=40,
            reason="malformed_json",
            message=message,
            timestamp_ms=1 << 61,
        ),
    )


async def keep(store: ReportStore, reports: Iterable[Report]) -> None:
    """Save reports as the evaluator does."""
    by_version: dict[tuple[str, str], list[LastReport]] = {}
    for report in reports:
        by_version.setdefault((report.model, report.model_version), []).append(_kept(report))
    for (model, version), last in by_version.items():
        identity = model_version_hash(model, version)
        await store.claim([identity], evaluator=EVALUATOR, watermark_ms=0)
        name = model_version_name(model, version)
        assert await store.save(identity, name, last, evaluator=EVALUATOR, watermark_ms=NOW_MS)


def revised(report: R, **changes: object) -> R:
    """The next revision of a report."""
    return msgspec.structs.replace(report, **{"revision": report.revision + 1, **changes})


def _kept(report: Report) -> LastReport:
    key = report_key(
        kind=report.kind,
        model=report.model,
        model_version=report.model_version,
        segment=report.segment,
        window_seconds=report.window.size_seconds,
        window_start_ms=parse_time_ms(report.window.start),
    )
    return LastReport(
        key=key,
        value=msgspec.json.encode(report),
        revision=report.revision,
        published_ms=NOW_MS,
        watermark_ms=NOW_MS,
        due_ms=NOW_MS + HOUR_MS,
    )
