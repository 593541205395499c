"""Looks at what a worker reads, and picks what is to be explained; asks nobody and waits for nothing.

    predictions ──> base sample, low margins ──> requests
        └─────────> candidates ──> pointers ┐
    labels ───────> candidates ──> lookups ─┴──> wrong pairs, found by `agents.explain_asking`

A wrong pair is found beside the commit: of a few predictions, drawn by their keys, a pointer is kept; a label whose key
would be drawn too looks for it. So explanations may miss pairs that the counts have, and can never change them.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from agents.good_records import GoodRecords
from schemas.explain_request import ExplainRequest, WhyAsked
from schemas.prediction import SentPrediction
from streams.explanation.sampling import Purpose, Quota, draws_of
from streams.identity import KEY_BYTES
from streams.ledger.parts import Role, Source
from streams.monitored_model import MonitoredModel, Task
from streams.ports import Clock

__all__ = ["ExplainSampler", "Lookup", "Pointer"]

SHARE = {WhyAsked.WRONG: 0.5, WhyAsked.LOW_MARGIN: 0.25, WhyAsked.BASE: 0.25}
"""Of a model's budget."""
MOST_PICKED = 200
"""Of one batch and purpose: while a rate is being learnt, a batch must not cost more than that."""
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
    """What is known about one model's stream."""

    model: MonitoredModel
    per_minute: float
    wrong: Quota = dataclasses.field(default_factory=Quota)
    low_margin: Quota = dataclasses.field(default_factory=Quota)
    low_asked: Quota = dataclasses.field(default_factory=Quota)
    base: dict[str, Quota] = dataclasses.field(default_factory=dict)
    margins: collections.deque[float] = dataclasses.field(default_factory=lambda: collections.deque(maxlen=MARGINS))

    def low_bound(self) -> float:
        """Margins up to it are low; none is before some are known."""
        if len(self.margins) < LEAST_MARGINS:
            return -1.0
        return sorted(self.margins)[int(len(self.margins) * LOW_SHARE)]


class ExplainSampler:
    """Of one worker.

    Args:
        models: those that are explained.
        topics: the names on the wire of both inputs.
    """

    def __init__(self, models: Sequence[MonitoredModel], topics: Mapping[Role, str], clock: Clock) -> None:
        self._subjects = {
            model.name: _Subject(model, model.explanation.rate_per_minute)
            for model in models
            if model.explanation is not None and model.explanation.rate_per_minute > 0
        }
        self._topics = topics
        self._clock = clock
        self._looked_at: dict[Source, int] = {}
        self.share = 1.0
        """Of every budget that is this worker's."""
        self.label_rate = 0.0
        """The highest rate at which another worker keeps pointers: labels beyond it need not look."""
        self.requests: collections.deque[ExplainRequest] = collections.deque()
        self.pointers: collections.deque[Pointer] = collections.deque()
        self.lookups: collections.deque[Lookup] = collections.deque()
        self.seen = 0
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
    def pointer_rate(self) -> float:
        """The highest rate at which this worker keeps pointers."""
        return max((subject.wrong.rate for subject in self._subjects.values()), default=0.0)

    def look(self, source: Source, found: GoodRecords, offsets: npt.NDArray[np.int64], keys: bytes) -> None:
        """See a batch; what was seen before is not seen again.

        Args:
            offsets: of the records.
            keys: their keys of 16 bytes, behind each other.
        """
        if not len(offsets):
            return
        first = int(np.searchsorted(offsets, self._looked_at.get(source, -1), side="right"))
        self._looked_at[source] = max(int(offsets[-1]), self._looked_at.get(source, -1))
        if first == len(offsets):
            return
        if source.role is Role.LABELS:
            self._look_at_labels(found, keys, first)
        else:
            self._look_at_predictions(source, found, offsets, keys, first)

    def _look_at_labels(self, found: GoodRecords, keys: bytes, first: int) -> None:
        now = self._clock.monotonic_seconds()
        texts, rate = found.texts, max(self.label_rate, self.pointer_rate)
        chosen = np.flatnonzero(draws_of(keys, Purpose.WRONG)[first:] < rate) + first
        for at in chosen[: self._room(self.lookups, len(chosen))].tolist():
            label, text = found.records[at], texts[at]
            if text is not None:
                key = keys[at * KEY_BYTES : (at + 1) * KEY_BYTES]
                self.lookups.append(Lookup(key, int(found.times_ms[at]), label.model, text, now))

    def _look_at_predictions(
        self, source: Source, found: GoodRecords, offsets: npt.NDArray[np.int64], keys: bytes, first: int
    ) -> None:
        names = [record.model for record in found.records[first:]]
        for name in self._subjects.keys() & set(names):
            places = np.array([at for at, each in enumerate(names, first) if each == name])
            self.seen += len(places)
            batch = _Batch(source, self._topics[source.role], found, offsets, keys, places)
            subject = self._subjects[name]
            self._draw_base(subject, batch)
            if subject.model.task.counts_classes:
                self._draw_low_margins(subject, batch)
                self._keep_pointers(subject, batch)

    def _draw_base(self, subject: _Subject, batch: _Batch) -> None:
        """For comparison, each predicted class apart."""
        now = self._clock.monotonic_seconds()
        texts = batch.found.texts
        counted = collections.Counter([texts[at] or "" for at in batch.places.tolist()])
        for text in counted.keys() - subject.base.keys():
            if len(subject.base) < MOST_CLASSES:
                subject.base[text] = Quota()
        budget = self._budget(subject, WhyAsked.BASE) / max(len(subject.base), 1)
        for text, quota in subject.base.items():
            subject.base[text] = quota.after(counted.get(text, 0), per_minute=budget, now_seconds=now)
        highest = max((subject.base[text].rate for text in counted.keys() & subject.base.keys()), default=0.0)
        draws = batch.draws(Purpose.BASE)
        for place in np.flatnonzero(draws < highest)[:MOST_PICKED].tolist():
            at = int(batch.places[place])
            text = texts[at] or ""
            if text in subject.base and draws[place] < subject.base[text].rate:
                subject.base[text] = self._ask(subject, batch, at, WhyAsked.BASE, subject.base[text])

    def _draw_low_margins(self, subject: _Subject, batch: _Batch) -> None:
        """Of ten times as many as are wanted, the tenth with the lowest margin."""
        now = self._clock.monotonic_seconds()
        budget = self._budget(subject, WhyAsked.LOW_MARGIN)
        subject.low_margin = subject.low_margin.after(len(batch.places), per_minute=budget / LOW_SHARE, now_seconds=now)
        subject.low_asked = subject.low_asked.after(0, per_minute=budget, now_seconds=now)
        for place in np.flatnonzero(batch.draws(Purpose.LOW_MARGIN) < subject.low_margin.rate)[:MOST_PICKED].tolist():
            at = int(batch.places[place])
            margin = _margin(batch.found.records[at], subject.model)
            if margin is None:
                continue
            if margin <= subject.low_bound():
                asked = dataclasses.replace(subject.low_asked, rate=subject.low_margin.rate)
                subject.low_asked = self._ask(subject, batch, at, WhyAsked.LOW_MARGIN, asked)
            subject.margins.append(margin)

    def _keep_pointers(self, subject: _Subject, batch: _Batch) -> None:
        """Of some, where they stand, for the label that may come."""
        budget = self._budget(subject, WhyAsked.WRONG) * CANDIDATES
        now = self._clock.monotonic_seconds()
        subject.wrong = subject.wrong.after(len(batch.places), per_minute=budget, now_seconds=now)
        chosen = np.flatnonzero(batch.draws(Purpose.WRONG) < subject.wrong.rate)
        subject.wrong, kept = subject.wrong.spend(min(len(chosen), MOST_PICKED))
        kept = self._room(self.pointers, kept)
        for place in chosen[:kept].tolist():
            at = int(batch.places[place])
            request = batch.request(at, subject, WhyAsked.WRONG, subject.wrong.rate)
            if request is not None:
                self.pointers.append(Pointer(batch.key(at), int(batch.found.times_ms[at]), request))

    def _ask(self, subject: _Subject, batch: _Batch, at: int, reason: WhyAsked, quota: Quota) -> Quota:
        request = batch.request(at, subject, reason, quota.rate)
        if request is None:
            return quota
        quota, asked = quota.spend(1)
        if asked and self._room(self.requests, 1):
            self.requests.append(request)
        else:
            self.dropped += 1
        return quota

    def _budget(self, subject: _Subject, reason: WhyAsked) -> float:
        return subject.per_minute * SHARE[reason] * self.share

    def _room(self, waiting: collections.deque[Any], wanted: int) -> int:
        return min(wanted, MOST_WAITING - len(waiting), MOST_PICKED)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """The predictions of one model in a batch: `places` among all of its records."""

    source: Source
    topic: str
    found: GoodRecords
    offsets: npt.NDArray[np.int64]
    keys: bytes
    places: npt.NDArray[np.int64]

    def draws(self, purpose: Purpose) -> npt.NDArray[np.float64]:
        """For each place."""
        drawn: npt.NDArray[np.float64] = draws_of(self.keys, purpose)[self.places]
        return drawn

    def key(self, at: int) -> bytes:
        """Of one record."""
        return self.keys[at * KEY_BYTES : (at + 1) * KEY_BYTES]

    def request(self, at: int, subject: _Subject, reason: WhyAsked, rate: float) -> ExplainRequest | None:
        """About one record; None if it failed or came without features."""
        record: SentPrediction = self.found.records[at]
        if record.status not in _SUCCEEDED or bytes(record.features)[:1] != b"{":
            return None
        text = self.found.texts[at]
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
            predicted=None if text is None or not model.task.counts_classes else model.class_aliases.get(text, text),
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
