"""From reports that are news to alerts on their topic, by the owner of each model, without an outbox.

    look      which reports no rule has looked at; the alerts, if somebody else has changed them
    judge     each report by each rule that is about it, oldest window first (streams.alerting)
    change    the alerts and the news together, by compare-and-set
    publish   what has to be said, or said again, until all is acknowledged
    mark      that it was said, by compare-and-set

A crash after any step repeats what follows it, with the same key and the same `startsAt`: what has to be said is part
of the alert's state until it is marked. Who loses a compare-and-set reads again; it has published nothing that the
state does not say.

What is remembered of alerts outlives an outage of the store, which may come back without its last second: an alert
that it has forgotten goes on, with the start that it was published with.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import logging
from collections.abc import Callable, Collection, Container, Mapping, Sequence

from agents.known_alerts import KnownAlerts, pulses_after
from schemas.times import parse_time_ms
from schemas.window_report import related_key
from streams.alerting.assessment import (
    assess,
    is_wall_time,
    known_past,
    new_record,
    past_in,
    record_name,
    rules_on,
    slices_tested,
)
from streams.alerting.firing import firing
from streams.alerting.life_cycle import hush
from streams.alerting.like_windows import keys_before, start_of_key
from streams.alerting.observation import JudgedReport, read_report
from streams.alerting.publication import AlertSettings, alert_message, to_say
from streams.alerting.record import MONITOR, AlertRecord
from streams.alerting.rules import AlertRule
from streams.alerting.silence import KEPT_STARTS, OBSERVED_KINDS, PULSE_KIND, Pulse, PulsePlace
from streams.alerting.verdict import Past, Surroundings
from streams.errors import TemporaryFailure
from streams.ports import AlertStore, Clock, OutgoingMessage, Publisher, ReportStore, Shape, StoredAlerts, WindowQuery
from streams.publication import EvaluationSettings

__all__ = ["AlertEvaluator"]

_log = logging.getLogger(__name__)

CHUNK_REPORTS = 500
"""Judged and saved together, so that a backlog of any length needs little memory."""
MOST_OBSERVED = 5_000
"""Reports on targets that are looked at when a worker begins, to know how often each usually comes."""
BACKLOG_WINDOWS = 100
"""Of each size, that a rule looks at which has just been written."""
MOST_SLICES = 10_000
LOOKS = 3
"""At the news of one model version in a round, while its reports are revised under the reader's hands."""


class _ChangedMeanwhile(Exception):
    """The stored alerts are not those that were read."""


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

    `firing` counts the alerts that fire by name and severity, as of the last round.
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
        self._known: dict[bytes, KnownAlerts] = {}
        self.firing: Mapping[tuple[str, str], int] = firing(rules, ())
        self._is_waiting = False

    def use(self, rules: Sequence[AlertRule], settings: AlertSettings, evaluation: EvaluationSettings) -> None:
        """Judge by other rules and settings from the next round on."""
        if rules != self._rules:
            self._known.clear()
            changed = sum(rule not in self._rules for rule in rules)
            _log.info("Alert rules: %d, new or changed: %d", len(rules), changed)
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
        if self._owns(""):
            names[MONITOR] = ("", "")
        # Also of models that the store has lost: they will be reported again.
        self._known = {name: known for name, known in self._known.items() if self._owns(known.model)}
        looked = dict(zip(names, await self._store.look(list(names)), strict=True))
        await self._learn(names, looked)
        pending = 0
        for model_version, at in looked.items():
            pending += not await self._judge_model(model_version, self._known[model_version], at.news)
        every = (record for known in self._known.values() for record in known.alerts.values())
        self.firing = firing(self._rules, every)
        return pending

    async def _learn(self, names: Mapping[bytes, tuple[str, str]], looked: Mapping[bytes, StoredAlerts]) -> None:
        """Read what is not remembered, or what somebody else has changed."""
        wanted = [
            each for each in names if each not in self._known or self._known[each].version != looked[each].version
        ]
        stored = await self._store.load(wanted)
        shapes = await self._reports.shapes(wanted)
        for model_version, at, sizes in zip(wanted, stored, shapes, strict=True):
            model, version = names[model_version]
            rules = rules_on(self._rules, model, version)
            before = self._known.get(model_version)
            # A store that has lost what it had confirmed is told again what fires, and since when.
            lost = before.alerts if before is not None and before.version > at.version else {}
            alerts = {**at.alerts, **lost}
            seen = {record.rule for record in alerts.values()}
            self._known[model_version] = KnownAlerts(
                model=model,
                model_version=version,
                version=at.version,
                alerts=alerts,
                rules=rules,
                pulses=before.pulses if before else await self._pulses(model_version, sizes),
                unseen={name for name, rule in rules.items() if name not in seen and not is_wall_time(rule)},
                unadmitted=set(lost),
            )

    async def _pulses(self, model_version: bytes, shapes: Collection[Shape]) -> dict[PulsePlace, Pulse]:
        queries = [
            WindowQuery(
                model_version=model_version,
                shape=shape,
                most=MOST_OBSERVED if shape.kind in OBSERVED_KINDS else KEPT_STARTS,
                of_segments=shape.kind in OBSERVED_KINDS,
            )
            for shape in sorted(shapes, key=str)
            if shape.kind == PULSE_KIND or shape.kind in OBSERVED_KINDS
        ]
        found = await self._reports.find(queries)
        return pulses_after({}, itertools.chain.from_iterable(found), now_ms=self._clock.now_ms())

    async def _judge_model(self, model_version: bytes, known: KnownAlerts, news: Mapping[bytes, int]) -> bool:
        """One model version. False if its alerts or its reports change faster than they are judged."""
        try:
            await self._catch_up(model_version, known)
            for _ in range(LOOKS):
                if await self._judge_news(model_version, known, news):
                    return True
                (at,) = await self._store.look([model_version])
                news = at.news
        except _ChangedMeanwhile:
            pass
        return False

    async def _judge_news(self, model_version: bytes, known: KnownAlerts, news: Mapping[bytes, int]) -> bool:
        """False if a report has changed meanwhile.

        A report that was published again since the news were looked at may be final by now, and so may be older windows
        of which these news tell nothing. To judge it first would pass them over: windows are folded away in order.
        """
        # Nobody could publish reports while a service was away.
        is_blind = self._is_blind() or self._is_waiting
        known.feel(news, now_ms=self._clock.now_ms(), is_blind=is_blind)
        keys = sorted(news, key=start_of_key)
        is_last = False
        while not is_last:
            chunk, keys = keys[:CHUNK_REPORTS], keys[CHUNK_REPORTS:]
            reports = await self._read(model_version, [key for key in chunk if known.concerns(key)])
            revised = [start_of_key(key) for key, report in reports.items() if report.revision > news[key]]
            if revised:
                chunk, keys = [key for key in chunk if start_of_key(key) < min(revised)], []
                reports = {key: reports[key] for key in chunk if key in reports}
            is_last = not keys
            changed = await self._judge(model_version, known, reports, known.rules.keys())
            if is_last:
                known.let_time_pass(changed, now_ms=self._clock.now_ms())
            judged = {key: news[key] for key in chunk}
            await self._change(model_version, known, changed, judged)
            await self._tell(model_version, known)
            if revised:
                return False
        return True

    async def _catch_up(self, model_version: bytes, known: KnownAlerts) -> None:
        """Let rules that have just been written look at windows from before; only what holds now is said of them."""
        if not known.unseen:
            return
        (shapes,) = await self._reports.shapes([model_version])
        queries = [
            WindowQuery(model_version=model_version, shape=shape, most=BACKLOG_WINDOWS, of_segments=of_segments)
            for shape in shapes
            for of_segments in (False, True)
        ]
        found = {key for keys in await self._reports.find(queries) for key in keys if known.concerns(key)}
        reports = await self._read(model_version, sorted(found, key=start_of_key))
        # Looked at after they were read: what was published meanwhile is news, and will be said.
        (at,) = await self._store.look([model_version])
        past = {key: report for key, report in reports.items() if key not in at.news}
        changed = await self._judge(model_version, known, past, known.unseen)
        known.alerts |= {
            name: dataclasses.replace(record, state=hush(record.state)) for name, record in changed.items()
        }
        known.unadmitted |= changed.keys()
        known.unseen.clear()

    async def _judge(
        self, model_version: bytes, known: KnownAlerts, reports: Mapping[bytes, JudgedReport], by: Container[str]
    ) -> dict[str, AlertRecord]:
        """The alerts that change when these reports, in this order, are judged by the rules of these identities."""
        before = {name for key, each in reports.items() for name in keys_before(key, each, known.rules_on(each.series))}
        pasts = await self._read(model_version, sorted(before))
        slices: dict[tuple[str, int, int], Sequence[JudgedReport]] = {}
        changed: dict[str, AlertRecord] = {}
        for key, report in reports.items():
            for rule in known.rules_on(report.series):
                if rule.identity not in by:
                    continue
                tested = 1
                if rule.when.spans_segments:
                    tested = slices_tested(rule, await self._slices(model_version, report, slices))
                elif rule.when.divides_confidence:
                    tested = slices_tested(rule, [report])
                for series in rule.when.series_in(report.series, report.metrics):
                    past = self._past(known, rule, rule.when.metric_of(series), key, pasts)
                    around = Surroundings(slices=tested, report_level=self._evaluation.confidence_level, past=past)
                    name = record_name(rule, series)
                    record = changed.get(name) or known.alerts.get(name) or new_record(rule, series)
                    after = assess(record, rule, report, around, now_ms=self._clock.now_ms())
                    if after is not record:
                        changed[name] = after
        return changed

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

    def _past(
        self, known: KnownAlerts, rule: AlertRule, metric: str, key: bytes, pasts: Mapping[bytes, JudgedReport]
    ) -> Past | None:
        against = rule.when.against
        if against is None:
            return None
        if against.back_ms is None:
            return known_past(metric, self._evaluation.model(known.model))
        before = pasts.get(related_key(key, earlier_ms=against.back_ms))
        return None if before is None else past_in(rule, metric, before)

    async def _change(
        self, model_version: bytes, known: KnownAlerts, changed: Mapping[str, AlertRecord], judged: Mapping[bytes, int]
    ) -> None:
        changed = {name: known.alerts[name] for name in known.unadmitted} | dict(changed)
        dropped = known.dropped(changed)
        if not changed and not judged and not dropped:
            return
        saved = await self._store.save(model_version, {**changed, **dropped}, expected=known.version, judged=judged)
        if not saved:
            raise _ChangedMeanwhile
        known.version += 1
        known.alerts |= changed
        known.unadmitted.clear()
        for name in dropped:
            del known.alerts[name]

    async def _tell(self, model_version: bytes, known: KnownAlerts) -> None:
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
        if told:
            await self._change(model_version, known, told, {})
