"""The life of one alert: what a new revision of a window, or time alone, makes of its state, and why.

Prometheus' life, with what labels that come late add to it:

    inactive -> pending -> firing -> resolved -> inactive
    insufficient_data, no_data, stale       nothing is known, which is not the same as well

Windows that are final are folded away in order; what is decided before its window is final stays in a short tail, so
that a revision folds again from its window. An alert that a revision takes back resolves, one that it brings fires
late, and both say so. Times that begin with `starts` and `ends` are the alert's own: wall time, or event time in a
backtest; all others are event time.
"""

from __future__ import annotations

import dataclasses
import enum

from streams.alerting.fold import NO_RUN, Judged, Run, advance, runs_of
from streams.alerting.outcome import Outcome
from streams.alerting.rules import AlertRule

__all__ = [
    "LATE_HOLD_MS",
    "RESOLVED_RETENTION_MS",
    "AlertState",
    "Notice",
    "Phase",
    "Reason",
    "Transition",
    "hush",
    "observe_window",
    "pass_time",
    "retire",
]

LATE_HOLD_MS = 5 * 60_000
"""How long an alert fires whose windows were over when it was found: receivers that group by the half minute
(Alertmanager's `group_wait`) would otherwise never see it."""
RESOLVED_RETENTION_MS = 15 * 60_000
"""As in Prometheus: for so long what is resolved is sent again, for receivers that were away."""
KEPT_TRANSITIONS = 20
KEPT_RUNS = 8
KEPT_COVERAGES = 24
_DECIDED = (Outcome.BREACH, Outcome.FINE)


class Phase(enum.StrEnum):
    """Where an alert stands."""

    INACTIVE = "inactive"
    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"
    INSUFFICIENT_DATA = "insufficient_data"
    NO_DATA = "no_data"
    STALE = "stale"


class Reason(enum.StrEnum):
    """Why an alert is where it stands. Closed: readers may branch on it."""

    BREACH = "breach"
    """A window breaks the rule."""
    LATE_BREACH = "late_breach"
    """A revision breaks the rule for windows that newer ones have followed."""
    RECOVERED = "recovered"
    """Newer windows are fine."""
    REVISED = "revised"
    """Labels that came later have taken the breach back."""
    FINE = "fine"
    TOO_LITTLE = "too_little"
    """Samples or labels are not enough to say whether a window is fine."""
    NOTHING_YET = "nothing_yet"
    """No window has had the figure."""
    SILENCE = "silence"
    """The model, or what is observed, has been silent for far longer than is usual."""
    RULE_GONE = "rule_gone"
    """No rule file has this rule any more, or not for this model."""
    EXPIRED = "expired"
    """It has been resolved for long enough."""
    ALWAYS = "always"
    """The watchdog fires as long as there is a monitor."""


@dataclasses.dataclass(frozen=True, slots=True)
class Transition:
    """A change of phase, when, why, and the window that it is about, if any."""

    at_ms: int
    phase: Phase
    reason: Reason
    window: Judged | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something to be told: that an alert fires, or with `ends_ms` that it is resolved.

    `since_ms` to `until_ms` is the event time of the breaches; `window` holds the figures, None for an alert that is
    about no window.
    """

    starts_ms: int
    reason: Reason
    since_ms: int = 0
    until_ms: int = 0
    window: Judged | None = None
    ends_ms: int | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AlertState:
    """All that is kept of one rule and series.

    `settled` is the run after all windows up to `settled_ms` (the start of the newest final one), `tail` what is
    decided of newer ones. `coverages` are those of the newest final windows. `told` are runs that have fired.
    `notice` is what was last said, `untold` what has yet to be said, in order; `sent_ms` when something was last sent.
    """

    phase: Phase = Phase.NO_DATA
    reason: Reason = Reason.NOTHING_YET
    phase_ms: int = 0
    settled: Run = NO_RUN
    settled_ms: int = -1
    tail: tuple[Judged, ...] = ()
    coverages: tuple[float, ...] = ()
    told: tuple[Run, ...] = ()
    newest: Judged | None = None
    is_late: bool = False
    notice: Notice | None = None
    untold: tuple[Notice, ...] = ()
    sent_ms: int = 0
    history: tuple[Transition, ...] = ()

    @property
    def usual_coverage(self) -> float | None:
        """The median coverage of final windows; None before there are three."""
        if len(self.coverages) < 3:
            return None
        return sorted(self.coverages)[len(self.coverages) // 2]

    @property
    def spoken_of(self) -> Judged | None:
        """The window that the alert is about: of one that fires the newest that breaks the rule, else the newest."""
        return self.notice.window if self.phase is Phase.FIRING and self.notice is not None else self.newest


def observe_window(state: AlertState, window: Judged, rule: AlertRule, now_ms: int) -> tuple[AlertState, Reason]:
    """Take in one revision of one window; `now_ms` is the time that an alert would start or end at.

    Returns: the new state, and why its phase is what it is.
    """
    was_breach = any(each.start_ms == window.start_ms and each.outcome is Outcome.BREACH for each in state.tail)
    state = _taken_in(state, window, rule)
    runs = list(runs_of(state.settled, state.tail, rule))
    if state.phase is Phase.FIRING:
        is_taken_back = was_breach and window.outcome is not Outcome.BREACH
        return _while_firing(state, runs[-1], window, now_ms, is_taken_back=is_taken_back)
    if runs[-1].is_firing:
        return _fire(state, runs[-1], Reason.BREACH, window, now_ms)
    over = [run for run in runs if run.is_firing and not any(map(run.overlaps, state.told))]
    if over:
        return _fire(state, over[-1], Reason.LATE_BREACH, window, now_ms)
    return _quiet(state, runs[-1], now_ms)


def pass_time(state: AlertState, now_ms: int, *, is_silent: bool = False) -> tuple[AlertState, Reason]:
    """What time alone changes: a late alert has been seen, a resolved one is forgotten, a silent model is stale."""
    if state.phase is Phase.FIRING:
        if is_silent:
            return _resolve(state, Reason.SILENCE, now_ms, into=Phase.STALE)
        if state.is_late and state.notice is not None and now_ms - state.notice.starts_ms >= LATE_HOLD_MS:
            return _resolve(state, Reason.RECOVERED, now_ms)
    elif is_silent and state.phase not in (Phase.STALE, Phase.NO_DATA, Phase.RESOLVED):
        return _into(state, Phase.STALE, Reason.SILENCE, now_ms), Reason.SILENCE
    elif state.phase is Phase.RESOLVED and now_ms - state.phase_ms >= RESOLVED_RETENTION_MS:
        return _into(state, Phase.INACTIVE, Reason.EXPIRED, now_ms), Reason.EXPIRED
    return state, state.reason


def retire(state: AlertState, now_ms: int) -> AlertState:
    """The state of a rule that is gone: what fires is resolved."""
    if state.phase is Phase.FIRING:
        state, _ = _resolve(state, Reason.RULE_GONE, now_ms)
    return state


def hush(state: AlertState) -> AlertState:
    """The state with nothing to be said of the past: whoever writes a rule is told what breaks it now."""
    if state.phase is Phase.FIRING and state.notice is not None:
        return dataclasses.replace(state, untold=(state.notice,))
    phase = Phase.INACTIVE if state.phase is Phase.RESOLVED else state.phase
    return dataclasses.replace(state, phase=phase, notice=None, untold=())


def _taken_in(state: AlertState, window: Judged, rule: AlertRule) -> AlertState:
    """The state with the window in its place: folded away if it is final, else in the tail."""
    decides = window.outcome in _DECIDED
    newest = state.newest
    # That a window still waits for its labels is no news beside one that has them.
    if newest is None or decides or window.is_final or not newest.is_final:
        newest = window
    if window.start_ms <= state.settled_ms:
        return state
    others = tuple(each for each in state.tail if each.start_ms != window.start_ms)
    if not window.is_final:
        # What was beyond doubt stays so until the window is final: the bound holds at every look.
        tail = tuple(sorted((*others, window), key=lambda each: each.start_ms)) if decides else state.tail
        return dataclasses.replace(state, tail=tail, newest=newest)
    coverages = state.coverages
    if window.coverage is not None:
        coverages = (*coverages, round(window.coverage, 3))[-KEPT_COVERAGES:]
    return dataclasses.replace(
        state,
        settled=advance(state.settled, window, rule) if decides else state.settled,
        settled_ms=window.start_ms,
        tail=tuple(each for each in others if each.start_ms > window.start_ms),
        coverages=coverages,
        newest=newest,
    )


def _while_firing(
    state: AlertState, run: Run, window: Judged, now_ms: int, *, is_taken_back: bool
) -> tuple[AlertState, Reason]:
    notice = state.notice
    assert notice is not None, "what fires has been said"
    if run.is_firing and run.since_ms is not None:
        shown = window if window.outcome is Outcome.BREACH else notice.window
        notice = dataclasses.replace(notice, since_ms=run.since_ms, until_ms=run.until_ms, window=shown)
        return dataclasses.replace(state, notice=notice, told=_told(state, run), is_late=False), state.reason
    if state.is_late:
        return state, state.reason
    return _resolve(state, Reason.REVISED if is_taken_back else Reason.RECOVERED, now_ms, window=window)


def _fire(state: AlertState, run: Run, reason: Reason, window: Judged, now_ms: int) -> tuple[AlertState, Reason]:
    assert run.since_ms is not None
    notice = Notice(starts_ms=now_ms, reason=reason, since_ms=run.since_ms, until_ms=run.until_ms, window=window)
    state = _into(state, Phase.FIRING, reason, now_ms, window)
    told = _told(state, run)
    is_late = reason is Reason.LATE_BREACH
    return dataclasses.replace(state, notice=notice, untold=(*state.untold, notice), told=told, is_late=is_late), reason


def _resolve(
    state: AlertState, reason: Reason, now_ms: int, *, into: Phase = Phase.RESOLVED, window: Judged | None = None
) -> tuple[AlertState, Reason]:
    assert state.notice is not None, "what fires has been said"
    notice = dataclasses.replace(
        state.notice, ends_ms=now_ms, reason=reason, window=window if window is not None else state.notice.window
    )
    state = _into(state, into, reason, now_ms, window)
    return dataclasses.replace(state, notice=notice, untold=(*state.untold, notice), is_late=False), reason


def _quiet(state: AlertState, run: Run, now_ms: int) -> tuple[AlertState, Reason]:
    """Not firing, and was not: pending, fine, or not known."""
    newest = state.newest
    assert newest is not None, "a window was taken in"
    if run.since_ms is not None:
        phase, reason = Phase.PENDING, Reason.BREACH
    elif newest.outcome not in _DECIDED and (newest.is_final or state.settled_ms < 0):
        phase, reason = Phase.INSUFFICIENT_DATA, Reason.TOO_LITTLE
    else:
        phase, reason = Phase.INACTIVE, Reason.FINE
    if phase is not Phase.PENDING and state.phase is Phase.RESOLVED:
        return state, state.reason
    return _into(state, phase, reason, now_ms, newest), reason


def _into(state: AlertState, phase: Phase, reason: Reason, now_ms: int, window: Judged | None = None) -> AlertState:
    if phase is state.phase:
        return state if reason is state.reason else dataclasses.replace(state, reason=reason)
    history = (*state.history, Transition(now_ms, phase, reason, window))[-KEPT_TRANSITIONS:]
    return dataclasses.replace(state, phase=phase, reason=reason, phase_ms=now_ms, history=history)


def _told(state: AlertState, run: Run) -> tuple[Run, ...]:
    return (*(each for each in state.told if not each.overlaps(run)), run)[-KEPT_RUNS:]
