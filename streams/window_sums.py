"""Counts of windows summed level by level, kept from one evaluation to the next.

    base windows   | 5m | 5m* | 5m | ... | 5m |      * read again
    hours          |        1h*       | 1h | 1h |      made again, from 12 base windows that are kept
    days           |             1d*           |      made again, from 24 hours that are kept

An outer sum is only made again after one of its inner windows was read again.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import TypeAlias

from streams.evaluation import ReportWindow, touched_windows
from streams.monitored_model import MonitoredModel
from streams.ports import WindowCells

__all__ = ["PairCounts", "SliceSums", "WindowSums"]

PairCounts: TypeAlias = dict[tuple[bytes, bytes], int]
"""Counts by label and prediction hash, of one slice."""

SliceSums: TypeAlias = Mapping[bytes, PairCounts]
"""The counts of one window by slice hash."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Kept:
    sums: SliceSums
    stamp: Hashable = None

    @property
    def cost(self) -> int:
        # An empty window costs its entry too.
        return 1 + sum(map(len, self.sums.values()))


_Level: TypeAlias = collections.OrderedDict[ReportWindow, _Kept]
"""The windows of one size, least recently used first."""


class WindowSums:
    """Counts of base windows and of the windows made of them, as far as they were read and are kept.

    A base window carries a stamp: what was known of its changes before it was read. Once more than
    `limit_cells` counts are kept, `trim` lets the smallest windows leave first, of those the ones used least
    recently: an outer sum stands for all its inner windows until one of them changes.
    """

    def __init__(self, *, limit_cells: int) -> None:
        self._limit_cells = limit_cells
        self._cost = 0
        self._levels: dict[int, _Level] = collections.defaultdict(collections.OrderedDict)
        # One object for each pair of classes, instead of one for each cell.
        self._pairs: dict[tuple[bytes, bytes], tuple[bytes, bytes]] = {}

    def put(
        self, base: ReportWindow, cells: Iterable[WindowCells], model: MonitoredModel, *, stamp: Hashable = None
    ) -> None:
        """Keep the counts of a base window, the sum over `cells` (one for each shard)."""
        sums: dict[bytes, PairCounts] = {}
        for shard_cells in cells:
            for (piece, label, prediction), count in shard_cells.items():
                pair = self._pairs.setdefault((label, prediction), (label, prediction))
                pairs = sums.setdefault(piece, {})
                pairs[pair] = pairs.get(pair, 0) + count
        self._drop(base, model)
        self._keep(base, _Kept(sums, stamp))

    def drop_changed(self, base: ReportWindow, model: MonitoredModel, *, stamp: Hashable) -> None:
        """Forget a base window and every sum around it, unless it was read with this very stamp."""
        kept = self._levels[base.size_ms].get(base)
        if kept is None or kept.stamp != stamp:
            self._drop(base, model)

    def drop_model_version(self, model_version: bytes) -> None:
        """Forget all of one model version."""
        for level in self._levels.values():
            for window in [window for window in level if window.model_version == model_version]:
                self._remove(window)

    def clear(self) -> None:
        """Forget everything."""
        self._levels.clear()
        self._pairs.clear()
        self._cost = 0

    def missing(self, window: ReportWindow, model: MonitoredModel) -> Iterator[ReportWindow]:
        """The base windows that have to be put before `sum_of` can answer."""
        if window in self._levels[window.size_ms]:
            return
        if window.size_ms == model.base_window_ms:
            yield window
            return
        for inner in _inner_windows(window, model):
            yield from self.missing(inner, model)

    def sum_of(self, window: ReportWindow, model: MonitoredModel) -> SliceSums:
        """The counts of a window by slice; not to be changed.

        Raises:
            KeyError: a base window was not put.
        """
        level = self._levels[window.size_ms]
        if window in level:
            level.move_to_end(window)
            return level[window].sums
        if window.size_ms == model.base_window_ms:
            raise KeyError(window)
        sums: dict[bytes, PairCounts] = {}
        for inner in _inner_windows(window, model):
            for piece, pairs in self.sum_of(inner, model).items():
                total = sums.setdefault(piece, {})
                for pair, count in pairs.items():
                    total[pair] = total.get(pair, 0) + count
        self._keep(window, _Kept(sums))
        return sums

    def trim(self) -> None:
        """Forget what was used least recently beyond the limit."""
        for _, level in sorted(self._levels.items()):
            while self._cost > self._limit_cells and level:
                self._remove(next(iter(level)))

    def _drop(self, base: ReportWindow, model: MonitoredModel) -> None:
        for window in {base, *touched_windows(base.model_version, base.start_ms, model)}:
            self._remove(window)

    def _keep(self, window: ReportWindow, kept: _Kept) -> None:
        self._levels[window.size_ms][window] = kept
        self._cost += kept.cost

    def _remove(self, window: ReportWindow) -> None:
        kept = self._levels[window.size_ms].pop(window, None)
        if kept is not None:
            self._cost -= kept.cost


def _inner_windows(window: ReportWindow, model: MonitoredModel) -> Iterator[ReportWindow]:
    """The windows of the next smaller level that make up a window."""
    sizes = (model.base_window_ms, *model.report_windows_ms)
    inner_ms = max(size for size in sizes if size < window.size_ms and window.size_ms % size == 0)
    for start_ms in range(window.start_ms, window.end_ms, inner_ms):
        yield ReportWindow(window.model_version, inner_ms, start_ms)
