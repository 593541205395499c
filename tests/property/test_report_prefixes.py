"""Reports of scored streams against scikit-learn, at every prefix, split over shards and with corrected labels."""

from __future__ import annotations

import functools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET
from sklearn import metrics as oracle

from schemas.window_report import Metric, WindowReport
from streams.monitored_model import MonitoredModel, Task
from streams.pair_sums.contribution import score_contribution
from streams.pair_sums.delay import delay_bucket
from streams.quality.confusion import Cell
from streams.reports import ReportKey, SliceCounts, window_report

KEY = ReportKey(model="m", model_version="", segment={}, window_start_ms=0, window_size_ms=60_000)
MODEL = MonitoredModel(name="m", task=Task.BINARY, positive_class="yes")
SHARDS = 3
REQUESTS = 12
LEAST = 2.0**-52

scores = st.integers(0, 100).map(lambda hundredths: hundredths / 100) | st.sampled_from([0.5, 1e-9, 1 - 1e-12])
labels = st.tuples(st.integers(0, REQUESTS - 1), st.sampled_from(["yes", "no"]), st.integers(0, 10**8))


class Shard:
    """What one shard has counted, as the ledger counts it: a further label takes back what the one before added."""

    def __init__(self) -> None:
        self.cells: Counter[Cell] = Counter()
        self.sums: Counter[str] = Counter()
        self.delays: Counter[int] = Counter()

    def count(self, score: float, label: str | None, delay_ms: int, times: int) -> None:
        self.cells[label, answer_of(score)] += times
        if label is not None:
            contribution = score_contribution(score, happened=label == "yes")
            self.sums.update({name: times * increment for name, increment in contribution.items()})
            self.delays[delay_bucket(delay_ms)] += times

    def counts(self) -> SliceCounts:
        return SliceCounts(self.cells, sums=self.sums, delays=self.delays)


def answer_of(score: float) -> str:
    return "yes" if score >= 0.5 else "no"


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=25, deadline=None)
@given(st.lists(scores, min_size=REQUESTS, max_size=REQUESTS), st.lists(labels, max_size=25))
def test_every_prefix_of_labels_gives_the_figures_of_scikit_learn(
    drawn: list[float], stream: list[tuple[int, str, int]]
) -> None:
    shards = [Shard() for _ in range(SHARDS)]
    known: dict[int, tuple[str, int]] = {}
    for request, score in enumerate(drawn):
        shards[request % SHARDS].count(score, None, 0, 1)
    for request, label, delay_ms in stream:
        shard = shards[request % SHARDS]
        before, delay_before_ms = known.get(request, (None, 0))
        shard.count(drawn[request], before, delay_before_ms, -1)
        shard.count(drawn[request], label, delay_ms, 1)
        known[request] = (label, delay_ms)
        counts = functools.reduce(SliceCounts.__add__, [each.counts() for each in shards])
        report = window_report(KEY, counts, MODEL, watermark_ms=None, confidence_level=0.95, config_hash="")
        check(report, [drawn[each] for each in known], [label for label, _ in known.values()])
        assert report.label_delay_seconds is not None
        longest_ms = max(delay_ms for _, delay_ms in known.values())
        assert pytest.approx(longest_ms / 1000, rel=1 / 15, abs=0.001) == report.label_delay_seconds.p99


def check(report: WindowReport, scores: list[float], truth: list[str]) -> None:
    """Compare with what scikit-learn says of the labels that count now."""
    answers = [answer_of(score) for score in scores]
    events = [label == "yes" for label in truth]
    assert (REQUESTS, len(truth)) == (report.predictions, report.labelled)
    precision, recall, f1, _ = oracle.precision_recall_fscore_support(
        truth, answers, labels=["yes"], average="binary", pos_label="yes", zero_division=np.nan
    )
    kept = np.clip([score if event else 1 - score for score, event in zip(scores, events, strict=True)], LEAST, 1)
    expected = {
        "accuracy": oracle.accuracy_score(truth, answers),
        "balanced_accuracy": oracle.balanced_accuracy_score(truth, answers),
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "log_loss": float(-np.log(np.minimum(kept, 1 - LEAST)).mean()),
        "brier": oracle.brier_score_loss(events, scores),
    }
    for name, value in expected.items():
        actual = report.metrics[name].value
        assert math.isclose(value, math.nan if actual is None else actual, rel_tol=1e-9, abs_tol=1e-12) or (
            math.isnan(value) and actual is None
        ), name
    if any(events):
        assert_in_bracket(report.metrics["average_precision"], oracle.average_precision_score(events, scores))
    if any(events) and not all(events):
        assert_in_bracket(report.metrics["roc_auc"], oracle.roc_auc_score(events, scores))
    else:
        reason = "no_negative_labels" if any(events) else "no_positive_labels"
        assert reason == report.undefined["roc_auc"]


def assert_in_bracket(metric: Metric, value: float) -> None:
    assert metric.bracket is not UNSET
    low, high = metric.bracket
    assert low - 1e-12 <= value <= high + 1e-12
