"""Which window a model version is judged by, and which version is worst."""

from __future__ import annotations

from schemas.times import parse_time_ms
from schemas.window_report import WindowReport
from streams.monitored_model import HOUR_MS, MonitoredModel, Task
from streams.standing import State, main_metric, standing_of, state_of, worst_first, worst_segments_first
from tests.support.fleet import NOON_MS, binary_cells, report_on
from tests.support.pair_sums import sums_of_numbers

FRAUD = MonitoredModel(name="fraud", task=Task.BINARY, positive_class="fraud")


def hour(at: int, *, labelled: int, due: int, missing: tuple[str, ...] = ()) -> WindowReport:
    return report_on(FRAUD, binary_cells(0, 0, 0, labelled, due), start_ms=NOON_MS + at * HOUR_MS, missing=missing)


def of_model(name: str, right: int, wrong: int, **more: object) -> WindowReport:
    return report_on(MonitoredModel(name=name), {("a", "a"): right, ("a", "b"): wrong}, **more)  # type: ignore[arg-type]


def order(*reports: WindowReport, metric: str | None = None) -> list[str]:
    return [each.judged.model for each in worst_first([standing_of([report]) for report in reports], metric=metric)]


def test_version_is_judged_by_the_newest_window_with_half_of_its_labels() -> None:
    reports = [hour(3, labelled=1, due=9), hour(2, labelled=5, due=5), hour(1, labelled=10, due=0)]
    standing = standing_of(reports)
    assert (reports[1], reports[0]) == (standing.judged, standing.newest)


def test_version_without_such_a_window_is_judged_by_the_newest_with_a_label() -> None:
    reports = [hour(3, labelled=0, due=9), hour(2, labelled=1, due=5), hour(1, labelled=2, due=9)]
    assert reports[1] == standing_of(reports).judged


def test_version_without_labels_is_judged_by_its_newest_window() -> None:
    reports = [hour(3, labelled=0, due=9), hour(2, labelled=0, due=5)]
    assert reports[0] == standing_of(reports).judged


def test_loss_after_the_judged_window_counts_and_one_before_it_does_not() -> None:
    lost, whole = hour(3, labelled=0, due=9, missing=("labels/0",)), hour(2, labelled=9, due=1)
    older = hour(1, labelled=0, due=9, missing=("labels/0",))
    assert standing_of([lost, whole]).has_lost_input
    assert not standing_of([whole, older]).has_lost_input


def test_worst_is_who_is_certainly_bad_and_not_who_has_few_labels() -> None:
    few, bad, good = of_model("few", 0, 1), of_model("bad", 500, 500), of_model("good", 990, 10)
    assert ["bad", "few", "good"] == order(good, few, bad)


def test_lost_input_comes_first_and_no_figure_last() -> None:
    lost = of_model("lost", 100, 0, missing=("predictions/0",))
    unlabelled = report_on(MonitoredModel(name="unlabelled"), {(None, "a"): 5})
    assert ["lost", "bad", "unlabelled"] == order(unlabelled, of_model("bad", 1, 99), lost)


def test_errors_come_after_shares_and_the_largest_of_them_first() -> None:
    def regression(name: str, error: float) -> WindowReport:
        model = MonitoredModel(name=name, task=Task.REGRESSION)
        return report_on(model, {("*", ""): 30}, sums=sums_of_numbers([1.0] * 30, [1.0 + error] * 30))

    small, large = regression("small", 0.5), regression("large", 50.0)
    assert ["good", "large", "small"] == order(small, large, of_model("good", 99, 1))


def test_segments_are_ordered_by_what_is_certain_and_those_without_a_figure_come_last() -> None:
    def segment(name: str, right: int, wrong: int) -> WindowReport:
        return of_model("fraud", right, wrong, segment={"country": name})

    unlabelled = report_on(MonitoredModel(name="fraud"), {(None, "a"): 5}, segment={"country": "unlabelled"})
    reports = [segment("good", 90, 10), unlabelled, segment("few", 0, 1), segment("bad", 50, 50), segment("b", 50, 50)]
    found = worst_segments_first(reports, "accuracy")
    assert ["b", "bad", "few", "good", "unlabelled"] == [report.segment["country"] for report in found]


def test_segment_with_the_largest_error_is_the_worst() -> None:
    def segment(name: str, error: float) -> WindowReport:
        model = MonitoredModel(name="price", task=Task.REGRESSION)
        sums = sums_of_numbers([1.0] * 30, [1.0 + error] * 30)
        return report_on(model, {("*", ""): 30}, sums=sums, segment={"country": name})

    found = worst_segments_first([segment("small", 0.5), segment("large", 50.0)], "mae")
    assert ["large", "small"] == [report.segment["country"] for report in found]


def test_equal_versions_are_ordered_by_name() -> None:
    assert ["a", "b", "c"] == order(of_model("c", 1, 1), of_model("a", 1, 1), of_model("b", 1, 1))


def test_asked_metric_decides_and_who_does_not_have_it_comes_last() -> None:
    recalls = report_on(FRAUD, binary_cells(90, 10, 900, 0))
    assert "recall" == main_metric(recalls, "recall")
    assert None is main_metric(of_model("other", 1, 1), "recall")
    assert ["fraud", "other"] == order(of_model("other", 0, 100), recalls, metric="recall")


def test_main_metric_is_the_first_of_the_task() -> None:
    assert "accuracy" == main_metric(of_model("any", 1, 1))
    assert "mae" == main_metric(report_on(MonitoredModel(name="r", task=Task.REGRESSION), {}))


def state(report: WindowReport, *, minutes_later: int = 0, **alerts: bool) -> State:
    now_ms = parse_time_ms(report.produced_at) + minutes_later * 60_000
    return state_of(standing_of([report]), now_ms=now_ms, **alerts)


def test_version_is_in_the_worst_state_that_holds() -> None:
    half, fewer, lost = (
        hour(0, labelled=5, due=5),
        hour(0, labelled=4, due=6),
        hour(0, labelled=5, due=5, missing=("x",)),
    )
    assert [State.OK, State.LABELS_PENDING, State.WARNING] == [state(half), state(fewer), state(lost)]
    assert [State.WARNING, State.FIRING] == [state(half, is_pending=True), state(lost, fires=True, is_pending=True)]


def test_version_without_news_for_five_of_its_windows_has_fallen_silent() -> None:
    report = hour(0, labelled=5, due=5)
    assert [State.OK, State.NO_DATA] == [state(report, minutes_later=300), state(report, minutes_later=301)]
    assert State.FIRING == state(report, minutes_later=301, fires=True)
