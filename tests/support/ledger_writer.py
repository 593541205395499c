"""Records for a ledger one commit at a time, and what has become of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from streams.identity import (
    ABSENT,
    EVERYTHING,
    SUM,
    class_hash,
    items_hash,
    model_hash,
    model_version_hash,
    registry_group,
    request_key,
    signal_hash,
)
from streams.ledger.item_lists import set_of
from streams.ledger.parts import (
    CommitReply,
    Definitions,
    LabelRow,
    NameList,
    Outcome,
    Part,
    PredictionRow,
    Role,
    Source,
    pack_labels,
    pack_predictions,
)
from streams.ledger.terms import Terms
from streams.monitored_model import MonitoredModel, Task
from streams.pair_sums.delay import DELAY_PREFIX
from streams.ports import Ledger
from streams.signals.buckets import kept_values
from streams.signals.sums import SignalTotals, totals_by_signal
from streams.signals.words import pack_signals, word_type
from streams.stability.latency_sums import LATENCY_PREFIX

__all__ = [
    "ALL_ADMITTED",
    "CLASSES",
    "HOUR_MS",
    "LABELS",
    "MINUTE_MS",
    "MODEL",
    "NOON_MS",
    "PREDICTIONS",
    "SECOND_MS",
    "Writer",
    "packed_signals",
    "pair",
]

NOON_MS = 1_700_000_000_000 // 3_600_000 * 3_600_000
SECOND_MS, MINUTE_MS, HOUR_MS = 1_000, 60_000, 3_600_000
PREDICTIONS, LABELS = Source(Role.PREDICTIONS, 0), Source(Role.LABELS, 0)
MODEL = MonitoredModel(name="m", label_horizon_ms=HOUR_MS)
CLASSES = ("a", "ab", "b", "c", "é", "z", *map(str, range(9)))
ALL_ADMITTED = NameList(tuple(class_hash(text) for text in CLASSES))


@dataclasses.dataclass(slots=True)
class Writer:
    """Sends records one commit at a time to shard 0, as their partitions' only reader."""

    ledger: Ledger
    models: tuple[MonitoredModel, ...] = (MODEL,)
    admitted: NameList = ALL_ADMITTED
    offsets: dict[Source, int] = dataclasses.field(default_factory=lambda: {PREDICTIONS: 0, LABELS: 0})

    async def start(self) -> None:
        """Create the shard."""
        await self.ledger.create(0, ledger_id="test", sources=self.offsets)

    def definitions(self) -> Definitions:
        """All that rows refer to."""
        terms = [Terms.of(model, "1") for model in self.models]
        return Definitions(
            {class_hash(text): text for text in CLASSES},
            {each.hash: each.pack() for each in terms},
            {registry_group("classes", model.name): self.admitted for model in self.models},
        )

    async def send(self, part: Part, *, forget_limit: int = 0) -> CommitReply:
        """Commit one part."""
        reply = await self.ledger.commit(0, [part], self.definitions(), forget_limit=forget_limit)
        if reply.parts[0].outcome is Outcome.APPLIED:
            self.offsets[part.source] = part.next
        return reply

    async def predict(
        self,
        request_id: str,
        predicted: str,
        *,
        at_ms: int = NOON_MS,
        arrival_ms: int = 0,
        model: MonitoredModel = MODEL,
        failed: bool = False,
        slices: Sequence[bytes] = (),
        value: float | None = None,
        latency: bytes = b"",
        signals: Mapping[str, float] | None = None,
        items: Sequence[str] | None = None,
    ) -> None:
        """One prediction; with `items`, a list."""
        hashes = None if items is None else tuple(map(class_hash, items))
        if hashes is not None and model.task is Task.MULTILABEL:
            hashes = set_of(hashes)
        row = PredictionRow(
            request_key(request_id),
            Terms.of(model, "1").hash,
            at_ms,
            max(at_ms, arrival_ms),
            class_hash(predicted) if hashes is None else items_hash(hashes),
            failed,
            tuple(slices),
            value,
            hashes,
        )
        expected = self.offsets[PREDICTIONS]
        words = 3 + (0 if hashes is None else 1 + len(hashes))
        rows = pack_predictions([row], words=words)
        part = Part(
            source=PREDICTIONS,
            expected=expected,
            next=expected + 1,
            words=words,
            rows=rows,
            latencies=latency,
            signals=packed_signals(signals or {}),
        )
        reply = await self.send(part)
        assert reply.parts[0].outcome is Outcome.APPLIED

    async def label(
        self,
        request_id: str,
        label: str | Sequence[str],
        *,
        at_ms: int = NOON_MS,
        arrival_ms: int = 0,
        model: str | None = None,
        value: float | None = None,
    ) -> None:
        """One label, a list if it is one."""
        addressed = ABSENT if model is None else model_hash(model)
        items = None if isinstance(label, str) else set_of(map(class_hash, label))
        hashed = class_hash(label) if isinstance(label, str) else items_hash(items or ())
        row = LabelRow(request_key(request_id), at_ms, max(at_ms, arrival_ms), hashed, addressed, value, items)
        expected = self.offsets[LABELS]
        words = 1 if items is None else 2 + len(items)
        rows = pack_labels([row], words=words)
        reply = await self.send(Part(source=LABELS, expected=expected, next=expected + 1, words=words, rows=rows))
        assert reply.parts[0].outcome is Outcome.APPLIED

    async def raise_all(self, watermark_ms: int) -> None:
        """As if both partitions had been read up to that time."""
        for source, offset in self.offsets.items():
            await self.send(Part(source=source, expected=offset, next=offset, raise_to_ms=watermark_ms))

    async def cells(
        self, model: MonitoredModel = MODEL, *, piece: bytes = EVERYTHING, at_ms: int = NOON_MS
    ) -> dict[tuple[bytes, bytes], int]:
        """Of one window and slice: label and prediction -> count."""
        start_ms = at_ms // model.base_window_ms * model.base_window_ms
        (counts,) = await self.ledger.cells(0, [(model_version_hash(model.name, "1"), start_ms)])
        return {cell[1:]: count for cell, count in counts.items() if cell[0] == piece and cell[1] != SUM}

    async def sums(self, model: MonitoredModel = MODEL, *, piece: bytes = EVERYTHING) -> dict[str, int]:
        """Of scores and numbers."""
        sums = await self._sums(model, piece)
        return {name: total for name, total in sums.items() if not name.startswith(DELAY_PREFIX)}

    async def delays(self, model: MonitoredModel = MODEL, *, piece: bytes = EVERYTHING) -> dict[str, int]:
        """How long labels took."""
        sums = await self._sums(model, piece)
        return {name: total for name, total in sums.items() if name.startswith(DELAY_PREFIX)}

    async def latencies(self, model: MonitoredModel = MODEL, *, piece: bytes = EVERYTHING) -> dict[str, int]:
        """How long predictions took."""
        sums = await self._sums(model, piece)
        return {name: total for name, total in sums.items() if name.startswith(LATENCY_PREFIX)}

    async def signals(self, model: MonitoredModel = MODEL, *, piece: bytes = EVERYTHING) -> dict[bytes, SignalTotals]:
        """What predictions told of the model's state, by hash of the signal."""
        return totals_by_signal(await self._sums(model, piece))

    async def _sums(self, model: MonitoredModel, piece: bytes) -> dict[str, int]:
        start_ms = NOON_MS // model.base_window_ms * model.base_window_ms
        (counts,) = await self.ledger.cells(0, [(model_version_hash(model.name, "1"), start_ms)])
        return {cell[2].decode(): count for cell, count in counts.items() if cell[0] == piece and cell[1] == SUM}

    async def fates(self) -> dict[str, int]:
        """Those that are not zero."""
        fates = await self.ledger.fates(0)
        return {name: count for name, count in fates.items() if count and not name.endswith(":read")}


def packed_signals(signals: Mapping[str, float]) -> bytes:
    """What one prediction tells."""
    word = np.zeros(1, dtype=word_type(len(signals)))
    word["shape"] = 1 if signals else 0
    word["values"] = kept_values(np.array([*signals.values()], dtype=np.float64))
    return pack_signals([tuple(map(signal_hash, signals))], word)


def pair(label: str, predicted: str) -> tuple[bytes, bytes]:
    """Label and prediction as cells have them; an empty label is none yet."""
    return (class_hash(label) if label else ABSENT, class_hash(predicted))
