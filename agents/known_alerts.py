"""What a worker remembers of the alerts of one model version, and what time alone changes about them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping

from schemas.times import parse_time_ms
from streams.alerting.assessment import assess_silence, is_wall_time, new_record, record_name
from streams.alerting.life_cycle import pass_time, retire
from streams.alerting.record import AlertRecord
from streams.alerting.rules import AlertRule, Series
from streams.alerting.silence import SILENT_AFTER, Pulse, PulsePlace, place_of_report, place_of_series
from streams.alerting.watchdog import watchdog

__all__ = ["KnownAlerts", "pulses_after"]


@dataclasses.dataclass(slots=True)
class KnownAlerts:
    """Its alerts as stored, the rules on it, and its pulses.

    The monitor itself stands in place of a model whose name and version are empty; the watchdog is among its alerts.
    """

    model: str
    model_version: str
    version: int
    alerts: dict[str, AlertRecord]
    rules: Mapping[str, AlertRule]
    pulses: dict[PulsePlace, Pulse]
    unseen: set[str]
    """Identities of rules that have yet to look at windows from before they were written."""
    unadmitted: set[str] = dataclasses.field(default_factory=set)
    """Names of alerts that are here and not stored yet."""
    on: dict[Series, tuple[AlertRule, ...]] = dataclasses.field(default_factory=dict)

    def rules_on(self, series: Series) -> tuple[AlertRule, ...]:
        """The rules that are about windows of a series."""
        if series not in self.on:
            rules = self.rules.values()
            self.on[series] = tuple(rule for rule in rules if not is_wall_time(rule) and rule.when.matches(series))
        return self.on[series]

    def concerns(self, key: bytes) -> bool:
        """Whether some rule is about the report of a key."""
        _, model, version, segment, size_seconds, _ = json.loads(key)
        return bool(self.rules_on(Series(model, version, tuple(sorted(segment.items())), size_seconds * 1000)))

    def feel(self, news: Iterable[bytes], *, now_ms: int, is_blind: bool) -> None:
        """Note that reports of these keys have come; to who is blind silence means nothing."""
        self.pulses = pulses_after(self.pulses, news, now_ms=now_ms)
        if is_blind:
            self.pulses = {at: dataclasses.replace(pulse, seen_ms=now_ms) for at, pulse in self.pulses.items()}

    def let_time_pass(self, changed: dict[str, AlertRecord], *, now_ms: int) -> None:
        """Add to the alerts that change what changes without a report: silence, what was seen for long enough, rules
        that are gone."""
        if not self.model and (dog := watchdog(now_ms)).alert not in self.alerts:
            changed[dog.alert] = dog
        pulse = self._usual_pulse
        for rule in self.rules.values():
            if is_wall_time(rule) and pulse is not None:
                series = Series(self.model, self.model_version, (), pulse.window_ms)
                name = record_name(rule, series)
                before = self.alerts.get(name) or new_record(rule, series)
                after = assess_silence(before, rule, pulse, now_ms=now_ms)
                if after is not before:
                    changed[name] = after
        for name, record in self.alerts.items():
            before = changed.get(name, record)
            if before.series is None:
                continue
            rule_now = self.rules.get(record.rule)
            if rule_now is None:
                state = retire(before.state, now_ms)
            else:
                state, _ = pass_time(before.state, now_ms, is_silent=self._is_silent(rule_now, before.series, now_ms))
            if state is not before.state:
                changed[name] = dataclasses.replace(before, state=state)

    def dropped(self, changed: Mapping[str, AlertRecord]) -> dict[str, None]:
        """Names of alerts that no rule has any more and of which all is said."""
        return {
            name: None
            for name, record in self.alerts.items()
            if name not in changed
            and record.rule not in self.rules
            and record.series is not None
            and not record.state.untold
        }

    @property
    def _usual_pulse(self) -> Pulse | None:
        """That of the smallest windows about all predictions."""
        pulses = [pulse for at, pulse in self.pulses.items() if not at.segment]
        return min(pulses, key=lambda pulse: pulse.window_ms, default=None)

    def _is_silent(self, rule: AlertRule, series: Series, now_ms: int) -> bool:
        pulse = None if is_wall_time(rule) else self.pulses.get(place_of_series(rule.when.metric, series))
        return pulse is not None and (pulse.silence(now_ms) or 0.0) > SILENT_AFTER


def pulses_after(pulses: Mapping[PulsePlace, Pulse], keys: Iterable[bytes], *, now_ms: int) -> dict[PulsePlace, Pulse]:
    """The pulses after reports of these keys have come."""
    starts: dict[PulsePlace, list[int]] = {}
    for key in keys:
        kind, _, _, segment, size_seconds, start = json.loads(key)
        place = place_of_report(kind, size_seconds * 1000, segment)
        if place is not None:
            starts.setdefault(place, []).append(parse_time_ms(start))
    felt = dict(pulses)
    for place, new in starts.items():
        before = felt.get(place) or Pulse(place.window_ms, (), now_ms)
        felt[place] = before.after(new, now_ms=now_ms)
    return felt
