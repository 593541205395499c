"""From an alert and what is to be said of it to the record on the alerts topic.

Labels identify: the same for as long as the alert lives. Everything that changes from one revision to the next stands
in annotations. An alert that fires ends a little later by itself, so that nothing is left behind by a dead monitor.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import uuid
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from schemas.alert import Alert
from schemas.codec import cloud_event_headers, encode
from schemas.times import format_time
from schemas.window_report import NAMESPACE
from streams.alerting.fingerprint import fingerprint
from streams.alerting.life_cycle import AlertState, Notice, Phase, Reason
from streams.alerting.outcome import Grounds
from streams.alerting.record import AlertRecord
from streams.alerting.rules import AlertRule, Op, Series
from streams.alerting.templates import Value, expand
from streams.ports import OutgoingMessage
from streams.signals.definitions import names_signals

__all__ = ["DEFAULT_SEVERITY", "AlertSettings", "alert_annotations", "alert_labels", "alert_message", "to_say"]

RESEND_DELAY_MS = 60_000
"""As in Prometheus."""
ENDS_AFTER = 4
"""Resend delays, as in Prometheus: three may be lost before a receiver takes the alert for resolved."""
DEFAULT_SEVERITY = "warning"
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_]")
_UNITS_MS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"))

_HOW = {
    Grounds.FINAL: "all labels that will come are here",
    Grounds.EARLY: "labels are still due, and those that came leave no doubt",
    Grounds.CERTAIN: "whatever the missing labels say",
    Grounds.POINT: "as it stands",
}
_WHY = {
    Reason.LATE_BREACH: "Found late: labels that came later broke windows that newer ones have followed.",
    Reason.RECOVERED: "Newer windows are fine.",
    Reason.REVISED: "Labels that came later have taken the breach back.",
    Reason.SILENCE: "Nothing has come for far longer than is usual, so nothing is known of it now.",
    Reason.RULE_GONE: "No rule file has this rule for this model any more.",
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AlertSettings:
    """What publishing needs of the configuration.

    `topic` is where alerts go, `source` the URI reference that names this sender, `address` the URL under which
    people find the monitor. `interval_ms` is the time between evaluations.
    """

    topic: str
    source: str
    address: str
    interval_ms: int

    @property
    def resend_ms(self) -> int:
        """Between two records about an alert that did not change."""
        return max(RESEND_DELAY_MS, self.interval_ms)


def to_say(state: AlertState, now_ms: int, settings: AlertSettings) -> Sequence[Notice]:
    """What has to be said of an alert now: what never was, in order, or once more what holds or was resolved lately."""
    if state.untold:
        # The last one as it stands now: figures may have moved on since.
        return (*state.untold[:-1], state.notice or state.untold[-1])
    # A clock that was set back holds nothing up.
    is_due = not state.sent_ms <= now_ms < state.sent_ms + settings.resend_ms
    if state.notice is not None and state.phase in (Phase.FIRING, Phase.RESOLVED) and is_due:
        return (state.notice,)
    return ()


def alert_labels(rule: AlertRule, series: Series) -> dict[str, str]:
    """The labels of the alert of a rule and a series. Those without a value are left out."""
    when = rule.when
    labels = {
        "alertname": rule.alert,
        "model": series.model,
        "model_version": series.model_version,
        "severity": DEFAULT_SEVERITY,
        "rule": f"{when.metric_of(series)}-{_size(series.window_ms)}",
        **({"signal": series.signal} if series.signal else {}),
    }
    for name, value in series.segment:
        safe = _NOT_IN_NAMES.sub("_", name)
        labels[f"segment_{safe}" if safe in labels or safe[0].isdigit() else safe] = value
    own = {name: expand(text, labels, {}) for name, text in rule.labels.items()}
    return {name: value for name, value in (labels | own).items() if value}


def alert_message(
    record: AlertRecord, notice: Notice, rule: AlertRule | None, *, now_ms: int, settings: AlertSettings
) -> OutgoingMessage:
    """The record to be written.

    Args:
        record: whose alert it is.
        notice: what is to be said.
        rule: for its texts; None if it is gone, or the alert is the monitor's own.
        now_ms: wall clock.
        settings: topic and sender.
    """
    labels = dict(record.labels)
    ends_ms = now_ms + ENDS_AFTER * settings.resend_ms if notice.ends_ms is None else notice.ends_ms
    alert = Alert(
        labels=labels,
        annotations=alert_annotations(record, notice, rule),
        starts_at=format_time(notice.starts_ms),
        ends_at=format_time(max(ends_ms, notice.starts_ms)),
        generator_url=f"{settings.address}/?{_page(labels)}",
        status="firing" if notice.ends_ms is None else "resolved",
        fingerprint=fingerprint(labels),
        name=record.alert,
        severity=labels.get("severity", DEFAULT_SEVERITY),
        reason=notice.reason.value,
    )
    value = encode(alert)
    key = alert.fingerprint.encode()
    identity = uuid.uuid5(NAMESPACE, alert.fingerprint + hashlib.sha256(value).hexdigest())
    headers = cloud_event_headers("alert", event_id=str(identity), source=settings.source, time_ms=now_ms)
    return OutgoingMessage(topic=settings.topic, key=key, value=value, headers=headers)


def _page(labels: Mapping[str, str]) -> str:
    """Which page shows what the alert is about: its model, or the monitor itself."""
    if "model" not in labels:
        return "view=system"
    named = {"model": labels["model"], "version": labels.get("model_version", "")}
    return urlencode({name: value for name, value in named.items() if value})


def alert_annotations(record: AlertRecord, notice: Notice, rule: AlertRule | None) -> dict[str, str]:
    """What describes the alert: the monitor's own texts and figures, and over them those of the rule."""
    if rule is None or notice.window is None:
        summary = "The monitor works; this alert always fires." if notice.window is None else record.alert
        return {"summary": summary, "description": _WHY.get(notice.reason, "")}
    window = notice.window
    values: dict[str, Value] = {
        "value": window.value,
        "threshold": window.threshold,
        "ci_low": window.low,
        "ci_high": window.high,
        "samples": str(window.n),
        "coverage": window.coverage,
        "window_start": format_time(window.start_ms),
        "window_end": format_time(window.end_ms),
        "slices": str(window.slices),
        "reason": notice.reason.value,
    }
    given = {name: _number(value) for name, value in values.items() if value is not None and name not in _SELDOM}
    if window.slices > 1:
        given["slices"] = str(window.slices)
    own = {name: expand(text, record.labels, values) for name, text in rule.annotations.items()}
    return {"summary": _summary(record, notice, rule), "description": _description(notice, rule)} | given | own


_SELDOM = frozenset({"slices", "reason"})


def _summary(record: AlertRecord, notice: Notice, rule: AlertRule) -> str:
    window, when = notice.window, rule.when
    assert window is not None, "a rule has said it"
    labels = record.labels
    who = " ".join(filter(None, (labels.get("model", ""), labels.get("model_version", "")))) or "the monitor"
    slices = "".join(f", {name} {value}" for name, value in record.series.segment) if record.series else ""
    op = str(when.op) if notice.ends_ms is None else _NOT[when.op]
    metric = when.metric_of(record.series) if record.series else when.metric
    return f"{metric} of {who}{slices}: {_number(window.value)} {op} {_number(window.threshold)} over {window.n}"


_NOT = {Op.LESS: "no longer <", Op.AT_MOST: "no longer <=", Op.MORE: "no longer >", Op.AT_LEAST: "no longer >="}


def _description(notice: Notice, rule: AlertRule) -> str:
    window = notice.window
    assert window is not None, "a rule has said it"
    pieces = [_WHY.get(notice.reason, "")]
    if window.grounds in _HOW:
        pieces.append(f"Window {format_time(window.start_ms)} to {format_time(window.end_ms)}: {_HOW[window.grounds]}.")
    pieces.append(f"The breach spans {format_time(notice.since_ms)} to {format_time(notice.until_ms)}.")
    if rule.when.confidence is not None:
        among = (
            f", divided over {window.slices} {'signals' if names_signals(rule.when.metric) else 'slices'}"
            if window.slices > 1
            else ""
        )
        pieces.append(f"Confidence {rule.when.confidence:g}{among}.")
    return " ".join(filter(None, pieces))


def _number(value: Value) -> str:
    if value is None or isinstance(value, str):
        return value or "undefined"
    return f"{value:.4g}"


def _size(window_ms: int) -> str:
    for unit_ms, unit in _UNITS_MS:
        if window_ms % unit_ms == 0:
            return f"{window_ms // unit_ms}{unit}"
    return f"{window_ms}ms"
