"""Decisions on windows: exact tails against SciPy, evidence against its own promise, and what a verdict rests on."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from streams.alerting.decisions.anytime import log_evidence
from streams.alerting.decisions.exact import log_tail
from streams.alerting.observation import Observation, Trials
from streams.alerting.outcome import Grounds, Outcome
from streams.alerting.rules import Condition, Op
from streams.alerting.verdict import Past, Surroundings, judge
from streams.windows import WindowStatus

BELOW = Condition(metric="accuracy", op=Op.LESS, value=0.9)
LOG_ERROR = math.log(0.05 / 4)


def window(
    successes: int, n: int, *, status: WindowStatus = WindowStatus.FINAL, missing: int = 0, **others: Any
) -> Observation:
    """An accuracy of which `missing` labels are not here."""
    possible = (successes / (n + missing), (successes + missing) / (n + missing))
    fields: dict[str, Any] = {
        "start_ms": 0,
        "end_ms": 300_000,
        "status": status,
        "revision": 1,
        "value": successes / n,
        "low": 0.0,
        "high": 1.0,
        "n": n,
        "trials": Trials(successes, n, possible),
        "possible": possible,
        "coverage": n / (n + missing),
        "expected_coverage": 1.0,
    }
    return Observation(**fields | others)


# --- tails -----------------------------------------------------------------------------------------------------------


@given(st.integers(1, 200_000), st.floats(0.001, 0.999), st.floats(-6, 6), st.booleans())
def test_tails_are_those_of_scipys_exact_test(n: int, share: float, deviations: float, is_below: bool) -> None:
    spread = math.sqrt(n * share * (1 - share))
    successes = min(n, max(0, round(n * share + deviations * spread)))
    side = "less" if is_below else "greater"
    expected = scipy.stats.binomtest(successes, n, share, alternative=side).pvalue
    found = math.exp(log_tail(successes, n, share=share, is_below=is_below))
    assert pytest.approx(expected, rel=1e-7, abs=1e-290) == found


def test_tails_at_the_ends_are_zero_or_one() -> None:
    assert 0.0 == log_tail(10, 10, share=0.5, is_below=True)
    assert 0.0 == log_tail(0, 10, share=0.5, is_below=False)
    assert -math.inf == log_tail(9, 10, share=1.0, is_below=True)
    assert 0.0 == log_tail(0, 10, share=0.0, is_below=True)


def test_tail_far_below_the_smallest_double_still_has_a_logarithm() -> None:
    n, successes = 4_000, 2_000  # of a true share of nine tenths, in whole numbers: the sum of C(n, k) 9^k / 10^n
    ways = sum(math.comb(n, k) * 9**k for k in range(successes + 1))
    expected = math.log(ways >> ways.bit_length() - 60) + (ways.bit_length() - 60) * math.log(2) - n * math.log(10)
    assert expected < -1_500
    assert pytest.approx(expected, rel=1e-9) == log_tail(successes, n, share=0.9, is_below=True)


# --- evidence --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.8, 0.99])
@pytest.mark.parametrize("is_below", [True, False])
def test_expected_evidence_after_any_number_of_labels_is_one_at_the_limit(share: float, is_below: bool) -> None:
    for n in (1, 7, 60):
        chances = scipy.stats.binom.pmf(np.arange(n + 1), n, share)
        evidence = [math.exp(log_evidence(k, n, share=share, is_below=is_below)) for k in range(n + 1)]
        assert pytest.approx(1.0, rel=1e-9) == float(np.dot(chances, evidence))


def test_expected_evidence_is_less_than_one_on_the_good_side() -> None:
    chances = scipy.stats.binom.pmf(np.arange(61), 60, 0.9)
    assert 0.9 > float(np.dot(chances, [math.exp(log_evidence(k, 60, share=0.85, is_below=True)) for k in range(61)]))


def test_a_single_failure_proves_that_a_share_is_not_one() -> None:
    assert math.inf == log_evidence(9, 10, share=1.0, is_below=True)
    assert 0.0 == log_evidence(10, 10, share=1.0, is_below=True)


# --- verdicts --------------------------------------------------------------------------------------------------------


def test_final_window_breaks_exactly_when_its_tail_is_within_half_of_the_error() -> None:
    for successes in range(400, 451):
        tail = scipy.stats.binomtest(successes, 500, 0.9, alternative="less").pvalue
        expected = Outcome.BREACH if tail <= 0.05 / 4 else Outcome.FINE
        assert expected == judge(BELOW, window(successes, 500), Surroundings()).outcome


def test_window_that_fills_is_undecided_until_its_evidence_is_enough() -> None:
    for successes in range(400, 451):
        trials = Trials(successes, 500)
        seen = window(successes, 500, status=WindowStatus.PROVISIONAL, missing=50, trials=trials, expected_coverage=0.9)
        is_proven = log_evidence(successes, 500, share=0.9, is_below=True) >= -LOG_ERROR
        assert (Outcome.BREACH if is_proven else Outcome.UNDECIDED) == judge(BELOW, seen, Surroundings()).outcome


def test_early_labels_are_no_sample_however_bad_they_look() -> None:
    seen = window(100, 500, status=WindowStatus.PROVISIONAL, missing=5_000, expected_coverage=0.9)
    verdict = judge(BELOW, seen, Surroundings())
    assert (Outcome.INSUFFICIENT, Grounds.COVERAGE) == (verdict.outcome, verdict.grounds)
    assert pytest.approx(0.81) == verdict.wanted


def test_breach_that_no_missing_label_can_undo_needs_no_coverage() -> None:
    seen = window(100, 500, status=WindowStatus.PROVISIONAL, missing=500, expected_coverage=1.0)
    assert (Outcome.BREACH, Grounds.CERTAIN) == _told(judge(BELOW, seen, Surroundings()))


def test_certainty_is_what_the_final_test_would_say_of_the_best_outcome() -> None:
    for missing in range(0, 2_000, 7):
        seen = window(400, 500, status=WindowStatus.PROVISIONAL, missing=missing, expected_coverage=None)
        at_best = judge(BELOW, window(400 + missing, 500 + missing), Surroundings())
        is_certain = judge(BELOW, seen, Surroundings()).outcome is Outcome.BREACH
        assert (at_best.outcome is Outcome.BREACH) == is_certain


def test_nothing_is_certain_of_a_window_whose_predictions_are_not_all_here() -> None:
    when = dataclasses.replace(BELOW, status=(WindowStatus.OPEN,))
    seen = window(100, 500, status=WindowStatus.OPEN, missing=0, expected_coverage=None)
    assert (Outcome.INSUFFICIENT, Grounds.COVERAGE) == _told(judge(when, seen, Surroundings()))


def test_window_that_is_fine_whatever_comes_is_fine_before_it_is_final() -> None:
    seen = window(499, 500, status=WindowStatus.PROVISIONAL, missing=10, expected_coverage=None)
    assert (Outcome.FINE, Grounds.CERTAIN) == _told(judge(BELOW, seen, Surroundings()))


def test_final_window_has_the_coverage_of_its_own_past_or_is_no_sample() -> None:
    seen = window(400, 500, missing=500)
    assert Outcome.BREACH is judge(BELOW, seen, Surroundings()).outcome
    assert Outcome.BREACH is judge(BELOW, seen, Surroundings(usual_coverage=0.55)).outcome
    assert (Outcome.INSUFFICIENT, Grounds.COVERAGE) == _told(judge(BELOW, seen, Surroundings(usual_coverage=0.9)))


def test_confidence_is_divided_by_the_slices_that_are_tested_side_by_side() -> None:
    successes = next(
        k for k in range(450, 0, -1) if scipy.stats.binomtest(k, 500, 0.9, alternative="less").pvalue <= 0.05 / 4
    )
    assert Outcome.BREACH is judge(BELOW, window(successes, 500), Surroundings(slices=1)).outcome
    assert Outcome.FINE is judge(BELOW, window(successes, 500), Surroundings(slices=20)).outcome


def test_rule_without_confidence_compares_the_value_itself() -> None:
    when = dataclasses.replace(BELOW, confidence=None)
    outcomes = [judge(when, window(successes, 1000), Surroundings()).outcome for successes in (899, 900)]
    assert [Outcome.BREACH, Outcome.FINE] == outcomes


def test_too_few_samples_are_no_part_of_the_fold() -> None:
    assert (Outcome.INSUFFICIENT, Grounds.SAMPLES) == _told(judge(BELOW, window(0, 29), Surroundings()))


def test_figure_without_trials_is_tested_once_through_its_interval() -> None:
    when = Condition(metric="mae", op=Op.MORE, value=2.0)
    clear = window(1, 100, value=2.5, low=2.1, high=3.0, trials=None, possible=None)
    close = dataclasses.replace(clear, low=1.9)
    filling = dataclasses.replace(clear, status=WindowStatus.PROVISIONAL)
    assert (Outcome.BREACH, Grounds.FINAL) == _told(judge(when, clear, Surroundings()))
    assert (Outcome.FINE, Grounds.FINAL) == _told(judge(when, close, Surroundings()))
    assert (Outcome.UNDECIDED, Grounds.FILLING) == _told(judge(when, filling, Surroundings()))


def test_figure_that_is_bounded_on_the_side_that_matters_alone_is_tested_by_it() -> None:
    when = Condition(metric="latency_p99_ms", op=Op.MORE, value=200)
    seen = window(1, 100, value=300.0, low=250.0, high=None, trials=None, possible=None)
    assert Outcome.BREACH is judge(when, seen, Surroundings()).outcome
    assert Outcome.FINE is judge(dataclasses.replace(when, op=Op.LESS, value=400), seen, Surroundings()).outcome


@pytest.mark.parametrize(("low", "outcome"), [(251.0, Outcome.BREACH), (249.0, Outcome.FINE)])
def test_figure_that_no_label_can_move_is_tested_when_its_window_closes(low: float, outcome: Outcome) -> None:
    slow = Condition(metric="latency_p99_ms", op=Op.MORE, value=250.0)
    seen = window(90, 100, value=300.0, low=low, high=None, trials=None, possible=(300.0, 300.0), coverage=None)
    closed = dataclasses.replace(seen, status=WindowStatus.PROVISIONAL)
    assert (outcome, Grounds.CERTAIN) == _told(judge(slow, closed, Surroundings()))
    assert (outcome, Grounds.FINAL) == _told(judge(slow, seen, Surroundings()))


def test_relative_rule_compares_with_the_like_window_by_both_intervals() -> None:
    when = Condition(metric="accuracy", op=Op.LESS, value=-0.02)
    seen = window(850, 1000, value=0.85, low=0.83, high=0.87)
    certain_past = Past(0.92, 0.91, 0.93)
    doubtful_past = Past(0.90, 0.80, 0.95)
    assert Outcome.BREACH is judge(when, seen, Surroundings(past=certain_past)).outcome
    assert Outcome.FINE is judge(when, seen, Surroundings(past=doubtful_past)).outcome


def test_f1_is_tested_as_the_share_that_it_is_made_of() -> None:
    # 80 found, 20 missed, 20 wrong: F1 = 0.8, and j = 80 / 120.
    trials = Trials(80, 120, (80 / 130, 90 / 130), is_f1=True)
    assert pytest.approx(2 / 3) == trials.share_of(0.8)
    assert (90, 130) == trials.if_missing_were(right=True)
    assert (80, 130) == trials.if_missing_were(right=False)


def _told(verdict: Any) -> tuple[Outcome, Grounds]:
    return verdict.outcome, verdict.grounds
