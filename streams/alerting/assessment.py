"""One rule, one revision of one window: from what a report says to the alert's new state."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from streams.alerting.fold import Judged
from streams.alerting.life_cycle import AlertState, Phase, observe_window
from streams.alerting.observation import JudgedReport, Observation, observe
from streams.alerting.outcome import Grounds, Outcome
from streams.alerting.publication import alert_labels
from streams.alerting.record import AlertRecord
from streams.alerting.rules import AlertRule, Series
from streams.alerting.silence import TRAFFIC_SILENCE, Pulse
from streams.alerting.verdict import Past, Surroundings, judge
from streams.monitored_model import MonitoredModel
from streams.windows import WindowStatus

__all__ = ["assess", "assess_silence", "known_past", "new_record", "past_in", "record_name", "slices_tested"]


def record_name(rule: AlertRule, series: Series) -> str:
    """What the alert of a rule and a series is stored under."""
    signal = f" {series.signal}" if series.signal else ""
    return f"{rule.identity} {series.window_ms} {sorted(series.segment)}{signal}"


def new_record(rule: AlertRule, series: Series) -> AlertRecord:
    """The alert before its first window."""
    return AlertRecord(
        rule=rule.identity,
        group=rule.group,
        alert=rule.alert,
        labels=alert_labels(rule, series),
        series=series,
        state=AlertState(),
    )


def slices_tested(rule: AlertRule, reports: Iterable[JudgedReport]) -> int:
    """How many figures of one window are tested side by side: those that are meant and have enough samples."""
    count = 0
    for report in reports:
        if rule.when.matches(report.series):
            for series in rule.when.series_in(report.series, report.metrics):
                seen = observe(report, rule.when.metric_of(series))
                count += seen is not None and seen.n >= max(1, rule.when.min_samples)
    return max(1, count)


def known_past(metric: str, model: MonitoredModel) -> Past | None:
    """The number of the configuration that a figure is compared with."""
    value = model.references.get(metric)
    return None if value is None else Past(value, value, value)


def past_in(rule: AlertRule, metric: str, report: JudgedReport) -> Past | None:
    """The figure of the like window before; None if that is not final, or has none."""
    seen = observe(report, metric)
    if seen is None or not seen.is_final or seen.value is None or seen.n < rule.when.min_samples:
        return None
    return Past(
        seen.value, seen.value if seen.low is None else seen.low, seen.value if seen.high is None else seen.high
    )


def assess(
    record: AlertRecord, rule: AlertRule, report: JudgedReport, around: Surroundings, *, now_ms: int
) -> AlertRecord:
    """The alert after a revision of a window.

    Args:
        record: the alert before.
        rule: its rule.
        report: of a window of its series.
        around: what the verdict needs besides; the usual coverage is the alert's own.
        now_ms: the time that an alert starts or ends at.
    """
    seen = observe(report, rule.when.metric if record.series is None else rule.when.metric_of(record.series))
    if seen is None or (seen.status not in rule.when.status and seen.status is not WindowStatus.INCOMPLETE):
        return record
    around = dataclasses.replace(around, usual_coverage=record.state.usual_coverage)
    state, _ = observe_window(record.state, _judged(rule, seen, around), rule, now_ms)
    return dataclasses.replace(record, state=state)


def _judged(rule: AlertRule, seen: Observation, around: Surroundings) -> Judged:
    verdict = judge(rule.when, seen, around)
    return Judged(
        start_ms=seen.start_ms,
        end_ms=seen.end_ms,
        outcome=verdict.outcome,
        grounds=verdict.grounds,
        is_final=seen.is_final,
        value=seen.value,
        n=seen.n,
        threshold=verdict.threshold,
        low=seen.low,
        high=seen.high,
        coverage=seen.coverage,
        wanted=verdict.wanted,
        undefined=seen.undefined,
        slices=around.slices,
    )


def assess_silence(record: AlertRecord, rule: AlertRule, pulse: Pulse, *, now_ms: int) -> AlertRecord:
    """The alert of a rule on `traffic_silence`, which has no windows: wall time stands for theirs."""
    silence = pulse.silence(now_ms)
    if silence is None:
        return record
    breaks = rule.when.op.holds(silence, rule.when.value)
    if record.state.phase in ((Phase.FIRING,) if breaks else (Phase.INACTIVE, Phase.RESOLVED)):
        return record
    window = Judged(
        start_ms=now_ms,
        end_ms=now_ms,
        outcome=Outcome.BREACH if breaks else Outcome.FINE,
        grounds=Grounds.POINT,
        is_final=True,
        value=silence,
        n=len(pulse.starts_ms),
        threshold=rule.when.value,
    )
    state, _ = observe_window(record.state, window, rule, now_ms)
    return dataclasses.replace(record, state=state)


def rules_on(rules: Sequence[AlertRule], model: str, model_version: str) -> Mapping[str, AlertRule]:
    """The rules on a model version, by identity."""
    return {rule.identity: rule for rule in rules if rule.when.matches_model(model, model_version)}


def is_wall_time(rule: AlertRule) -> bool:
    """Whether the rule is about silence, and not about windows."""
    return rule.when.metric == TRAFFIC_SILENCE
