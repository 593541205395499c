"""Counts of report windows by name, read from all shards of the ledger and kept while they hold."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

from streams.errors import TemporaryFailure
from streams.evaluation import RESERVED_NAMES, ReportWindow, slice_counts
from streams.identity import ABSENT, EVERYTHING, FAILED, SUM
from streams.monitored_model import MonitoredModel
from streams.pair_sums.lists import class_of
from streams.ports import Ledger
from streams.reports import SliceCounts
from streams.signals.sums import signal_of
from streams.window_sums import WindowSums

__all__ = ["WindowCounts"]

KEPT_CELLS = 500_000
"""Counts and sums kept between evaluations, at most about 80 MB with latencies among them: hours of a hundred models
with three slices. Beyond it base windows of larger ones are read again."""

_NAMELESS = frozenset({ABSENT, EVERYTHING, FAILED})


class WindowCounts:
    """What the shards have counted, summed over shards and base windows.

    Whoever uses it says which base windows changed (`drop_changed`), and forgets what another worker may
    have changed behind its back.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._names: dict[bytes, str] = dict(RESERVED_NAMES)
        self._sums = WindowSums(limit_cells=KEPT_CELLS)
        self.drop_changed = self._sums.drop_changed
        self.forget = self._sums.drop_model_version
        self.forget_all = self._sums.clear
        self.trim = self._sums.trim

    async def learn(self, hashes: Iterable[bytes]) -> Mapping[bytes, str]:
        """All names known, after reading the shards' tables if one of `hashes` is new."""
        if any(name not in self._names and name not in _NAMELESS for name in hashes):
            for names in await asyncio.gather(*map(self._ledger.names, range(self._ledger.shards))):
                self._names.update(names)
        return self._names

    def unread(self, window: ReportWindow, model: MonitoredModel) -> int:
        """How many base windows `read` would have to read for the window."""
        return sum(1 for _ in self._sums.missing(window, model))

    async def read(
        self, windows: Mapping[ReportWindow, MonitoredModel], stamps: Mapping[ReportWindow, Hashable]
    ) -> None:
        """Read what the windows need and is not kept. `stamps` tells base windows that are marked as changed."""
        plan = self._sums.plan(windows, stamps)
        if not plan:
            return
        groups = [[(base.model_version, base.start_ms) for base in bases] for bases in plan.values()]
        models = {window.model_version: model for window, model in windows.items()}
        found = await self._ledger.sums(groups)
        for (window, bases), cells in zip(plan.items(), found, strict=True):
            if window in bases:
                self._sums.put(window, [cells], stamp=stamps.get(window))
            else:
                self._sums.put_together(window, models[window.model_version], set(bases), cells, stamps)
        hashes: set[bytes] = set()
        for piece, label, prediction in set().union(*found):
            hashes.add(piece)
            hashes.update(_named_by(label, prediction))
        await self.learn(hashes)

    def slices(self, window: ReportWindow, model: MonitoredModel) -> Iterator[tuple[Mapping[str, str], SliceCounts]]:
        """Each slice of a window that was read, as segment and counts.

        Raises:
            TemporaryFailure: a name is in no shard's table.
        """
        for piece, pairs in self._sums.sum_of(window, model).items():
            try:
                segment: Mapping[str, str] = {} if piece == EVERYTHING else json.loads(self._names[piece])
                yield segment, slice_counts(pairs, self._names)
            except KeyError as unknown:
                raise TemporaryFailure(f"no shard knows the name of {unknown.args[0].hex()}") from unknown


@functools.lru_cache(maxsize=65_536)
def _named_by(label: bytes, prediction: bytes) -> Sequence[bytes]:
    """The hashes in a count or a sum that names are kept for."""
    if label != SUM:
        return label, prediction
    hashed = class_of(prediction) or signal_of(prediction)
    return () if hashed is None else (hashed,)
