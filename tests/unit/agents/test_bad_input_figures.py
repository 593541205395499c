"""Input that leaves a figure without meaning, from the record to the report: a reason, never a zero like a result."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from agents.doctor.finding import Verdict
from agents.doctor.ledger_checks import check_classes
from agents.doctor.traffic import recent_traffic
from agents.evaluator import Evaluator
from agents.name_registry import NameLimits
from schemas.window_report import WindowReport
from streams.ledger.agreements import Agreements
from streams.ledger.parts import Definitions, Part, Role, Source
from streams.monitored_model import DAY_MS, MonitoredModel, Task
from streams.publication import EvaluationSettings
from tests.support.evaluation import quality_reports
from tests.support.intake_world import NOW_MS, SHARDS, FakeClock, FakePublisher, IntakeWorld, label, prediction
from tests.support.publishing import FakeReports

PREDICTIONS, LABELS = Source(Role.PREDICTIONS, 0), Source(Role.LABELS, 0)
BINARY = MonitoredModel(
    name="fraud",
    task=Task.BINARY,
    positive_class="fraud",
    report_windows_ms=(DAY_MS,),
    base_window_ms=DAY_MS,
    segments=("country",),
)
WITHOUT_CLASS = dataclasses.replace(BINARY, positive_class=None)
MULTICLASS = dataclasses.replace(BINARY, task=Task.MULTICLASS, positive_class=None)
SCORE_METRICS = ("roc_auc", "average_precision", "log_loss", "brier", "expected_calibration_error")


async def final_reports(
    model: MonitoredModel, predictions: Sequence[bytes], labels: Sequence[bytes]
) -> tuple[dict[str | None, WindowReport], IntakeWorld]:
    """The final report of each slice of the only window, by country, and the world that made them."""
    world = IntakeWorld({PREDICTIONS: predictions, LABELS: labels}, models=[model], limits=NameLimits())
    publisher = FakePublisher()
    settings = EvaluationSettings(
        models={model.name: model},
        interval_ms=0,
        lateness_ms=0,
        keep_windows_ms=30 * DAY_MS,
        confidence_level=0.95,
        config_hash="",
        topic="model-metrics",
        source="/latelabel/test",
    )
    async with world.running() as intake:
        await world.read_all(intake)
    for shard in range(SHARDS):
        for source, log in world.logs.items():
            part = Part(source=source, expected=len(log), next=len(log), raise_to_ms=NOW_MS + 3 * DAY_MS)
            await world.ledger.commit(shard, [part], Definitions(), forget_limit=10_000)
    evaluator = Evaluator(world.ledger, FakeReports(), publisher, settings, FakeClock(), lambda _: True)
    await evaluator.evaluate(everything=True)
    reports = quality_reports(publisher.sent)
    for report in reports:
        check_is_honest(report)
    return {report.segment.get("country"): report for report in reports}, world


def check_is_honest(report: WindowReport) -> None:
    """Every figure is either there with what it rests on, or not there with a reason."""
    assert "final" == report.status
    for name, metric in report.metrics.items():
        nothing = (None, None, None)
        if name in report.undefined:
            assert nothing == (metric.value, metric.low, metric.high), name
        else:
            assert None not in (metric.value, metric.low, metric.high), name
            assert metric.n > 0, name
    assert report.undefined.keys() <= report.metrics.keys()


def pairs(count: int, answer: Callable[[int], tuple[object, object]], **fields: Any) -> tuple[list[bytes], list[bytes]]:
    """`count` predictions and their labels, from (prediction, label) by number; a label None never comes."""
    answers = [answer(number) for number in range(count)]
    return (
        [prediction(str(number), said, **fields) for number, (said, _) in enumerate(answers)],
        [label(str(number), truth) for number, (_, truth) in enumerate(answers) if truth is not None],
    )


def right_or_wrong(number: int) -> tuple[object, object]:
    """Both classes, one pair in four wrong."""
    return ("fraud", "ok")[number % 2], ("fraud", "ok", "fraud", "fraud")[number % 4]


async def test_scores_for_which_no_positive_class_is_named_give_no_score_metric() -> None:
    reports, _ = await final_reports(WITHOUT_CLASS, *pairs(40, right_or_wrong, score=0.25))
    undefined = reports[None].undefined
    assert dict.fromkeys(SCORE_METRICS, "no_positive_class") == {name: undefined[name] for name in SCORE_METRICS}
    assert {"no_positive_class"} == {undefined[name] for name in ("precision", "recall", "specificity", "f1")}
    assert 0.75 == reports[None].metrics["accuracy"].value


async def test_scores_without_a_predicted_class_are_dead_letters_and_count_nowhere() -> None:
    predictions, labels = pairs(10, right_or_wrong)
    bare = [prediction(f"bare {number}", None, score=0.9) for number in range(3)]
    reports, world = await final_reports(BINARY, [*predictions, *bare], labels)
    assert (10, "no_scores") == (reports[None].predictions, reports[None].undefined["roc_auc"])
    assert [b"missing_field"] * 3 == [dict(each.headers)["latelabel-reason"] for each in world.publisher.sent]


async def test_lists_of_a_model_that_nobody_configured_are_dead_letters_that_name_the_task() -> None:
    predictions, labels = pairs(10, right_or_wrong)
    _, world = await final_reports(MULTICLASS, [*predictions, prediction("tags", ["a", "b"])], labels)
    (letter,) = world.publisher.sent
    assert b"configure the model with task: multilabel or ranking" in dict(letter.headers)["latelabel-message"]


async def test_scores_of_the_predicted_class_alone_rank_no_class_of_several() -> None:
    reports, _ = await final_reports(MULTICLASS, *pairs(40, right_or_wrong, score=0.75))
    undefined = {name: reports[None].undefined.get(name) for name in SCORE_METRICS}
    assert ["no_positive_class", "no_positive_class", "no_scores", "no_scores", None] == list(undefined.values())


@pytest.mark.parametrize("probabilities", [{"fraud": 0.33, "ok": 0.33, "other": 0.33}, {"fraud": 0.5004, "ok": 0.5}])
async def test_probabilities_that_were_rounded_count(probabilities: dict[str, float]) -> None:
    reports, _ = await final_reports(MULTICLASS, *pairs(40, right_or_wrong, probabilities=probabilities))
    figure = reports[None].metrics["expected_calibration_error"]
    assert figure.value is not None
    assert 40 == figure.n


@pytest.mark.parametrize("model", [BINARY, MULTICLASS], ids=["binary", "multiclass"])
@pytest.mark.parametrize("probabilities", [{"fraud": 0.5, "ok": 0.3}, {"fraud": 0.9, "ok": 0.9}, {"fraud": 0.0}])
async def test_probabilities_that_do_not_sum_to_one_spoil_score_metrics_only(
    model: MonitoredModel, probabilities: dict[str, float]
) -> None:
    predictions, labels = pairs(40, right_or_wrong, probabilities={"fraud": 0.5, "ok": 0.5})
    predictions[7] = prediction("7", "ok", probabilities=probabilities)
    reports, _ = await final_reports(model, predictions, labels)
    undefined = reports[None].undefined
    assert dict.fromkeys(SCORE_METRICS, "bad_probabilities") == {name: undefined[name] for name in SCORE_METRICS}
    assert 0.75 == reports[None].metrics["accuracy"].value


async def test_class_that_only_labels_name_has_no_precision_and_is_left_out_of_its_average() -> None:
    def answer(number: int) -> tuple[object, object]:
        return ("a", "b")[number % 2], ("a", "b", "a", "rare")[number % 4]

    reports, _ = await final_reports(MULTICLASS, *pairs(40, answer))
    report = reports[None]
    assert isinstance(report.per_class, dict)
    assert (None, 0.0, 10) == (
        report.per_class["rare"].precision,
        report.per_class["rare"].recall,
        report.per_class["rare"].support,
    )
    precision = report.metrics["precision_macro"]
    assert ("rare",) == precision.classes_left_out
    assert (1.0 + 0.5) / 2 == precision.value


async def test_ten_thousand_classes_leave_accuracy_right_and_no_figure_per_class() -> None:
    def answer(number: int) -> tuple[object, object]:
        return f"class {number}", f"class {number if number % 4 else number + 1}"

    reports, _ = await final_reports(MULTICLASS, *pairs(10_000, answer))
    report = reports[None]
    assert report.confusion is not None
    assert len(report.confusion.classes) <= 202
    assert 0.75 == report.metrics["accuracy"].value
    assert (10_000, 10_000) == (report.predictions, report.labelled)
    macro = [name for name in report.metrics if name.endswith("_macro")]
    assert macro
    assert {"class_overflow"} == {report.undefined[name] for name in (*macro, "balanced_accuracy", "mcc")}


async def test_slice_without_labels_has_no_figure_and_one_without_predictions_has_no_report() -> None:
    predictions, labels = pairs(8, right_or_wrong)
    unlabelled = [prediction(f"DE {number}", "ok", segment={"country": "DE"}) for number in range(5)]
    failed = [prediction(f"FR {number}", None, status="error", segment={"country": "FR"}) for number in range(2)]
    reports, _ = await final_reports(BINARY, [*predictions, *unlabelled, *failed], labels)
    assert {None, "__missing__", "DE", "FR"} == reports.keys()
    german, french = reports["DE"], reports["FR"]
    assert (5, 0, 0.0, 5) == (german.predictions, german.labelled, german.coverage, german.never_labelled)
    assert (0, 2, None) == (french.predictions, french.failed, french.coverage)
    for report in (german, french):
        assert report.metrics.keys() == report.undefined.keys()
        assert {"no_labelled"} == set(report.undefined.values())
        assert report.label_delay_seconds is None


async def test_positive_class_that_never_occurs_leaves_its_figures_undefined() -> None:
    reports, _ = await final_reports(BINARY, *pairs(20, lambda _: ("ok", "ok"), score=0.25))
    undefined, metrics = reports[None].undefined, reports[None].metrics
    assert ("no_positive_predictions", "no_positive_labels") == (undefined["precision"], undefined["recall"])
    assert {"no_positive_labels"} == {undefined[name] for name in ("roc_auc", "average_precision")}
    assert (1.0, 1.0) == (metrics["accuracy"].value, metrics["specificity"].value)
    assert {"f1", "fbeta", "mcc", "cohen_kappa"} <= undefined.keys()


async def test_vocabularies_that_do_not_overlap_are_counted_and_named_by_doctor() -> None:
    def answer(number: int) -> tuple[object, object]:
        return ("fraud", "ok")[number % 2], (True, False)[number % 2] if number < 25 else None

    reports, world = await final_reports(MULTICLASS, *pairs(30, answer))
    traffic = await recent_traffic(world.ledger, lambda _: MULTICLASS, Agreements(), watermark_ms=NOW_MS + 3 * DAY_MS)
    (finding,) = check_classes(traffic)
    assert (Verdict.FAILED, "classes of fraud") == (finding.verdict, finding.check)
    assert finding.found == "predicted are 'fraud', 'ok', labelled 'false', 'true': no class in common in 25 pairs"
    assert "classes.aliases of fraud" in finding.remedy
    assert (0.0, 25) == (reports[None].metrics["accuracy"].value, reports[None].metrics["accuracy"].n)
