"""What a rule concludes from one revision of one window.

    status, samples, coverage     not enough            INSUFFICIENT: no part of the fold
    filling                       evidence at any time  BREACH or UNDECIDED: never fine before it is certain
    closed, labels missing        certain               BREACH or FINE, whatever the missing labels say
    final                         tested once           BREACH or FINE

A one-sided rule with `confidence` c errs in at most (1 - c) / 2 of the windows that stand at its limit: half of it is
spent while a window fills, half when it is final. With m slices side by side each gets an m-th.
"""

from __future__ import annotations

import dataclasses
import math

from streams.alerting.decisions.anytime import log_evidence
from streams.alerting.decisions.exact import log_tail
from streams.alerting.observation import Observation, Trials
from streams.alerting.outcome import Grounds, Outcome
from streams.alerting.rules import Condition
from streams.quality.intervals import normal_quantile
from streams.windows import WindowStatus

__all__ = ["EXPECTED_SHARE", "Past", "Surroundings", "Verdict", "judge"]

EXPECTED_SHARE = 0.9
"""Of the coverage that past windows reached: early labels are no fair sample."""


@dataclasses.dataclass(frozen=True, slots=True)
class Past:
    """The figure of the like window that a relative rule compares with; a number of the configuration has no width."""

    value: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a verdict needs besides the window.

    `slices` are tested side by side. `report_level` is the confidence of `low` and `high` in reports.
    `usual_coverage` is what earlier final windows of the series reached; None while there are too few.
    """

    slices: int = 1
    report_level: float = 0.95
    past: Past | None = None
    usual_coverage: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """Outcome, why, the value that the figure was compared with, and the coverage that would be enough."""

    outcome: Outcome
    grounds: Grounds
    threshold: float | None = None
    wanted: float | None = None


def judge(when: Condition, seen: Observation, around: Surroundings) -> Verdict:
    """Conclude from one revision of one window; see above."""
    if seen.status not in when.status:
        return Verdict(Outcome.INSUFFICIENT, Grounds.STATUS)
    if when.against is not None and when.against.back_ms is not None and not seen.is_final:
        # Like windows are compared at like age of their labels: when both are final.
        return Verdict(Outcome.UNDECIDED, Grounds.FILLING)
    if when.against is not None and around.past is None:
        return Verdict(Outcome.INSUFFICIENT, Grounds.REFERENCE)
    threshold = when.value + (around.past.value if around.past else 0.0)
    if seen.value is None:
        return Verdict(Outcome.INSUFFICIENT, Grounds.UNDEFINED, threshold)
    if seen.n < when.min_samples:
        return Verdict(Outcome.INSUFFICIENT, Grounds.SAMPLES, threshold)
    certain = None if seen.is_final else _certain(when, seen, threshold, around)
    if certain is not None:
        return Verdict(certain, Grounds.CERTAIN, threshold)
    wanted = _wanted_coverage(when, seen, around)
    if seen.coverage is not None and (wanted is None or seen.coverage < wanted):
        return Verdict(Outcome.INSUFFICIENT, Grounds.COVERAGE, threshold, wanted)
    if when.confidence is None:
        breaks = when.op.holds(seen.value, threshold)
        return Verdict(Outcome.BREACH if breaks else Outcome.FINE, Grounds.POINT, threshold)
    if seen.is_final:
        breaks = _breaks_when_final(when, seen, threshold, around)
        return Verdict(Outcome.BREACH if breaks else Outcome.FINE, Grounds.FINAL, threshold)
    return _while_filling(when, seen, threshold, around)


def _wanted_coverage(when: Condition, seen: Observation, around: Surroundings) -> float | None:
    """The least coverage; None if nobody knows: then only a final window can have enough."""
    if when.min_coverage is not None:
        return when.min_coverage
    if seen.is_final:
        # What its own past reached, so that replaying the log gives the same answer whoever reads it, and when.
        return 0.0 if around.usual_coverage is None else EXPECTED_SHARE * around.usual_coverage
    return None if seen.expected_coverage is None else EXPECTED_SHARE * seen.expected_coverage


def _log_error(when: Condition, around: Surroundings) -> float:
    """Of one side, in one of the two halves of a window's life, for one slice."""
    assert when.confidence is not None
    return math.log((1.0 - when.confidence) / 4.0 / around.slices)


def _breaks_when_final(when: Condition, seen: Observation, threshold: float, around: Surroundings) -> bool:
    if seen.trials is not None and _is_fixed(around):
        return _tail_breaks(when, seen.trials, seen.trials.successes, seen.trials.n, threshold, around)
    return _interval_breaks(when, seen, around)


def _is_fixed(around: Surroundings) -> bool:
    return around.past is None or around.past.low == around.past.high


def _tail_breaks(
    when: Condition, trials: Trials, successes: int, n: int, threshold: float, around: Surroundings
) -> bool:
    share = trials.share_of(min(1.0, max(0.0, threshold)))
    if _is_on_good_side(successes, n, share, when):
        return False
    tail = log_tail(successes, n, share=share, is_below=when.op.is_below)
    return tail <= _log_error(when, around)


def _is_on_good_side(successes: int, n: int, share: float, when: Condition) -> bool:
    """Whether the sample itself is not beyond the limit: then its tail is at least a half, its evidence at most 1."""
    return successes >= n * share if when.op.is_below else successes <= n * share


def _interval_breaks(when: Condition, seen: Observation, around: Surroundings) -> bool:
    """Whether the difference is beyond the limit by its interval, looked at once.

    The interval of a difference is made of both by their distances (Newcombe's for proportions); both are stretched
    from the reports' confidence to the rule's as normal ones would be.
    """
    bound = seen.high if when.op.is_below else seen.low
    if seen.value is None or bound is None or when.confidence is None:
        return False
    stretch = normal_quantile(1.0 - (1.0 - when.confidence) / around.slices) / normal_quantile(around.report_level)
    past = around.past or Past(0.0, 0.0, 0.0)
    difference = seen.value - past.value
    if when.op.is_below:
        nearest = difference + stretch * math.hypot(bound - seen.value, past.value - past.low)
    else:
        nearest = difference - stretch * math.hypot(seen.value - bound, past.high - past.value)
    return when.op.holds(nearest, when.value)


def _while_filling(when: Condition, seen: Observation, threshold: float, around: Surroundings) -> Verdict:
    trials = seen.trials
    if trials is None or not _is_fixed(around):
        return Verdict(Outcome.UNDECIDED, Grounds.FILLING, threshold)
    share = trials.share_of(min(1.0, max(0.0, threshold)))
    if _is_on_good_side(trials.successes, trials.n, share, when):
        return Verdict(Outcome.UNDECIDED, Grounds.EARLY, threshold)
    evidence = log_evidence(trials.successes, trials.n, share=share, is_below=when.op.is_below)
    outcome = Outcome.BREACH if evidence >= -_log_error(when, around) else Outcome.UNDECIDED
    return Verdict(outcome, Grounds.EARLY, threshold)


def _certain(when: Condition, seen: Observation, threshold: float, around: Surroundings) -> Outcome | None:
    """What the final test will say whatever the missing labels are; None while that is open.

    Predictions of a window that is open are not all here, so nothing is certain of it.
    """
    if seen.status is not WindowStatus.PROVISIONAL:
        return None
    if seen.trials is None and when.confidence is not None and seen.possible == (seen.value, seen.value):
        # No label can move what is not about labels: it says now what it will say when final.
        return Outcome.BREACH if _interval_breaks(when, seen, around) else Outcome.FINE
    if not _is_fixed(around):
        return None
    if when.confidence is None:
        return _certain_point(when, seen, threshold)
    if seen.trials is None:
        return None
    best = seen.trials.if_missing_were(right=when.op.is_below)
    worst = seen.trials.if_missing_were(right=not when.op.is_below)
    if best is None or worst is None:
        return None
    if _tail_breaks(when, seen.trials, *best, threshold, around):
        return Outcome.BREACH
    return None if _tail_breaks(when, seen.trials, *worst, threshold, around) else Outcome.FINE


def _certain_point(when: Condition, seen: Observation, threshold: float) -> Outcome | None:
    if seen.possible is None:
        return None
    holds = [when.op.holds(bound, threshold) for bound in seen.possible]
    if all(holds):
        return Outcome.BREACH
    return None if any(holds) else Outcome.FINE
