"""Looks at what a worker reads, and picks what is to be explained; asks nobody and waits for nothing.

    predictions ──> base sample, low margins ──> requests
        └─────────> candidates ──> pointers ┐
    labels ───────> candidates ──> lookups ─┴──> wrong pairs, found by `agents.explain_asking`

A wrong pair is found beside the commit: of a few predictions, drawn by their keys, a pointer is kept; a label whose key
would be drawn too looks for it. So explanations may miss pairs that the counts have, and can never change them.
"""

from __future__ import annotations

import bisect
import collections
import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from agents.good_records import GoodRecords, Named
from schemas.explain_request import ExplainRequest, WhyAsked
from schemas.prediction import SentPrediction
from streams.explanation.sampling import (
    FIRST_TICK_SECONDS,
    TICK_SECONDS,
    Purpose,
    Quota,
    drawn,
    drawn_each,
    is_drawn,
    mixes_of,
)
from streams.identity import KEY_BYTES
from streams.ledger.parts import Role, Source
from streams.monitored_model import MonitoredModel, Task
from streams.ports import Clock

__all__ = ["ExplainSampler", "Lookup", "Pointer"]

SHARE = {WhyAsked.WRONG: 0.5, WhyAsked.LOW_MARGIN: 0.25, WhyAsked.BASE: 0.25}
"""Of a model's budget."""
MOST_PICKED = 200
"""Of one batch and purpose: while a rate is being learnt, a batch must not cost more than that."""
FEW = 32
"""Of one batch and purpose, to be looked at one by one."""
COUNTED = 32
"""Of one batch, evenly spread: what was seen is counted by these."""
MOST_WAITING = 2000
"""Requests, pointers or lookups that nobody has taken yet."""
MOST_CLASSES = 50
"""Predicted classes of a model that are sampled apart."""
MARGINS = 200
LEAST_MARGINS = 20
LOW_SHARE = 0.1
"""The lowest tenth of the last margins is low."""
CANDIDATES = 20.0
"""Pointers for each wrong pair that is wanted, at most: a model that errs less is explained less."""
_SUCCEEDED = (None, "ok")


@dataclasses.dataclass(frozen=True, slots=True)
class Pointer:
    """A prediction that is to be explained if its label says otherwise."""

    key: bytes
    time_ms: int
    request: ExplainRequest


@dataclasses.dataclass(frozen=True, slots=True)
class Lookup:
    """A label whose prediction may have a pointer."""

    key: bytes
    time_ms: int
    model: str | None
    text: str
    since_seconds: float


@dataclasses.dataclass(slots=True)
class _Subject:
    """What is known about one model's stream. `seen` counts by predicted class since the last tick."""

    model: MonitoredModel
    per_minute: float
    counts_classes: bool
    wrong: Quota = dataclasses.field(default_factory=Quota)
    low_candidates: Quota = dataclasses.field(default_factory=Quota)
    low_margin: Quota = dataclasses.field(default_factory=Quota)
    base: dict[str, Quota] = dataclasses.field(default_factory=dict)
    seen: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    margins: collections.deque[float] = dataclasses.field(default_factory=collections.deque)
    ordered_margins: list[float] = dataclasses.field(default_factory=list)

    def tick(self, *, share: float, seconds: float, unseen: int) -> None:
        """Let all rates follow what was seen; of what was not there may have been as many as `unseen`."""
        budgets = {why: self.per_minute * share * part for why, part in SHARE.items()}
        seen = self.seen.total() or unseen
        self.wrong = self.wrong.after(seen, per_minute=budgets[WhyAsked.WRONG] * CANDIDATES, seconds=seconds)
        low = budgets[WhyAsked.LOW_MARGIN]
        self.low_candidates = self.low_candidates.after(seen, per_minute=low / LOW_SHARE, seconds=seconds)
        self.low_margin = self.low_margin.after(0, per_minute=low, seconds=seconds)
        for text in list(self.seen)[: MOST_CLASSES - len(self.base)]:
            self.base.setdefault(text, Quota())
        each = budgets[WhyAsked.BASE] / max(len(self.base), 1)
        self.base = {
            text: quota.after(self.seen[text] or unseen, per_minute=each, seconds=seconds)
            for text, quota in self.base.items()
        }
        self.seen.clear()

    def low_bound(self) -> float:
        """Margins up to it are low; none is before some are known."""
        if len(self.margins) < LEAST_MARGINS:
            return -1.0
        return self.ordered_margins[int(len(self.margins) * LOW_SHARE)]

    def note_margin(self, margin: float) -> None:
        """Remember the last ones, in their order and by size."""
        if len(self.margins) == MARGINS:
            del self.ordered_margins[bisect.bisect_left(self.ordered_margins, self.margins.popleft())]
        self.margins.append(margin)
        bisect.insort(self.ordered_margins, margin)


@dataclasses.dataclass(frozen=True, slots=True)
class _Rates:
    """At which one purpose draws: of each model, or of each model and predicted class. They change by ticks alone."""

    purpose: Purpose
    each: Mapping[Any, float]
    highest: float

    @classmethod
    def of(cls, purpose: Purpose, each: Mapping[Any, float]) -> _Rates:
        """Rates by what they are for."""
        return cls(purpose, each, max(each.values(), default=0.0))

    def drawn(self, batch: _Batch) -> list[tuple[int, float]]:
        """The places of the records that are drawn, and at which rate; not more than one batch may cost.

        One look at numbers, at the highest rate, leaves so few that each is asked for its own. Where something is
        rare, as a class or a model may be, its rate would leave everything: then each record has its rate before.
        """
        if self.highest <= 0:
            return []
        of = batch.models_and_texts if self.purpose is Purpose.BASE else batch.models
        if self.highest * len(batch.mixes) > FEW:
            rates = np.fromiter(map(self.each.get, of(), itertools.repeat(0.0)), np.float64, len(batch.mixes))
            places = drawn_each(batch.mixes, self.purpose, rates)[:MOST_PICKED]
            return [*zip((places + batch.first).tolist(), rates[places].tolist(), strict=True)]
        picked = batch.drawn(self.purpose, self.highest)
        rated = [(at, self.each.get(key, 0.0)) for at, key in zip(picked, of(picked), strict=True)]
        return [(at, rate) for at, rate in rated if rate == self.highest or batch.is_drawn(at, self.purpose, rate)]


class ExplainSampler:
    """Of one worker.

    Args:
        models: those that are explained.
        topics: the names on the wire of both inputs.
    """

    def __init__(self, models: Sequence[MonitoredModel], topics: Mapping[Role, str], clock: Clock) -> None:
        self._subjects = {
            model.name: _Subject(model, model.explanation.rate_per_minute, model.task.counts_classes)
            for model in models
            if model.explanation is not None and model.explanation.rate_per_minute > 0
        }
        self._topics = topics
        self._clock = clock
        self._looked_at: dict[Source, int] = {}
        self._ticked_seconds: float | None = None
        self._tick_seconds = FIRST_TICK_SECONDS
        self._learn_rates()
        self._looked = collections.defaultdict[int, collections.Counter[tuple[str, Named]]](collections.Counter)
        self._seen = 0
        self.share = 1.0
        """Of every budget that is this worker's."""
        self.label_rate = 0.0
        """The highest rate at which some worker has kept a pointer: labels beyond it need not look."""
        self.requests: collections.deque[ExplainRequest] = collections.deque()
        self.pointers: collections.deque[Pointer] = collections.deque()
        self.lookups: collections.deque[Lookup] = collections.deque()
        self.dropped = 0

    @property
    def is_idle(self) -> bool:
        """Whether no model is sampled."""
        return not self._subjects

    @property
    def models(self) -> Mapping[str, MonitoredModel]:
        """Those that are sampled."""
        return {name: subject.model for name, subject in self._subjects.items()}

    @property
    def seen(self) -> int:
        """Predictions of models that are sampled, as far as those that were counted stand for the others."""
        self._share_out()
        return self._seen

    def look(self, source: Source, found: GoodRecords, offsets: npt.NDArray[np.int64], keys: bytes) -> None:
        """See a batch; what was seen before is not seen again.

        Args:
            offsets: of the records.
            keys: their keys of 16 bytes, behind each other.
        """
        if not len(offsets):
            return
        looked_at, last = self._looked_at.get(source, -1), int(offsets[-1])
        if last <= looked_at:
            return
        first = 0 if int(offsets[0]) > looked_at else int(offsets.searchsorted(looked_at, side="right"))
        self._looked_at[source] = last
        batch = _Batch(source, self._topics[source.role], found, offsets, keys, mixes_of(keys)[first:], first)
        if source.role is Role.LABELS:
            self._look_at_labels(batch)
            return
        self._count(batch)
        self._draw_base(batch)
        self._draw_low_margins(batch)
        self._keep_pointers(batch)

    def _look_at_labels(self, batch: _Batch) -> None:
        now = self._clock.monotonic_seconds()
        chosen = batch.drawn(Purpose.WRONG, self.label_rate)
        for at in chosen[: self._room(self.lookups, len(chosen))]:
            text = batch.text(at)
            if text is not None:
                time_ms = int(batch.found.times_ms[at])
                self.lookups.append(Lookup(batch.key(at), time_ms, batch.found.records[at].model, text, now))

    def _count(self, batch: _Batch) -> None:
        """Count some for all: to look at each record would cost more than everything else here."""
        now = self._clock.monotonic_seconds()
        records = batch.found.records
        stride = max(1, (len(records) - batch.first) // COUNTED)
        # Not always from the first on, which may be of a kind of its own.
        some = slice(batch.first + int(batch.mixes[0]) % stride, None, stride)
        named = zip([record.model for record in records[some]], batch.found.classes[some], strict=True)
        self._looked[stride].update(named)
        if self._ticked_seconds is None:
            self._ticked_seconds = now
        elif now - self._ticked_seconds >= self._tick_seconds:
            # Of what is not among those that were counted there may be one for each of them, unless all were.
            widest = max(self._looked)
            unseen = widest if widest > 1 else 0
            self._share_out()
            for subject in self._subjects.values():
                subject.tick(share=self.share, seconds=now - self._ticked_seconds, unseen=unseen)
            self._ticked_seconds, self._tick_seconds = now, min(2 * self._tick_seconds, TICK_SECONDS)
            self._learn_rates()

    def _learn_rates(self) -> None:
        """Nothing is asked for comparison before the first tick has told predicted classes."""
        classifying = {name: subject for name, subject in self._subjects.items() if subject.counts_classes}
        self._wrong = _Rates.of(Purpose.WRONG, {name: each.wrong.rate for name, each in classifying.items()})
        low = {name: each.low_candidates.rate for name, each in classifying.items()}
        self._low_margins = _Rates.of(Purpose.LOW_MARGIN, low)
        base = {(name, text): quota.rate for name, each in self._subjects.items() for text, quota in each.base.items()}
        self._base = _Rates.of(Purpose.BASE, base)

    def _share_out(self) -> None:
        """Tell each model what of it was counted, by predicted class; a list and no answer are one class."""
        for stride, looked in self._looked.items():
            for (name, named), count in looked.items():
                subject = self._subjects.get(name)
                if subject is not None:
                    subject.seen[named if isinstance(named, str) else ""] += stride * count
                    self._seen += stride * count
        self._looked.clear()

    def _draw_base(self, batch: _Batch) -> None:
        """For comparison, each predicted class apart."""
        for at, rate in self._base.drawn(batch):
            subject, text = self._subjects[batch.found.records[at].model], batch.text(at) or ""
            subject.base[text] = self._ask(subject, batch, at, WhyAsked.BASE, subject.base[text], rate)

    def _draw_low_margins(self, batch: _Batch) -> None:
        """Of ten times as many as are wanted, the tenth with the lowest margin."""
        for at, rate in self._low_margins.drawn(batch):
            record = batch.found.records[at]
            subject = self._subjects[record.model]
            margin = _margin(record, subject.model)
            if margin is None:
                continue
            if margin <= subject.low_bound():
                subject.low_margin = self._ask(subject, batch, at, WhyAsked.LOW_MARGIN, subject.low_margin, rate)
            subject.note_margin(margin)

    def _keep_pointers(self, batch: _Batch) -> None:
        """Of some, where they stand, for the label that may come."""
        chosen = self._wrong.drawn(batch)
        for at, rate in chosen[: self._room(self.pointers, len(chosen))]:
            subject = self._subjects[batch.found.records[at].model]
            if not subject.wrong.is_spent and batch.can_be_explained(at):
                subject.wrong, _ = subject.wrong.spend(1)
                request = batch.request(at, subject, WhyAsked.WRONG, rate)
                self.pointers.append(Pointer(batch.key(at), int(batch.found.times_ms[at]), request))
                self.label_rate = max(self.label_rate, rate)

    def _ask(self, subject: _Subject, batch: _Batch, at: int, reason: WhyAsked, quota: Quota, rate: float) -> Quota:
        if not batch.can_be_explained(at):
            return quota
        quota, asked = quota.spend(1)
        if asked and self._room(self.requests, 1):
            self.requests.append(batch.request(at, subject, reason, rate))
        else:
            self.dropped += 1
        return quota

    def _room(self, waiting: collections.deque[Any], wanted: int) -> int:
        return min(wanted, MOST_WAITING - len(waiting), MOST_PICKED)


@dataclasses.dataclass(slots=True, eq=False)
class _Batch:
    """A batch from its record `first` on, to which `mixes` belong. Not frozen: that would be dear for each batch."""

    source: Source
    topic: str
    found: GoodRecords
    offsets: npt.NDArray[np.int64]
    keys: bytes
    mixes: npt.NDArray[np.uint32]
    first: int

    def drawn(self, purpose: Purpose, rate: float) -> list[int]:
        """The places of records that are drawn, and not more than one batch may cost."""
        places: list[int] = drawn(self.mixes, purpose, rate)[:MOST_PICKED].tolist()
        return [at + self.first for at in places]

    def is_drawn(self, at: int, purpose: Purpose, rate: float) -> bool:
        """Whether one record is."""
        return is_drawn(int(self.mixes[at - self.first]), purpose, rate)

    def key(self, at: int) -> bytes:
        """Of one record."""
        return self.keys[at * KEY_BYTES : (at + 1) * KEY_BYTES]

    def models(self, places: Iterable[int] | None = None) -> list[str]:
        """Of all records, or of those at some places."""
        records = self.found.records
        some = records[self.first :] if places is None else map(records.__getitem__, places)
        return [record.model for record in some]

    def models_and_texts(self, places: Iterable[int] | None = None) -> Iterable[tuple[str, str]]:
        """The same with their classes, which are empty where they are lists or none."""
        places = range(self.first, len(self.found.records)) if places is None else places
        classes = self.found.classes
        texts = [named if isinstance(named := classes[at], str) else "" for at in places]
        return zip(self.models(places), texts, strict=True)

    def text(self, at: int) -> str | None:
        """The class of one record; None if it is a list, or none was given."""
        named = self.found.classes[at]
        return named if isinstance(named, str) else None

    def can_be_explained(self, at: int) -> bool:
        """Whether one record succeeded and came with features."""
        record: SentPrediction = self.found.records[at]
        return record.status in _SUCCEEDED and bytes(record.features)[:1] == b"{"

    def request(self, at: int, subject: _Subject, reason: WhyAsked, rate: float) -> ExplainRequest:
        """About one record."""
        record: SentPrediction = self.found.records[at]
        text = self.text(at)
        model = subject.model
        return ExplainRequest(
            request_id=record.request_id,
            instance=record.instance or 0,
            model=record.model,
            model_version=record.model_version or "",
            topic=self.topic,
            partition=self.source.partition,
            offset=int(self.offsets[at]),
            reason=reason,
            rate=rate,
            predicted=None if text is None or not subject.counts_classes else model.class_aliases.get(text, text),
        )


def _margin(record: SentPrediction, model: MonitoredModel) -> float | None:
    """How much likelier the answer was than the next; None if the prediction does not say."""
    shares = sorted(share for share in (record.probabilities or {}).values() if share is not None)
    if len(shares) > 1:
        return shares[-1] - shares[-2]
    if record.score is None:
        return None
    if model.task is Task.BINARY and model.positive_class is not None:
        return abs(2 * record.score - 1)
    return max(2 * record.score - 1, 0.0)
