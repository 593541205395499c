"""From changed counts to published reports, without an outbox: only the right order.

    survey    watermark, losses, change marks, names; claim the model versions, find the reports that are due
    choose    the report windows that may be published now (streams.evaluation)
    look back what past windows of the same models had, and what signals are compared with
    read      base windows that changed, larger ones summed level by level
    publish   reports whose content is news, until all are acknowledged
    save      what was published, and when it is due again
    clear     the change marks of base windows whose report windows all went through

A crash between any two steps repeats what follows the last finished one: with the same event id where the
content is the same, with a higher revision where it is not. The watermark is read first, so a report that
says `final` was summed from counts that hold everything before it, and knows of everything that was lost before it.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import json
import logging
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence

from agents.evaluation_round import EvaluationRound
from agents.last_publications import LastPublications
from agents.past_windows import PastWindows
from agents.signal_references import SignalReferences
from agents.window_counts import WindowCounts
from streams.errors import TemporaryFailure
from streams.evaluation import (
    Publication,
    ReportWindow,
    is_final_published,
    may_revise,
    segment_of_key,
    window_of_key,
)
from streams.ledger.founding import agreed_by
from streams.ledger.parts import ShardState
from streams.losses import NO_LOSSES, Losses, may_touch
from streams.ports import ChangedWindow, Clock, LastReport, Ledger, OutgoingMessage, Publisher, ReportStore
from streams.publication import EvaluationSettings, Subject, reports_of, revision_of
from streams.reports import Report, SliceCounts

__all__ = ["Evaluated", "EvaluationSettings", "Evaluator"]

_log = logging.getLogger(__name__)

CHUNK_WINDOWS = 100
"""Report windows published together, so that a backlog of any length needs little memory."""
CHUNK_BASE_WINDOWS = 500
"""Base windows read together from each shard."""


@dataclasses.dataclass(frozen=True, slots=True)
class Evaluated:
    """How many reports were published, and how many windows that changed still wait for theirs."""

    published: int
    pending: int


class Evaluator:
    """Publishes the reports of the models that this worker owns.

    Args:
        ledger: read, and its change marks cleared.
        store: what was published last; shared by all workers.
        publisher: where reports go.
        settings: of models and reports.
        clock: orders revisions and spaces them.
        owns: whether this worker evaluates the model of that name at the moment.
    """

    def __init__(
        self,
        ledger: Ledger,
        store: ReportStore,
        publisher: Publisher,
        settings: EvaluationSettings,
        clock: Clock,
        owns: Callable[[str], bool],
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._publisher = publisher
        self._settings = self._next_settings = settings
        self._clock = clock
        self._owns = owns
        self._token = uuid.uuid4().bytes
        self._counts = WindowCounts(ledger)
        self._past = PastWindows(self._counts)
        self._references = SignalReferences(ledger, self._counts, store)
        self._publications = LastPublications(store)
        self._saves: dict[bytes, int] = {}
        self._told: dict[bytes, Losses] = {}
        self._offsets: dict[tuple[int, str], int] = {}
        self._waiting_for_service = False
        self._behind: set[bytes] = set()

    def use(self, settings: EvaluationSettings) -> None:
        """Evaluate by these settings from the next round on."""
        self._next_settings = settings

    async def evaluate(self, *, everything: bool = False) -> Evaluated:
        """Publish what changed, once. Not to be called twice at a time.

        Args:
            everything: ignore the spacing of revisions, and count what is due of models of other workers as pending.

        Returns: counts; `pending` is also above 0 when a service is away or a shard fell behind.

        Raises:
            PermanentFailure: the topic refuses a report for good.
        """
        self._settings = self._next_settings
        found = EvaluationRound(self._clock.now_ms())
        elsewhere = 0
        try:
            if await self._survey(found):
                await self._choose(found, everything=everything)
                await self._look_back(found)
                for chunk in self._chunks(found):
                    await self._publish(found, chunk)
                await self._finish(found)
            if everything:
                # A window that only became final has no change mark: whoever owns it, or soon will, publishes it.
                elsewhere = await self._store.count_due(found.elsewhere, watermark_ms=found.watermark_ms)
        except TemporaryFailure as failure:
            if not self._waiting_for_service:
                _log.warning("Reports wait and their windows stay marked: %s", failure)
            self._waiting_for_service = True
            # What was in flight may or may not be done: the next round reads everything again.
            self._forget_all()
            return Evaluated(found.published, max(1, len(found.chosen) + len(found.postponed)))
        if self._waiting_for_service:
            _log.info("Reports are published again")
        self._waiting_for_service = False
        return Evaluated(found.published, len(found.postponed) + len(found.disputed) + elsewhere)

    async def _survey(self, found: EvaluationRound) -> bool:
        """Find out what there is to do. False while a shard belongs to no ledger."""
        shards = range(self._ledger.shards)
        states = [state for state in await asyncio.gather(*map(self._ledger.state, shards)) if state is not None]
        if len(states) < len(shards):
            return False
        found.watermark_ms = min(state.watermark_ms for state in states)
        self._notice_rollback(states)
        found.losses = Losses(tuple(map(tuple, await asyncio.gather(*map(self._ledger.gaps, shards)))))
        changed = await asyncio.gather(*map(self._ledger.changed_windows, shards))
        # After the changes: what they were counted by stands in the charter before them.
        agreed = agreed_by(await self._ledger.charter(), states)
        reported = await self._store.model_versions()
        hashes = sorted({window.model_version for windows in changed for window in windows} | reported.keys())
        names = await self._counts.learn(name for name in hashes if name not in reported)
        for model_version in hashes:
            text = reported.get(model_version) or names.get(model_version)
            if text is not None:
                model, version = json.loads(text)
                if self._owns(model):
                    settings = self._settings.model(model)
                    eras = agreed.eras(settings)
                    found.subjects[model_version] = Subject(text, eras[-1].counted(settings), version, eras)
                else:
                    found.elsewhere.append(model_version)
        await self._claim(found)
        await self._find_touched_by_losses(found)
        self._collect_marks(found, changed)
        return True

    def _notice_rollback(self, states: Sequence[ShardState]) -> None:
        offsets = {
            (shard, str(source)): at.next for shard, state in enumerate(states) for source, at in state.sources.items()
        }
        if any(offsets.get(place, 0) < offset for place, offset in self._offsets.items()):
            # After a rollback a shard may use a mark once more, for another change.
            self._forget_all()
        self._offsets = offsets

    async def _claim(self, found: EvaluationRound) -> None:
        claimed = list(found.subjects)
        claims = await self._store.claim(claimed, evaluator=self._token, watermark_ms=found.watermark_ms)
        for model_version, claim in zip(claimed, claims, strict=True):
            if not claim.undisturbed or claim.saves < self._saves.get(model_version, 0):
                # Somebody else has published, or the store has lost what we have.
                self._forget(model_version)
            if found.watermark_ms < claim.watermark_ms:
                # A shard was rolled back: its counts are the past's until it has read on as far as before.
                subject = found.subjects.pop(model_version)
                found.disputed.add(model_version)
                if model_version not in self._behind:
                    _log.warning(
                        "Reports of %s wait for a shard that is behind the last one",
                        subject.text,
                        extra={"model": subject.model.name, "model_version": subject.version},
                    )
                self._behind.add(model_version)
                continue
            self._behind.discard(model_version)
            for key in claim.due:
                found.due.setdefault(window_of_key(model_version, key), set()).add(key)

    async def _find_touched_by_losses(self, found: EvaluationRound) -> None:
        """Have every report looked at again that does not tell of a loss yet, however final it was."""
        for model_version, subject in found.subjects.items():
            news = found.losses.unlike(self._told.get(model_version, NO_LOSSES))
            for key in await self._store.keys(model_version) if news else ():
                window = window_of_key(model_version, key)
                if any(may_touch(gap, window, subject.model_labelled_in(window)) for gap in news):
                    found.due.setdefault(window, set()).add(key)

    def _collect_marks(self, found: EvaluationRound, changed: Sequence[Sequence[ChangedWindow]]) -> None:
        for shard, windows in enumerate(changed):
            for window in windows:
                subject = found.subjects.get(window.model_version)
                if subject is not None:
                    base = ReportWindow(window.model_version, subject.model.base_window_ms, window.start_ms)
                    found.marks[base] = (*found.marks.get(base, ()), (shard, window))
        for base, marks in found.marks.items():
            self._counts.drop_changed(base, stamp=marks)

    async def _choose(self, found: EvaluationRound, *, everything: bool) -> None:
        windows = set(found.due)
        for base in found.marks:
            windows.update(found.touched(base))
        old = {window for window in windows if found.watermark_ms >= self._forgotten_ms(found, window)}
        await self._publications.recall(found.subjects, (windows - found.due.keys()) | old)
        for window in sorted(windows):
            model = found.model(window)
            last = self._publications.get(window)
            is_done = window in old and is_final_published(window, last, horizon_ms=model.label_horizon_ms)
            if is_done or window.size_ms not in model.report_windows_ms:
                found.outdated[window.model_version] += found.due.get(window, ())
            elif everything or window in found.due or self._may_revise(found, window):
                found.chosen.append(window)
            else:
                found.postponed.add(window)

    def _forgotten_ms(self, found: EvaluationRound, window: ReportWindow) -> int:
        horizon_ms, keep_windows_ms = found.model(window).label_horizon_ms, self._settings.keep_windows_ms
        return window.forgotten_after_ms(horizon_ms=horizon_ms, keep_windows_ms=keep_windows_ms) + 1

    async def _look_back(self, found: EvaluationRound) -> None:
        found.past = await self._past.read(
            found.subjects,
            {found.model(window).name for window in found.chosen},
            watermark_ms=found.watermark_ms,
            losses=found.losses,
            stamps=found.marks,
        )
        found.references = await self._references.read(
            found.subjects,
            watermark_ms=found.watermark_ms,
            keep_windows_ms=self._settings.keep_windows_ms,
            stamps=found.marks,
        )

    def _may_revise(self, found: EvaluationRound, window: ReportWindow) -> bool:
        return may_revise(
            window,
            self._publications.get(window),
            now_ms=found.began_ms,
            watermark_ms=found.watermark_ms,
            horizon_ms=found.model(window).label_horizon_ms,
            interval_ms=self._settings.interval_ms,
        )

    def _chunks(self, found: EvaluationRound) -> Iterator[list[ReportWindow]]:
        chunk: list[ReportWindow] = []
        bases = 0
        for window in found.chosen:
            chunk.append(window)
            bases += self._counts.unread(window, found.model(window))
            if len(chunk) >= CHUNK_WINDOWS or bases >= CHUNK_BASE_WINDOWS:
                yield chunk
                chunk, bases = [], 0
        if chunk:
            yield chunk

    async def _publish(self, found: EvaluationRound, chunk: Sequence[ReportWindow]) -> None:
        # The time before the counts are read: should two evaluators overlap, the later reading ranks higher.
        now_ms = self._clock.now_ms()
        await self._counts.read({window: found.model(window) for window in chunk}, found.marks)
        reports = {window: self._reports(found, window) for window in chunk}
        wanted: dict[bytes, list[bytes]] = collections.defaultdict(list)
        for window, by_key in reports.items():
            wanted[window.model_version] += by_key
            found.outdated[window.model_version] += found.due.get(window, set()) - by_key.keys()
        last = await self._store.last(wanted)
        saved: dict[bytes, list[LastReport]] = collections.defaultdict(list)
        messages: list[OutgoingMessage] = []
        for window, by_key in reports.items():
            due_ms = self._due_ms(found, window)
            for key, report in by_key.items():
                revision = revision_of(
                    report,
                    key=key,
                    last=last.get(key),
                    due_ms=due_ms,
                    watermark_ms=found.watermark_ms,
                    now_ms=now_ms,
                    settings=self._settings,
                )
                saved[window.model_version].append(revision.kept)
                if revision.message is not None:
                    messages.append(revision.message)
                    self._publications.put(window, Publication(found.began_ms, found.watermark_ms))
        await self._publisher.send(messages)
        found.published += len(messages)
        for model_version in {window.model_version: None for window in chunk}:
            changes = [report for report in saved[model_version] if report != last.get(report.key)]
            await self._save(found, model_version, changes)
        self._counts.trim()

    def _reports(self, found: EvaluationRound, window: ReportWindow) -> dict[bytes, Report]:
        subject = found.subjects[window.model_version]
        slices = list(self._counts.slices(window, subject.model))
        told: Collection[bytes] = ()
        if found.losses.missing(window, subject.model_labelled_in(window)):
            told = found.due.get(window, ())
            # A slice whose counts are gone says so; its last report must not stand as if it were complete.
            gone = [(segment_of_key(key), SliceCounts({})) for key in told]
            slices = gone + slices
        return reports_of(
            window,
            slices,
            subject,
            watermark_ms=found.watermark_ms,
            settings=self._settings,
            past=found.past[subject.model.name],
            losses=found.losses,
            told=told,
            reference=found.references.get(window.model_version),
        )

    def _due_ms(self, found: EvaluationRound, window: ReportWindow) -> int:
        return window.due_ms(
            watermark_ms=found.watermark_ms,
            horizon_ms=found.model(window).label_horizon_ms,
            keep_windows_ms=self._settings.keep_windows_ms,
        )

    async def _save(self, found: EvaluationRound, model_version: bytes, reports: Sequence[LastReport]) -> None:
        saves = await self._store.save(
            model_version,
            found.subjects[model_version].text,
            reports,
            evaluator=self._token,
            watermark_ms=found.watermark_ms,
        )
        if saves:
            self._saves[model_version] = saves
        else:
            found.disputed.add(model_version)

    async def _finish(self, found: EvaluationRound) -> None:
        for model_version, keys in found.outdated.items():
            await self._store.forget(model_version, keys)
        clearable: dict[int, list[ChangedWindow]] = collections.defaultdict(list)
        for base, marks in found.marks.items():
            if base.model_version not in found.disputed and found.postponed.isdisjoint(found.touched(base)):
                for shard, window in marks:
                    clearable[shard].append(window)
        await asyncio.gather(*(self._ledger.clear_changed(shard, windows) for shard, windows in clearable.items()))
        await self._note_reported(found)
        for changed in found.due:
            # What changed status is not likely to be revised soon again; it is read again when it is.
            self._publications.drop(changed)
        self._told.update(dict.fromkeys(found.subjects, found.losses))
        for model_version in found.disputed:
            self._forget(model_version)

    async def _note_reported(self, found: EvaluationRound) -> None:
        """Everything that was due is published: what is past being kept may be dropped."""
        reported = found.reported_ms(keep_windows_ms=self._settings.keep_windows_ms)
        await asyncio.gather(*(self._ledger.note_reported(shard, reported) for shard in range(self._ledger.shards)))

    def _forget(self, model_version: bytes) -> None:
        self._told.pop(model_version, None)
        self._counts.forget(model_version)
        self._past.forget(model_version)
        self._publications.forget(model_version)
        self._saves.pop(model_version, None)

    def _forget_all(self) -> None:
        self._told.clear()
        self._counts.forget_all()
        self._past.forget_all()
        self._references.forget_all()
        self._publications.forget_all()
        self._saves.clear()
