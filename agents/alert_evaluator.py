"""From reports that are news to alerts on their topic, by the owner of each model, without an outbox.

    look      which reports no rule has looked at; the alerts, if somebody else has changed them
    judge     each report by each rule that is about it, oldest window first (streams.alerting)
    change    the alerts and the news together, by compare-and-set
    publish   what has to be said, or said again, until all is acknowledged
    mark      that it was said, by compare-and-set

A crash after any step repeats what follows it, with the same key and the same `startsAt`: what has to be said is part
of the alert's state until it is marked. Who loses a compare-and-set reads again; it has published nothing that the
state does not say.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Container, Mapping, Sequence

from schemas.times import parse_time_ms
from schemas.window_report import related_key
from streams.alerting.assessment import (
    assess,
    assess_silence,
    is_wall_time,
    known_past,
    new_record,
    past_in,
    record_name,
    rules_on,
    slices_tested,
)
from streams.alerting.life_cycle import hush, pass_time, retire
from streams.alerting.like_windows import keys_before, start_of_key
from streams.alerting.observation import JudgedReport, read_report
from streams.alerting.publication import AlertSettings, alert_message, to_say
from streams.alerting.record import MONITOR, AlertRecord
from streams.alerting.rules import AlertRule, Series
from streams.alerting.silence import KEPT_STARTS, PULSE_KIND, SILENT_AFTER, Pulse
from streams.alerting.verdict import Past, Surroundings
from streams.alerting.watchdog import watchdog
from streams.errors import TemporaryFailure
from streams.ports import AlertStore, Clock, OutgoingMessage, Publisher, ReportStore, Shape, StoredAlerts, WindowQuery
from streams.publication import EvaluationSettings

__all__ = ["AlertEvaluator"]

_log = logging.getLogger(__name__)

CHUNK_REPORTS = 500
"""Judged and saved together, so that a backlog of any length needs little memory."""
BACKLOG_WINDOWS = 100
"""Of each size, that a rule looks at which has just been written."""
MOST_SLICES = 10_000


@dataclasses.dataclass(slots=True)
class _Known:
    """What is remembered of one model version: its alerts as stored, the rules on it, and its pulse by window size."""

    model: str
    model_version: str
    version: int
    alerts: dict[str, AlertRecord]
    rules: Mapping[str, AlertRule]
    pulses: dict[int, Pulse]
    unseen: set[str]
    """Identities of rules that have yet to look at windows from before they were written."""
    unadmitted: set[str] = dataclasses.field(default_factory=set)
    """Names of alerts that are here and not stored yet."""
    on: dict[Series, tuple[AlertRule, ...]] = dataclasses.field(default_factory=dict)

    def rules_on(self, series: Series) -> tuple[AlertRule, ...]:
        if series not in self.on:
            rules = self.rules.values()
            self.on[series] = tuple(rule for rule in rules if not is_wall_time(rule) and rule.when.matches(series))
        return self.on[series]


class AlertEvaluator:
    """Judges the models that this worker owns, and tells of it.

    Args:
        store: alerts and news; shared by all workers.
        reports: what was published last.
        publisher: where alerts go.
        rules: those that hold now.
        settings: of publishing.
        evaluation: confidence of the intervals in reports, and the models.
        clock: wall time.
        owns: whether this worker evaluates the model of that name at the moment.
        is_blind: whether input cannot be read, so that silence means nothing.
    """

    def __init__(
        self,
        store: AlertStore,
        reports: ReportStore,
        publisher: Publisher,
        rules: Sequence[AlertRule],
        settings: AlertSettings,
        evaluation: EvaluationSettings,
        clock: Clock,
        owns: Callable[[str], bool],
        is_blind: Callable[[], bool] = lambda: False,
    ) -> None:
        self._store = store
        self._reports = reports
        self._publisher = publisher
        self._rules = rules
        self._settings = settings
        self._evaluation = evaluation
        self._clock = clock
        self._owns = owns
        self._is_blind = is_blind
        self._known: dict[bytes, _Known] = {}
        self._is_waiting = False

    def use(self, rules: Sequence[AlertRule], settings: AlertSettings, evaluation: EvaluationSettings) -> None:
        """Judge by other rules and settings from the next round on."""
        if rules != self._rules:
            self._known.clear()
        self._rules, self._settings, self._evaluation = rules, settings, evaluation

    async def evaluate(self) -> int:
        """Judge what is news and publish what has to be said, once. Not to be called twice at a time.

        Returns: how many model versions have yet to be judged; above 0 when a service is away.

        Raises:
            PermanentFailure: the topic refuses an alert for good.
        """
        try:
            pending = await self._round()
        except TemporaryFailure as failure:
            if not self._is_waiting:
                _log.warning("Alerts wait: %s", failure)
            self._is_waiting = True
            self._known.clear()
            return 1
        if self._is_waiting:
            _log.info("Alerts are evaluated again")
            self._is_waiting = False
        return pending

    async def _round(self) -> int:
        names = {
            model_version: (model, version)
            for model_version, text in (await self._reports.model_versions()).items()
            for model, version in [json.loads(text)]
            if self._owns(model)
        }
        self._known = {name: known for name, known in self._known.items() if name in names or name == MONITOR}
        looked = dict(zip(names, await self._store.look(list(names)), strict=True))
        await self._learn(names, looked)
        pending = 0
        for model_version, at in looked.items():
            pending += not await self._judge_model(model_version, self._known[model_version], at.news)
        if self._owns(""):
            pending += not await self._watch()
        return pending

    async def _learn(self, names: Mapping[bytes, tuple[str, str]], looked: Mapping[bytes, StoredAlerts]) -> None:
        """Read what is not remembered, or what somebody else has changed."""
        for each, known in self._known.items():
            if each in looked and known.version > looked[each].version:
                # The store has lost what it had confirmed. What fires since when is known here, so it is told again.
                known.version = looked[each].version
                known.unadmitted |= known.alerts.keys()
        wanted = [
            each for each in names if each not in self._known or self._known[each].version != looked[each].version
        ]
        stored = await self._store.load(wanted)
        shapes = await self._reports.shapes(wanted)
        for model_version, at, sizes in zip(wanted, stored, shapes, strict=True):
            model, version = names[model_version]
            rules = rules_on(self._rules, model, version)
            before = self._known.get(model_version)
            seen = {record.rule for record in at.alerts.values()}
            self._known[model_version] = _Known(
                model=model,
                model_version=version,
                version=at.version,
                alerts=dict(at.alerts),
                rules=rules,
                pulses=before.pulses
                if before
                else await self._pulses(
                    model_version, {each.size_seconds for each in sizes if each.kind == PULSE_KIND}
                ),
                unseen={name for name, rule in rules.items() if name not in seen and not is_wall_time(rule)},
            )

    async def _pulses(self, model_version: bytes, sizes_seconds: set[int]) -> dict[int, Pulse]:
        queries = [
            WindowQuery(model_version=model_version, shape=Shape(PULSE_KIND, size), most=KEPT_STARTS)
            for size in sorted(sizes_seconds)
        ]
        now_ms = self._clock.now_ms()
        found = await self._reports.find(queries)
        return {
            query.shape.size_seconds * 1000: Pulse(
                query.shape.size_seconds * 1000, tuple(sorted(map(start_of_key, keys))), now_ms
            )
            for query, keys in zip(queries, found, strict=True)
        }

    async def _judge_model(self, model_version: bytes, known: _Known, news: Mapping[bytes, int]) -> bool:
        """One model version. False if somebody else has changed its alerts meanwhile."""
        await self._catch_up(model_version, known)
        self._feel_pulse(known, news)
        keys = sorted(news, key=start_of_key)
        for at in range(0, max(1, len(keys)), CHUNK_REPORTS):
            chunk = keys[at : at + CHUNK_REPORTS]
            changed = await self._judge(model_version, known, chunk, known.rules.keys())
            if at + CHUNK_REPORTS >= len(keys):
                self._let_time_pass(known, changed)
            judged = {key: news[key] for key in chunk}
            if not await self._change(model_version, known, changed, judged):
                return False
            if not await self._tell(model_version, known):
                return False
        return True

    async def _catch_up(self, model_version: bytes, known: _Known) -> None:
        """Let rules that have just been written look at windows from before; only what holds now is said of them."""
        if not known.unseen:
            return
        (shapes,) = await self._reports.shapes([model_version])
        queries = [
            WindowQuery(model_version=model_version, shape=shape, most=BACKLOG_WINDOWS, of_segments=of_segments)
            for shape in shapes
            for of_segments in (False, True)
        ]
        found = {key for keys in await self._reports.find(queries) for key in keys}
        # Looked at after they were found: what was published meanwhile is news, and will be said.
        (at,) = await self._store.look([model_version])
        keys = found - at.news.keys()
        changed = await self._judge(model_version, known, sorted(keys, key=start_of_key), known.unseen)
        known.alerts |= {
            name: dataclasses.replace(record, state=hush(record.state)) for name, record in changed.items()
        }
        known.unadmitted |= changed.keys()
        known.unseen.clear()

    def _feel_pulse(self, known: _Known, news: Mapping[bytes, int]) -> None:
        now_ms = self._clock.now_ms()
        starts: dict[int, list[int]] = {}
        for key in news:
            kind, _, _, segment, size_seconds, start = json.loads(key)
            if kind == PULSE_KIND and not segment:
                starts.setdefault(size_seconds * 1000, []).append(parse_time_ms(start))
        for size_ms, new in starts.items():
            pulse = known.pulses.get(size_ms) or Pulse(size_ms, (), now_ms)
            known.pulses[size_ms] = pulse.after(new, now_ms=now_ms)
        if self._is_blind():
            known.pulses = {size: dataclasses.replace(pulse, seen_ms=now_ms) for size, pulse in known.pulses.items()}

    async def _judge(
        self, model_version: bytes, known: _Known, keys: Sequence[bytes], by: Container[str]
    ) -> dict[str, AlertRecord]:
        """The alerts that change when the reports of these keys are judged by the rules of these identities."""
        reports = await self._read(model_version, [key for key in keys if self._concerns(known, key)])
        before = {name for key, each in reports.items() for name in keys_before(key, each, known.rules_on(each.series))}
        pasts = await self._read(model_version, sorted(before))
        slices: dict[tuple[str, int, int], Sequence[JudgedReport]] = {}
        changed: dict[str, AlertRecord] = {}
        for key, report in reports.items():
            for rule in known.rules_on(report.series):
                if rule.identity not in by:
                    continue
                past = self._past(known, rule, key, pasts)
                tested = 1
                if rule.when.divides_confidence:
                    tested = slices_tested(rule, await self._slices(model_version, report, slices))
                around = Surroundings(slices=tested, report_level=self._evaluation.confidence_level, past=past)
                name = record_name(rule, report.series)
                record = changed.get(name) or known.alerts.get(name) or new_record(rule, report.series)
                after = assess(record, rule, report, around, now_ms=self._clock.now_ms())
                if after is not record:
                    changed[name] = after
        return changed

    def _concerns(self, known: _Known, key: bytes) -> bool:
        _, model, version, segment, size_seconds, _ = json.loads(key)
        return bool(known.rules_on(Series(model, version, tuple(sorted(segment.items())), size_seconds * 1000)))

    async def _read(self, model_version: bytes, keys: Sequence[bytes]) -> dict[bytes, JudgedReport]:
        if not keys:
            return {}
        last = await self._reports.last({model_version: keys})
        return {key: read_report(last[key].value) for key in keys if key in last}

    async def _slices(
        self, model_version: bytes, report: JudgedReport, known: dict[tuple[str, int, int], Sequence[JudgedReport]]
    ) -> Sequence[JudgedReport]:
        """All slices of the window that a report is about."""
        start_ms, size_seconds = parse_time_ms(report.window.start), report.window.size_seconds
        place = (report.kind, size_seconds, start_ms)
        if place not in known:
            query = WindowQuery(
                model_version=model_version,
                shape=Shape(report.kind, size_seconds),
                since_ms=start_ms,
                until_ms=start_ms + 1,
                most=MOST_SLICES,
                of_segments=True,
            )
            (keys,) = await self._reports.find([query])
            known[place] = tuple((await self._read(model_version, keys)).values())
        return known[place]

    def _past(self, known: _Known, rule: AlertRule, key: bytes, pasts: Mapping[bytes, JudgedReport]) -> Past | None:
        against = rule.when.against
        if against is None:
            return None
        if against.back_ms is None:
            return known_past(rule, self._evaluation.model(known.model))
        before = pasts.get(related_key(key, earlier_ms=against.back_ms))
        return None if before is None else past_in(rule, before)

    def _let_time_pass(self, known: _Known, changed: dict[str, AlertRecord]) -> None:
        """What changes without a report: silence, what was seen for long enough, rules that are gone."""
        now_ms = self._clock.now_ms()
        for rule in known.rules.values():
            if is_wall_time(rule) and known.pulses:
                pulse = known.pulses[min(known.pulses)]
                series = Series(known.model, known.model_version, (), pulse.window_ms)
                name = record_name(rule, series)
                before = known.alerts.get(name) or new_record(rule, series)
                after = assess_silence(before, rule, pulse, now_ms=now_ms)
                if after is not before:
                    changed[name] = after
        for name, record in known.alerts.items():
            before = changed.get(name, record)
            rule_now = known.rules.get(record.rule)
            if rule_now is None:
                state = retire(before.state, now_ms)
            else:
                is_silent = not is_wall_time(rule_now) and self._is_silent(known, before.series, now_ms)
                state, _ = pass_time(before.state, now_ms, is_silent=is_silent)
            if state is not before.state:
                changed[name] = dataclasses.replace(before, state=state)

    def _is_silent(self, known: _Known, series: Series | None, now_ms: int) -> bool:
        pulse = known.pulses.get(series.window_ms) if series else None
        return pulse is not None and (pulse.silence(now_ms) or 0.0) > SILENT_AFTER

    async def _change(
        self, model_version: bytes, known: _Known, changed: Mapping[str, AlertRecord], judged: Mapping[bytes, int]
    ) -> bool:
        changed = {name: known.alerts[name] for name in known.unadmitted} | dict(changed)
        dropped = {
            name: None
            for name, record in known.alerts.items()
            if name not in changed
            and record.rule not in known.rules
            and record.series is not None
            and not record.state.untold
        }
        if not changed and not judged and not dropped:
            return True
        saved = await self._store.save(model_version, {**changed, **dropped}, expected=known.version, judged=judged)
        if not saved:
            self._known.pop(model_version, None)
            return False
        known.version += 1
        known.alerts |= changed
        known.unadmitted.clear()
        for name in dropped:
            del known.alerts[name]
        return True

    async def _tell(self, model_version: bytes, known: _Known) -> bool:
        """Publish what has not been said, and what is to be said again; then mark it."""
        now_ms = self._clock.now_ms()
        messages: list[OutgoingMessage] = []
        told: dict[str, AlertRecord] = {}
        for name, record in known.alerts.items():
            notices = to_say(record.state, now_ms, self._settings)
            for notice in notices:
                rule = known.rules.get(record.rule)
                messages.append(alert_message(record, notice, rule, now_ms=now_ms, settings=self._settings))
            if notices:
                state = dataclasses.replace(record.state, untold=(), sent_ms=now_ms)
                told[name] = dataclasses.replace(record, state=state)
        await self._publisher.send(messages)
        return await self._change(model_version, known, told, {}) if told else True

    async def _watch(self) -> bool:
        """Let the watchdog alert fire."""
        if MONITOR not in self._known:
            (stored,) = await self._store.load([MONITOR])
            self._known[MONITOR] = _Known("", "", stored.version, dict(stored.alerts), {}, {}, set())
        known = self._known[MONITOR]
        if not known.alerts:
            record = watchdog(self._clock.now_ms())
            if not await self._change(MONITOR, known, {record.alert: record}, {}):
                return False
        return await self._tell(MONITOR, known)
