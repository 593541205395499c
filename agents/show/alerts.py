"""Alerts on a screen of 80 columns and as JSON: how each one stands, since when, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.text import Text

from agents.durations import duration_text
from agents.show.drawing import age, number, share
from agents.terminal_text import cell_len, fit, printable
from schemas.times import format_time
from streams.alerting.fingerprint import fingerprint
from streams.alerting.fold import Judged
from streams.alerting.life_cycle import Phase, Reason
from streams.alerting.outcome import Grounds
from streams.alerting.record import AlertRecord

__all__ = ["HOW", "LOUD", "PHASES", "WHY", "alert_screen", "alert_value", "alerts_screen", "worst_alerts_first"]

PHASES: Mapping[Phase, str] = {
    Phase.FIRING: "firing",
    Phase.PENDING: "pending",
    Phase.STALE: "stale",
    Phase.RESOLVED: "resolved",
    Phase.INSUFFICIENT_DATA: "too little data",
    Phase.NO_DATA: "no data",
    Phase.INACTIVE: "inactive",
}
"""In words, in the order of the screen."""
LOUD = frozenset({Phase.FIRING, Phase.PENDING, Phase.STALE, Phase.RESOLVED})
"""What is listed without being asked for."""
STYLES = {
    Phase.FIRING: "bold red",
    Phase.PENDING: "yellow",
    Phase.STALE: "magenta",
    Phase.RESOLVED: "green",
}
WHY: Mapping[Reason, str] = {
    Reason.BREACH: "a window breaks the rule",
    Reason.LATE_BREACH: "late labels broke a window that newer ones have followed",
    Reason.RECOVERED: "newer windows are fine",
    Reason.REVISED: "late labels have taken the breach back",
    Reason.FINE: "the newest window is fine",
    Reason.TOO_LITTLE: "too few samples, or labels, to judge",
    Reason.NOTHING_YET: "no window has had the figure yet",
    Reason.SILENCE: "nothing has come for far longer than is usual",
    Reason.RULE_GONE: "no rule file has this rule for this model any more",
    Reason.EXPIRED: "it was resolved long enough ago",
    Reason.ALWAYS: "it always fires, as long as there is a monitor",
}
HOW: Mapping[Grounds, str] = {
    Grounds.FINAL: "tested with all labels that will come",
    Grounds.EARLY: "beyond doubt although labels are due",
    Grounds.CERTAIN: "whatever the missing labels say",
    Grounds.POINT: "the value itself, without confidence",
    Grounds.STATUS: "the rule does not look at windows in this state",
    Grounds.UNDEFINED: "the figure is undefined",
    Grounds.SAMPLES: "fewer samples than min_samples",
    Grounds.COVERAGE: "fewer labels than min_coverage asks for",
    Grounds.REFERENCE: "nothing to compare with yet",
    Grounds.FILLING: "this figure is judged once, when final",
}
GAP = "  "
FINGERPRINT_SHOWN = 8
"""Digits; `alerts show` takes a beginning of a fingerprint."""
_ORDER = {phase: at for at, phase in enumerate(PHASES)}
_IDENTITY = ("alertname", "model", "model_version", "severity", "rule")


def worst_alerts_first(records: Sequence[AlertRecord]) -> list[AlertRecord]:
    """What fires first, then by the rest of `PHASES`; of the same phase the latest change first."""
    return sorted(records, key=lambda record: (_ORDER[record.state.phase], -record.state.phase_ms, record.alert))


def alerts_screen(shown: Sequence[AlertRecord], *, every: Sequence[AlertRecord], now_ms: int, width: int) -> list[Text]:
    """Two lines for each alert.

    Args:
        shown: in the order of the screen.
        every: all that were asked about, for the counts at the top.
        now_ms: to tell how old changes are.
        width: cells of a line.
    """
    counts = Counter(record.state.phase for record in every)
    told = ", ".join(f"{counts[phase]:,} {word}" for phase, word in PHASES.items() if counts[phase])
    hidden = len(every) - len(shown)
    lines = [Text(f"{told}{'; --all lists all' if hidden else ''}")]
    for record in shown:
        lines += [Text(""), _head(record, now_ms, width), _detail(record, width)]
    return lines


def alert_screen(record: AlertRecord, *, now_ms: int, width: int) -> list[Text]:
    """Everything about one alert: state, reason, figures, labels, what became of it before."""
    state = record.state
    lines = [_head(record, now_ms, width), Text("")]
    rows = {
        "reason": WHY[state.reason],
        "since": f"{format_time(state.phase_ms)}",
        "group": record.group,
        **dict(sorted(record.labels.items())),
        "fingerprint": fingerprint(record.labels),
        **(_window_rows(state.newest) if state.newest is not None else {}),
    }
    names = max(map(cell_len, rows))
    for name, value in rows.items():
        lines.append(Text(_cut(f"{fit(name, names)}{GAP}{printable(value)}", width)))
    if state.history:
        lines += [Text(""), Text("history, newest first, UTC", style="bold")]
        lines += [Text(_cut(line, width)) for line in _history(record)]
    return lines


def alert_value(record: AlertRecord) -> dict[str, Any]:
    """The same for programs."""
    state, series = record.state, record.series
    return {
        "fingerprint": fingerprint(record.labels),
        "alert": record.alert,
        "group": record.group,
        "labels": dict(record.labels),
        "model": series.model if series else None,
        "model_version": series.model_version if series else None,
        "segment": dict(series.segment) if series else None,
        "window_seconds": series.window_ms // 1000 if series else None,
        "state": str(state.phase),
        "reason": str(state.reason),
        "since": format_time(state.phase_ms),
        "newest": _window_value(state.newest),
        "history": [
            {
                "at": format_time(change.at_ms),
                "state": str(change.phase),
                "reason": str(change.reason),
                "window": _window_value(change.window),
            }
            for change in state.history
        ],
    }


def _head(record: AlertRecord, now_ms: int, width: int) -> Text:
    state, labels = record.state, record.labels
    since = age(now_ms - state.phase_ms) if state.phase_ms else ""
    who = f"{labels.get('model', '')} {labels.get('model_version', '')}".strip()
    others = ", ".join(f"{name}={value}" for name, value in sorted(labels.items()) if name not in _IDENTITY)
    words = [PHASES[state.phase], record.alert, who, others]
    text = printable(GAP.join(word for word in words if word))
    line = Text(fit(text, width - len(GAP) - cell_len(since)) + GAP + since)
    line.stylize(STYLES.get(state.phase, ""), 0, len(words[0]))
    return line


def _detail(record: AlertRecord, width: int) -> Text:
    state = record.state
    rule = record.labels.get("rule", "")
    # One word, which `alerts show` explains: the sentence would not fit beside the figures.
    reason = state.reason.replace("_", " ")
    window = state.spoken_of
    told = f"{_figure(window)}; {reason}" if window else reason
    handle = fingerprint(record.labels)[:FINGERPRINT_SHOWN]
    text = printable(f"{GAP}{rule}: {told}" if rule else f"{GAP}{told}")
    return Text(fit(text, width - len(GAP) - len(handle)) + GAP + handle)


def _figure(window: Judged) -> str:
    if window.value is None:
        return f"undefined ({window.undefined})" if window.undefined else "undefined"
    bounds = "" if window.low is None or window.high is None else f" [{number(window.low)}, {number(window.high)}]"
    against = "" if window.threshold is None else f" against {number(window.threshold)}"
    return f"{number(window.value)}{bounds}{against}, n {window.n:,}"


def _window_rows(window: Judged) -> dict[str, str]:
    return {
        "newest window": f"{format_time(window.start_ms)}, {duration_text(window.end_ms - window.start_ms)}",
        "figure": _figure(window),
        "coverage": share(window.coverage),
        "judged": f"{window.outcome}: {HOW[window.grounds]}",
    }


def _history(record: AlertRecord) -> Iterator[str]:
    changes = record.state.history
    widest = max(cell_len(PHASES[change.phase]) for change in changes)
    for change in reversed(changes):
        figure = "" if change.window is None else f": {_figure(change.window)}"
        at = format_time(change.at_ms)[len("2026-") :][: len("11-27T12:00:00")].replace("T", " ")
        yield f"{at}{GAP}{fit(PHASES[change.phase], widest)}{GAP}{change.reason.replace('_', ' ')}{figure}"


def _window_value(window: Judged | None) -> dict[str, Any] | None:
    if window is None:
        return None
    return {
        "start": format_time(window.start_ms),
        "end": format_time(window.end_ms),
        "outcome": str(window.outcome),
        "grounds": str(window.grounds),
        "value": window.value,
        "low": window.low,
        "high": window.high,
        "threshold": window.threshold,
        "n": window.n,
        "coverage": window.coverage,
        "undefined": window.undefined,
    }


def _cut(text: str, width: int) -> str:
    return fit(text, min(cell_len(text), width))
