"""The references that signals of models are compared with: read from the store, or made once and kept there."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Hashable, Mapping, Sequence

from agents.window_counts import WindowCounts
from streams.evaluation import ReportWindow
from streams.identity import model_version_hash
from streams.ledger.eras import first_settled_ms, settled_ms, whole_slices
from streams.ports import Ledger, ReportStore
from streams.publication import Subject
from streams.signals.reference import SignalReference, SignalSpan

__all__ = ["SignalReferences"]

_log = logging.getLogger(__name__)

WINDOWS_AT_ONCE = 100

_Place = tuple[bytes, SignalSpan]
"""The model version that a reference is of, and its span."""


class SignalReferences:
    """Remembers references: they never change, unless a store goes back.

    Args:
        ledger: tells which windows there are.
        counts: read the windows.
        store: keeps references for all workers; the first that is kept stands.
    """

    def __init__(self, ledger: Ledger, counts: WindowCounts, store: ReportStore) -> None:
        self._ledger = ledger
        self._counts = counts
        self._store = store
        self._known: dict[_Place, SignalReference | None] = {}

    def forget_all(self) -> None:
        """Read everything anew."""
        self._known.clear()

    async def read(
        self,
        subjects: Mapping[bytes, Subject],
        *,
        watermark_ms: int,
        keep_windows_ms: int,
        stamps: Mapping[ReportWindow, Hashable],
    ) -> Mapping[bytes, SignalReference]:
        """The reference of each model version that has one by now. `stamps` tells base windows marked as changed."""
        found: dict[bytes, SignalReference] = {}
        for model_version, subject in subjects.items():
            span = subject.model.signals.reference
            if span is None:
                continue
            version = subject.version if span.model_version is None else span.model_version
            place = (model_version_hash(subject.model.name, version), span)
            if place not in self._known:
                stored = await self._store.reference(place[0], span.name)
                if stored is not None:
                    self._known[place] = SignalReference.unpack(stored)
                elif watermark_ms > settled_ms(subject.eras, span.end_ms):
                    self._known[place] = await self._make(place, subject, watermark_ms, keep_windows_ms, stamps)
            reference = self._known.get(place)
            if reference is not None:
                found[model_version] = reference
        return found

    async def _make(
        self,
        place: _Place,
        subject: Subject,
        watermark_ms: int,
        keep_windows_ms: int,
        stamps: Mapping[ReportWindow, Hashable],
    ) -> SignalReference | None:
        """None if nothing was told in the span, or its first windows may be gone."""
        (model_version, span), model = place, subject.model
        first_ms = first_settled_ms(subject.eras, span.start_ms, span.end_ms, base_ms=model.base_window_ms)
        if watermark_ms > first_ms + keep_windows_ms:
            _log.warning("Signals of %s have no reference: its windows are not kept any more", subject.text)
            return None
        windows = await self._windows(model_version, span, model.base_window_ms)
        whole = whole_slices(subject.eras, span.start_ms, span.end_ms)
        reference = SignalReference()
        for at in range(0, len(windows), WINDOWS_AT_ONCE):
            chunk = windows[at : at + WINDOWS_AT_ONCE]
            await self._counts.read(dict.fromkeys(chunk, model), stamps)
            found = itertools.chain.from_iterable(self._counts.slices(window, model) for window in chunk)
            reference += SignalReference.of(
                (piece, counts.signals) for piece, counts in found if frozenset(piece) in whole
            )
            self._counts.trim()
        if not reference.slices:
            return None
        return SignalReference.unpack(await self._store.keep_reference(model_version, span.name, reference.pack()))

    async def _windows(self, model_version: bytes, span: SignalSpan, size_ms: int) -> Sequence[ReportWindow]:
        by_shard = await asyncio.gather(*map(self._ledger.windows, range(self._ledger.shards)))
        starts = {
            start_ms
            for version, start_ms in itertools.chain.from_iterable(by_shard)
            if version == model_version and span.start_ms <= start_ms < span.end_ms
        }
        return [ReportWindow(model_version, size_ms, start_ms) for start_ms in sorted(starts)]
