"""What `latelabel show` draws, to the character."""

from __future__ import annotations

import dataclasses
import io
import itertools
import random
from collections import Counter
from collections.abc import Sequence

import msgspec
import pytest
from rich.console import Console
from rich.text import Text

from agents.show.confusion import confusion_lines
from agents.show.drawing import Glyphs, age, number, scale_of, share, window_time
from agents.show.fleet import empty_screen, fleet_screen
from agents.show.model import ModelView, model_screen
from agents.show.reading import model_versions, newest_reports
from agents.show.stability import NOT_KNOWN, Stability
from agents.terminal_text import cell_len
from schemas.codec import encode
from schemas.signals_report import ComparedWith, SignalsReport
from schemas.window_report import Confusion, CoverageExpected, LabelDelay, Metric, WindowReport, report_key
from streams.errors import PermanentFailure
from streams.identity import model_version_hash, model_version_name
from streams.monitored_model import DAY_MS, HOUR_MS, MonitoredModel, Task
from streams.pair_sums.lists import ranking_contribution
from streams.ports import LastReport
from streams.standing import standing_of, worst_first
from tests.support.fleet import NOON_MS, NOW_MS, binary_cells, report_on, signals_on, stability_on
from tests.support.pair_sums import sums_of_numbers, sums_of_scores, sums_of_sets
from tests.support.publishing import FakeReports

FRAUD = MonitoredModel(name="fraud", task=Task.BINARY, positive_class="fraud")
CHURN = MonitoredModel(name="churn")
PRICE = MonitoredModel(name="price", task=Task.REGRESSION)
TOPICS = MonitoredModel(name="topics", task=Task.MULTILABEL)
SHOP = MonitoredModel(name="shop", task=Task.RANKING)
LOST = "predictions/0: 17 records up to 2026-11-23T13:00:00Z"


def fraud_reports() -> list[WindowReport]:
    """Six hours, newest first: few labels, more, half, most, final, lost."""
    half = report_on(FRAUD, binary_cells(40, 9, 6, 585, 360), start_ms=NOON_MS + HOUR_MS, failed=2)
    return [
        report_on(FRAUD, binary_cells(1, 0, 0, 10, 900), start_ms=NOON_MS + 3 * HOUR_MS),
        report_on(FRAUD, binary_cells(20, 2, 3, 310, 620), start_ms=NOON_MS + 2 * HOUR_MS),
        msgspec.structs.replace(
            half,
            coverage_expected=CoverageExpected(0.66, 0.97),
            label_delay_seconds=LabelDelay(41.0, 310.0, 900.0),
        ),
        report_on(FRAUD, binary_cells(40, 30, 6, 850, 74), start_ms=NOON_MS),
        report_on(FRAUD, binary_cells(40, 30, 6, 850, 74), start_ms=NOON_MS - HOUR_MS, watermark_ms=NOON_MS + DAY_MS),
        report_on(FRAUD, binary_cells(0, 0, 0, 0, 30), start_ms=NOON_MS - 2 * HOUR_MS, missing=[LOST]),
    ]


def fleet(*versions: list[WindowReport], width: int = 80, metric: str | None = None) -> list[Text]:
    standings = worst_first(map(standing_of, versions), metric=metric)
    return fleet_screen(standings, metric=metric, confidence_level=0.95, now_ms=NOW_MS, width=width)


def screen(
    *reports: WindowReport,
    width: int = 80,
    metric: str | None = None,
    others: tuple[str, ...] = (),
    stability: Stability = NOT_KNOWN,
    signals: Sequence[SignalsReport] = (),
) -> list[Text]:
    view = ModelView(
        reports=reports,
        standing=standing_of(reports),
        stability=stability,
        signals=signals,
        metric=metric,
        others=others,
        confidence_level=0.95,
        now_ms=NOW_MS,
    )
    return model_screen(view, width=width, glyphs=Glyphs())


def plain(lines: list[Text]) -> str:
    return "\n".join(line.plain for line in lines) + "\n"


# --- the fleet -------------------------------------------------------------------------------------------------------

FLEET = """\
5 model versions, worst first

Model    Version     State       Window (UTC)         Reported
  Metric    [95 % interval]                n  Labelled  Predictions  Failed
returns  3           input lost  2026-11-23 12:00 1h    3m ago
  accuracy  1.000 [1.000, 1.000]   5,000,000      100%    5,000,000   1,234
churn    2026-11-01  labels due  2026-11-23 12:00 1h    3m ago
  accuracy  0.750 [0.666, 0.819]         120      100%          120       0
fraud    3           labels due  2026-11-23 13:00 1h    3m ago
  accuracy  0.977 [0.962, 0.986]         640     64.0%        1,000       2
price                labels due  2026-11-23 12:00 1h    3m ago
  mae       1.250 [0.370, 14.396]          4      100%            4       0
new      3           labels due  2026-11-23 12:00 1h    3m ago
  accuracy: no label yet                            0%            5       0
"""


def test_fleet_is_two_lines_for_each_version_worst_first() -> None:
    lost = [report_on(MonitoredModel(name="returns"), {("kept", "kept"): 5_000_000}, missing=[LOST], failed=1_234)]
    churn = [report_on(CHURN, {("stays", "stays"): 90, ("leaves", "stays"): 30}, version="2026-11-01")]
    price = [report_on(PRICE, {("*", ""): 4}, sums=sums_of_numbers([10, 20, 30, 40], [11, 19, 33, 40]), version="")]
    new = [report_on(MonitoredModel(name="new"), {(None, "a"): 5})]
    assert FLEET == plain(fleet(fraud_reports(), price, new, lost, churn))


def test_asked_metric_is_shown_and_who_lacks_it_says_so() -> None:
    lines = plain(fleet(fraud_reports(), [report_on(CHURN, {("a", "a"): 1})], metric="recall")).splitlines()
    assert "  recall  0.816 [0.686, 0.900]" == lines[5][:30]
    assert "  no recall here" == lines[7][:16]


def test_undefined_metric_is_explained_in_place_of_its_value() -> None:
    [line] = plain(fleet([report_on(FRAUD, binary_cells(0, 0, 0, 9))], metric="precision")).splitlines()[5:]
    assert "  precision: no positive prediction  " == line[:37]


def test_empty_installation_says_how_to_publish() -> None:
    text = plain(empty_screen(predictions="their-predictions", labels="their-labels"))
    assert '  to their-predictions:\n    {"request_id": "r1", "model": "fraud", "prediction": "ok"}\n' in text
    assert '  to their-labels, whenever the truth is known:\n    {"request_id": "r1", "label": "ok"}\n' in text
    assert "latelabel doctor" in text


# --- one model -------------------------------------------------------------------------------------------------------

FRAUD_SCREEN = """\
fraud, version 3                                                 reported 3m ago

accuracy, newest windows first, UTC
1h from      State       Value [95 % interval]  0.000       1.000    n  Labelled
11-23 15:00  open        1.000 [0.741, 1.000]   ············━━━━●   11      1.2%
11-23 14:00  labels due  0.985 [0.966, 0.994]         ·········━●  335     35.1%
11-23 13:00  labels due  0.977 [0.962, 0.986]             ·····━●  640     64.0%
11-23 12:00  labels due  0.961 [0.947, 0.972]                 ·●━  926     92.6%
11-23 11:00  final       0.961 [0.947, 0.972]                 ·●━  926     92.6%
11-23 10:00  input lost  no label yet           ·················    0        0%
● value  ━ 95 % interval  · what missing labels could still make of it

2026-11-23 13:00 UTC, the newest window with half of its labels:
  1,000 predictions: 640 labelled (64.0%), 360 due, 0 never; 2 more failed
  past windows: 66.0% labelled at this age, 97.0% at last
  label delay: half within 41s, 90 % within 5m10s, 99 % within 15m
  accuracy can still end anywhere from 0.625 to 0.985

  label \\ prediction  fraud   ok
  fraud                  40    9
  ok                      6  585

  accuracy          0.977 [0.962, 0.986]  recall      0.816 [0.686, 0.900]
  balanced_accuracy 0.903 [0.835, 0.945]  specificity 0.990 [0.978, 0.995]
  mcc               0.830 [0.727, 0.896]  f1          0.842 [0.748, 0.905]
  cohen_kappa       0.829 [0.726, 0.896]  fbeta       0.826 [0.716, 0.900]
  precision         0.870 [0.743, 0.939]

  undefined, no scores sent: roc_auc, average_precision, log_loss, brier,
    expected_calibration_error

Other versions (--model-version): 2, 1
"""


def test_model_is_one_screen_of_windows_and_of_all_about_the_judged_one() -> None:
    assert FRAUD_SCREEN == plain(screen(*fraud_reports(), others=("2", "1")))


def test_figures_of_binary_models_are_not_said_to_lack_the_scores_that_a_multiclass_model_sends() -> None:
    cells: dict[tuple[str | None, str], int] = {("a", "a"): 20, ("b", "b"): 8, ("c", "b"): 2}
    sent = report_on(CHURN, cells, sums=sums_of_scores([0.75] * 30, [True] * 28 + [False] * 2))
    assert "\n  undefined, binary models only: roc_auc, average_precision, log_loss, brier\n" in plain(screen(sent))
    assert "\n  undefined, no scores sent: roc_auc, average" in plain(screen(report_on(CHURN, cells)))
    nameless = dataclasses.replace(FRAUD, positive_class=None)
    assert "\n  undefined, no positive_class set: precision" in plain(screen(report_on(nameless, cells)))


def latencies(seed: int, *, count: int, slower: float = 1.0) -> list[float]:
    rng = random.Random(seed)
    return [slower * rng.lognormvariate(3.0, 0.5) for _ in range(count)]


def stability_part(stability: Stability) -> str:
    lines = plain(screen(*fraud_reports(), stability=stability))
    return lines.partition("\n\nlatency and failures")[2].partition("\n\n")[0]


STABILITY_PART = """ of the same windows
1h from      Median  p99 [95 % interval]     Errors  Time-outs  Requests/s
11-23 13:00  27.5ms  81.6ms [74.6ms, 109ms]    0.2%       0.1%       0.278
11-23 12:00  20.4ms  57.1ms [48.3ms, -]          0%         0%       0.083
latency against version 2, 11-23 12:00:
  median 1.02x [0.95, 1.12], p99 0.87x [0.73, -]"""


def test_latency_and_failures_of_the_same_windows_stand_beside_quality() -> None:
    mine = [
        stability_on(latencies(1, count=997, slower=1.35), start_ms=NOON_MS + HOUR_MS, failed=3, timed_out=1),
        stability_on(latencies(2, count=300)),
    ]
    others = [stability_on(latencies(3, count=5_000), version="2")]
    assert STABILITY_PART == stability_part(Stability(mine, "2", others))


def test_versions_that_never_answered_in_one_window_are_compared_by_their_newest() -> None:
    mine = [stability_on([30.0] * 500, start_ms=NOON_MS + HOUR_MS)]
    others = [stability_on([20.0] * 500, version=""), stability_on([90.0] * 500, start_ms=NOON_MS - HOUR_MS)]
    text = stability_part(Stability(mine, "", others))
    assert '\nlatency against version "" at 11-23 12:00, 11-23 13:00:\n  median 1.49x [1.47, 1.51], p99' in text


def test_version_that_sent_no_latency_and_never_failed_has_nothing_to_show() -> None:
    assert "" == stability_part(Stability([stability_on([], without_latency=7)]))
    failing = stability_part(Stability([stability_on([], without_latency=7, failed=1)]))
    assert ["11-23", "12:00", "-", "-", "12.5%", "0%", "0.002"] == failing.splitlines()[2].split()


REGRESSION_SCREEN = """\
price                                                            reported 3m ago

mae, newest windows first, UTC
1d from  State  Value [95 % interval]      1,557          8.001e+07  n  Labelled
11-23    open   10,001 [1,557, 8.001e+07]  ●━━━━━━━━━━━━━━━━━━━━━━━  4     80.0%
● value  ━ 95 % interval  · what missing labels could still make of it

2026-11-23 UTC, the newest window with half of its labels:
  5 predictions: 4 labelled (80.0%), 1 due, 0 never; 0 more failed

  mae   10,001 [1,557, 8.001e+07]  r2   -3,199,999 [-6.249e+07, -163,874]
  rmse  20,000 [10,902, 110,059]   bias 10,001 [-21,589, 41,590]
  rmsle 5.299 [2.889, 29.138]

  undefined, a label is zero: mape
"""


def test_regression_has_errors_and_no_confusion() -> None:
    sums = sums_of_numbers([10, 20, 30, 0], [11, 19, 33, 40_000])
    report = report_on(
        PRICE, {("*", ""): 4, (None, ""): 1}, sums=sums, version="", size_ms=DAY_MS, start_ms=NOON_MS - DAY_MS // 2
    )
    assert REGRESSION_SCREEN == plain(screen(report))


SETS_SCREEN = """\
topics                                                           reported 3m ago

subset_accuracy, newest windows first, UTC
1h from      State       Value [95 % interval]  0.354         0.879  n  Labelled
11-23 12:00  labels due  0.667 [0.354, 0.879]   ━━━━━━━━━━━●━━━━━━━  9     90.0%
● value  ━ 95 % interval  · what missing labels could still make of it

2026-11-23 12:00 UTC, the newest window with half of its labels:
  10 predictions: 9 labelled (90.0%), 1 due, 0 never; 0 more failed
  subset_accuracy can still end anywhere from 0.600 to 0.700

  class  precision  recall     f1  labels
  sport      1.000   0.750  0.857       8
  local      0.667   1.000  0.800       2

  subset_accuracy 0.667 [0.354, 0.879]  f1_micro        0.842 [0.624, 0.945]
  hamming_loss    0.167 [0.065, 0.366]  precision_macro 0.833 [0.484, 0.964]
  precision_micro 0.889 [0.569, 0.980]  recall_macro    0.875 [0.495, 0.980]
  recall_micro    0.800 [0.548, 0.930]  f1_macro        0.829 [0.562, 0.928]
"""


def test_sets_of_classes_have_a_line_for_each_class() -> None:
    sums: Counter[str] = Counter()
    for found, invented, missed, times in (("sport", "", "", 6), ("local", "", "sport", 2), ("", "local", "", 1)):
        for _ in range(times):
            pair = [[name] if name else [] for name in (found, invented, missed)]
            sums.update(sums_of_sets(*pair))
    report = report_on(TOPICS, {("*", ""): 9, (None, ""): 1}, sums=sums, version="")
    assert SETS_SCREEN == plain(screen(report))


RANKING_SCREEN = """\
shop                                                             reported 3m ago

ndcg_at_k, newest windows first, UTC
1h from      State       Value [95 % interval]  0.297        0.792   n  Labelled
11-23 12:00  labels due  0.559 [0.297, 0.792]   ━━━━━━━━━●━━━━━━━━  10      100%
● value  ━ 95 % interval  · what missing labels could still make of it

2026-11-23 12:00 UTC, the newest window with half of its labels:
  10 predictions: 10 labelled (100%), 0 due, 0 never; 0 more failed

  k = 10: of each ranking, the first 10 items count
  ndcg_at_k     0.559 [0.297, 0.792]  precision_at_k 0.080 [0.047, 0.134]
  hit_rate_at_k 0.800 [0.490, 0.943]  recall_at_k    0.575 [0.315, 0.799]
  mrr           0.600 [0.342, 0.812]
"""


def test_rankings_say_how_many_items_count() -> None:
    sums: Counter[str] = Counter()
    for ranks, relevant, times in (([1], 1, 5), ([3, 12], 4, 3), ([], 2, 2)):
        for _ in range(times):
            sums.update(ranking_contribution(ranks, relevant=relevant))
    report = report_on(SHOP, {("*", ""): 10}, sums=sums, version="")
    assert RANKING_SCREEN == plain(screen(report))


LOST_SCREEN = """\
churn, version 3                                                 reported 3m ago

accuracy, newest windows first, UTC
1h from      State       Value [95 % interval]  0.000         1.000  n  Labelled
11-23 12:00  input lost  no label yet                                0         -
● value  ━ 95 % interval  · what missing labels could still make of it

2026-11-23 12:00 UTC, the newest window; no label yet:
  0 predictions: 0 labelled (-), 0 due, 0 never; 0 more failed
  missing: labels/11: all all all all all all all all all all all all all all
    all all all all all all of them
  missing: predictions/0: 17 records up to 2026-11-23T13:00:00Z

  undefined, no label yet: accuracy, balanced_accuracy, mcc, cohen_kappa,
    precision_macro, precision_micro, precision_weighted, recall_macro,
    recall_micro, recall_weighted, f1_macro, f1_micro, f1_weighted, roc_auc,
    average_precision, log_loss, brier, expected_calibration_error
"""


def test_window_that_lost_everything_says_what_and_draws_no_figure() -> None:
    assert LOST_SCREEN == plain(screen(report_on(CHURN, {}, missing=[LOST, "labels/11: " + "all " * 20 + "of them"])))


def test_only_the_newest_ten_windows_are_drawn() -> None:
    reports = [report_on(CHURN, {("a", "a"): 9}, start_ms=NOON_MS - at * HOUR_MS) for at in range(12)]
    text = plain(screen(*reports))
    assert "\n11-23 03:00  " in text
    assert "\n11-23 02:00  " not in text


def test_averages_say_which_classes_they_leave_out() -> None:
    lines = plain(screen(report_on(CHURN, {("a", "a"): 9, ("a", "b"): 1, ("c", "a"): 1}))).splitlines()
    assert "  without b: balanced_accuracy, recall_macro" in lines
    assert "  without c: precision_macro, precision_weighted" in lines


def test_many_other_versions_are_counted() -> None:
    text = plain(screen(*fraud_reports(), others=tuple(map(str, range(100)))))
    assert text.endswith("Other versions (--model-version): 0, 1, 2, 3, 4 and 95 more\n")


# --- names that strangers chose ---------------------------------------------------------------------------------------

HOSTILE = {
    "long": "n" * 128,
    "wide": "模型" * 21,
    "emoji": "👩‍🔬" * 9,
    "flag": "🇩🇪" * 16,
    "variation": "❤️" * 20,
    "markup": "[bold red]x[/bold red][link=file:///etc/passwd]",
    "emoji code": ":boom:" * 10,
    "escape": "\x1b[31mred\x1b[0m\x1b]0;title\x07",
    "line ends": "a\nb\r\nc\x85\u2028\u2029",
    "tab and bell": "a\tb\x07\x08\x7f",
    "direction": "\u202egnp.exe\u2066",
    "combining": "e\u0301" * 40,
    "null": "\0",
    "surrogate-like": "\ud7ff\ue000",
}


@pytest.mark.parametrize("width", [80, 132])
@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE.keys())
def test_names_neither_break_columns_nor_are_taken_for_commands(name: str, width: int) -> None:
    model = MonitoredModel(name=name)
    cells: dict[tuple[str | None, str], int] = {(name, name): 3, ("a", name): 2, (None, name): 1}
    report = report_on(model, cells, version=name, missing=[name])
    neighbour = report_on(CHURN, {("a", "a"): 3})
    drawn = fleet([report], [neighbour], width=width)
    for line in itertools.chain(drawn, screen(report, width=width, others=(name,))):
        assert cell_len(line.plain) <= width
        assert line.plain.isprintable()
    # Every state stands in one column.
    columns = {cell_len(line.plain[: line.plain.index(state)]) for line, state in _states(drawn)}
    assert 1 == len(columns)


def _states(lines: list[Text]) -> list[tuple[Text, str]]:
    return [(lines[2], "State"), (lines[4], "input lost"), (lines[6], "labels due")]


@pytest.mark.parametrize("width", range(1, 80, 6))
def test_terminal_may_be_narrow(width: int) -> None:
    assert fleet(fraud_reports(), width=width)
    assert screen(*fraud_reports(), width=width, others=("2",))


@pytest.mark.parametrize("text", [HOSTILE["markup"], HOSTILE["emoji code"]])
def test_markup_is_printed_as_it_is_written(text: str) -> None:
    console = Console(file=io.StringIO(), width=200, soft_wrap=True, highlight=False)
    console.print(screen(report_on(MonitoredModel(name=text), {}), width=200)[0])
    assert isinstance(console.file, io.StringIO)
    assert text in console.file.getvalue()


def test_long_name_of_a_model_does_not_hide_its_version() -> None:
    title = plain(screen(report_on(MonitoredModel(name="n" * 128), {}, version="2026-11-23")))
    assert "nnn…, version 2026-11-23 " in title.splitlines()[0]


# --- parts -----------------------------------------------------------------------------------------------------------


def test_bar_is_drawn_from_possible_to_interval_to_value() -> None:
    metric = Metric(value=0.5, low=0.4, high=0.6, n=9, possible=(0.0, 1.0))
    assert ".....=o=....." == scale_of([metric]).bar(metric, 13, Glyphs.ascii())


def test_bar_without_a_value_shows_only_what_is_possible() -> None:
    unknown = Metric(value=None, low=None, high=None, n=0, possible=(0.5, 1.0))
    known = Metric(value=0.0, low=0.0, high=0.0, n=1)
    scale = scale_of([unknown, known])
    assert ("     ......", "o          ") == (
        scale.bar(unknown, 11, Glyphs.ascii()),
        scale.bar(known, 11, Glyphs.ascii()),
    )


@pytest.mark.parametrize("value", [0.0, 1.0, -3.0, 1e12])
def test_scale_of_a_single_value_is_wide_enough_to_draw_it(value: float) -> None:
    metric = Metric(value=value, low=value, high=value, n=1)
    assert "  o  " == scale_of([metric]).bar(metric, 5, Glyphs.ascii())


def test_confusion_adds_up_the_classes_that_there_is_no_room_for() -> None:
    classes = tuple(f"class-{at:02}" for at in range(30))
    counts = tuple(tuple(row + column for column in range(30)) for row in range(30))
    lines = [line.plain for line in confusion_lines(Confusion(classes=classes, counts=counts), 78)]
    assert max(map(cell_len, lines)) <= 80
    numbers = [[int(text.replace(",", "")) for text in line.split()[-5:]] for line in lines[1:]]
    assert ["class-26", "class-27", "class-28", "class-29"] == [line.split()[0] for line in lines[1:-1]]
    assert sum(map(sum, counts)) == sum(map(sum, numbers))


def test_figures_of_any_size_are_short() -> None:
    values = (0.0, -0.0, 1e-9, -0.00012, 99.9994, 100.0, 123_456.7, 1e12, -1e24)
    texts = ["0.000", "0.000", "1.0e-09", "-1.2e-04", "99.999", "100", "123,457", "1e+12", "-1e+24"]
    assert texts == [number(value) for value in values]


def test_share_that_is_not_whole_is_never_rounded_to_all_or_nothing() -> None:
    assert ["0%", "0.1%", "99.9%", "100%"] == [share(ratio) for ratio in (0.0, 1e-9, 1 - 1e-9, 1.0)]


def test_ages_are_told_by_their_largest_unit() -> None:
    assert ["just now", "59s ago", "1m ago", "23h ago", "400d ago"] == [
        age(milliseconds) for milliseconds in (-9_000, 59_999, 119_999, DAY_MS - 1, 400 * DAY_MS)
    ]


def test_windows_of_days_need_no_time_of_day_and_those_of_seconds_need_seconds() -> None:
    day = report_on(CHURN, {}, start_ms=NOON_MS - DAY_MS // 2, size_ms=DAY_MS)
    second = report_on(CHURN, {}, start_ms=NOON_MS + 1000, size_ms=1000)
    first = report_on(CHURN, {}, start_ms=NOON_MS, size_ms=1000)
    hour = report_on(CHURN, {}, start_ms=NOON_MS, size_ms=HOUR_MS)
    assert ("2026-11-23", "2026-11-23 12:00:01") == (window_time(day), window_time(second))
    assert ("2026-11-23 12:00:00", "2026-11-23 12:00") == (window_time(first), window_time(hour))


# --- reading ---------------------------------------------------------------------------------------------------------


async def test_newest_reports_are_read_by_model_version() -> None:
    store = FakeReports()
    for version in ("10", "9"):
        reports = [
            report_on(FRAUD, binary_cells(1, 2, 3, 4), version=version, start_ms=NOON_MS + at * HOUR_MS)
            for at in range(3)
        ]
        await store.save(
            model_version_hash("fraud", version), model_version_name("fraud", version),
            [_last(report) for report in reports], evaluator=b"", watermark_ms=0,
        )  # fmt: skip
    versions = await model_versions(store, model="fraud")
    assert [("fraud", "10"), ("fraud", "9")] == list(versions.values())
    assert {} == await model_versions(store, model="nobody")
    kept = await newest_reports(store, model_version_hash("fraud", "9"), most=2)
    assert [NOON_MS + 2 * HOUR_MS, NOON_MS + HOUR_MS] == [_start(each.report) for each in kept]
    assert [encode(each.report) for each in kept] == [each.value for each in kept]


async def test_report_of_another_version_is_named_and_nothing_worse_happens() -> None:
    store = FakeReports()
    last = dataclasses.replace(_last(report_on(FRAUD, {})), value=b'{"kind":"quality"}')
    version = model_version_hash("fraud", "3")
    await store.save(version, model_version_name("fraud", "3"), [last], evaluator=b"", watermark_ms=0)
    with pytest.raises(PermanentFailure, match=r'the report \["quality","fraud","3",.*another version of Latelabel'):
        await newest_reports(store, version, most=1)


def _start(report: WindowReport) -> int:
    return NOON_MS + (int(report.window.start[11:13]) - 12) * HOUR_MS


def _last(report: WindowReport) -> LastReport:
    key = report_key(
        model=report.model, model_version=report.model_version, segment={},
        window_seconds=report.window.size_seconds, window_start_ms=_start(report),
    )  # fmt: skip
    return LastReport(key=key, value=encode(report), revision=1, published_ms=0, watermark_ms=0, due_ms=0)


SIGNALS_PART = """ of the 1h from 11-23 13:00
Signal    n  Undefined     p05  Median    p95   Mean    Std  PSI
entropy   0       100%       -       -      -      -      -    -
margin   96       4.0%  -0.879  -0.020  0.879  0.000  0.566    -
7 values of signals beyond limits.signals are left out"""


def test_signals_of_the_newest_window_stand_beside_quality() -> None:
    told = [index / 50 - 0.96 for index in range(97)]
    told.remove(0.0)
    newest = signals_on({"margin": told, "__other__": [3.0, 4.0]}, answered=100, start_ms=NOON_MS + HOUR_MS)
    lines = plain(screen(*fraud_reports(), signals=[newest, signals_on({"old": [1.0]}, answered=1)]))
    assert SIGNALS_PART == lines.partition("\n\nsignals")[2].partition("\n\n")[0]


def test_signal_of_which_the_report_says_that_it_has_moved_is_marked() -> None:
    report = signals_on({"margin": [0.5], "entropy": [0.5]}, answered=1, start_ms=NOON_MS + HOUR_MS)
    reference = ComparedWith(start="", end="", model_version="", values={}, moved=("margin",))
    moved = msgspec.structs.replace(report, reference=reference)
    lines = plain(screen(*fraud_reports(), signals=[moved])).splitlines()
    assert {"margin"} == {line.split()[0] for line in lines if line.endswith(" moved")}


def test_model_that_tells_no_signal_has_none_to_show() -> None:
    assert "signals of" not in plain(screen(*fraud_reports(), signals=[]))


def test_long_names_of_signals_are_cut_to_the_width() -> None:
    report = signals_on({"attention_entropy_" * 7: [0.5]}, answered=1, start_ms=NOON_MS + HOUR_MS)
    lines = plain(screen(*fraud_reports(), signals=[report])).splitlines()
    assert max(map(cell_len, lines)) <= 80
