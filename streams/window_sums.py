"""Counts of windows summed level by level, kept from one evaluation to the next.

    base windows   | 5m | 5m* | 5m | ... | 5m |      * changed, and read again
    hours          |        1h*       | 1h | 1h |      moved by what the base window moved
    days           |             1d*           |      likewise

An outer sum is made once, from the windows of the next smaller level, and from then on follows its base windows:
what one has now is added, what it had is taken away. That takes knowing what it had; of a base window that is
not kept any more nobody knows, and the sums around it are made again.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import TypeAlias

from streams.evaluation import ReportWindow
from streams.monitored_model import MonitoredModel
from streams.ports import WindowCells
from streams.windows import window_start_ms

__all__ = ["PairCounts", "SliceSums", "WindowSums"]

PairCounts: TypeAlias = dict[tuple[bytes, bytes], int]
"""Counts by label and prediction hash, of one slice."""

SliceSums: TypeAlias = Mapping[bytes, PairCounts]
"""The counts of one window by slice hash."""

TRIM_SHARE = 0.9
"""How full to leave it, so that not every evaluation has to look for what is oldest."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Kept:
    sums: dict[bytes, PairCounts]
    stamp: Hashable = None

    @property
    def cost(self) -> int:
        # An empty window costs its entry too.
        return 1 + sum(map(len, self.sums.values()))


class WindowSums:
    """Counts of base windows and of the windows made of them, as far as they were read and are kept.

    A base window carries a stamp: what was known of its changes before it was read. One that has changed since is
    outdated until it is put again. Once more than `limit_cells` counts are kept, `trim` lets those windows leave
    first that ended longest before the newest of their model version, in lengths of their own: base windows of the
    last hour stay as long as hours of half a day, so that a label which comes late costs an hour to be read again
    and not a day.
    """

    def __init__(self, *, limit_cells: int) -> None:
        self._limit_cells = limit_cells
        self._cost = 0
        self._levels: dict[int, dict[ReportWindow, _Kept]] = collections.defaultdict(dict)
        self._outdated: dict[bytes, set[ReportWindow]] = collections.defaultdict(set)
        # One object for each pair of classes, instead of one for each cell.
        self._pairs: dict[tuple[bytes, bytes], tuple[bytes, bytes]] = {}

    def put(self, base: ReportWindow, cells: Iterable[WindowCells], *, stamp: Hashable = None) -> None:
        """Keep the counts of a base window, the sum over `cells` (one for each shard)."""
        sums: dict[bytes, PairCounts] = {}
        for shard_cells in cells:
            for (piece, label, prediction), count in shard_cells.items():
                pair = self._pairs.setdefault((label, prediction), (label, prediction))
                pairs = sums.setdefault(piece, {})
                pairs[pair] = pairs.get(pair, 0) + count
        before = self._levels[base.size_ms].get(base)
        if before is None:
            self._drop_around(base)
        else:
            for outer in self._around(base):
                kept = self._levels[outer.size_ms][outer]
                self._cost -= kept.cost
                _add(kept.sums, sums, times=1)
                _add(kept.sums, before.sums, times=-1)
                self._cost += kept.cost
        self._remove(base)
        self._keep(base, _Kept(sums, stamp))

    def drop_changed(self, base: ReportWindow, *, stamp: Hashable) -> None:
        """Have a base window put again, unless it was put with this very stamp."""
        kept = self._levels[base.size_ms].get(base)
        if kept is None:
            self._drop_around(base)
        elif kept.stamp != stamp:
            self._outdated[base.model_version].add(base)

    def drop_model_version(self, model_version: bytes) -> None:
        """Forget all of one model version."""
        self._outdated.pop(model_version, None)
        for level in self._levels.values():
            for window in [window for window in level if window.model_version == model_version]:
                self._remove(window)

    def clear(self) -> None:
        """Forget everything."""
        self._levels.clear()
        self._outdated.clear()
        self._pairs.clear()
        self._cost = 0

    def missing(self, window: ReportWindow, model: MonitoredModel) -> Iterator[ReportWindow]:
        """The base windows that have to be put before `sum_of` can answer."""
        if window in self._levels[window.size_ms]:
            yield from self._outdated_in(window)
        elif window.size_ms == model.base_window_ms:
            yield window
        else:
            for inner in _inner_windows(window, model):
                yield from self.missing(inner, model)

    def sum_of(self, window: ReportWindow, model: MonitoredModel) -> SliceSums:
        """The counts of a window by slice; not to be changed, and gone when the next base window is put.

        Raises:
            KeyError: a base window was not put, or is outdated.
        """
        for outdated in self._outdated_in(window):
            raise KeyError(outdated)
        level = self._levels[window.size_ms]
        if window in level:
            return level[window].sums
        if window.size_ms == model.base_window_ms:
            raise KeyError(window)
        sums: dict[bytes, PairCounts] = {}
        for inner in _inner_windows(window, model):
            _add(sums, self.sum_of(inner, model), times=1)
        self._keep(window, _Kept(sums))
        return sums

    def trim(self) -> None:
        """Forget the oldest windows beyond the limit."""
        if self._cost <= self._limit_cells:
            return
        windows = list(itertools.chain.from_iterable(self._levels.values()))
        newest_ms: dict[bytes, int] = {}
        for window in windows:
            newest_ms[window.model_version] = max(window.end_ms, newest_ms.get(window.model_version, window.end_ms))
        windows.sort(key=lambda each: ((each.end_ms - newest_ms[each.model_version]) / each.size_ms, each.size_ms))
        for window in windows:
            if self._cost <= TRIM_SHARE * self._limit_cells:
                break
            if window in self._outdated.get(window.model_version, ()):
                self._drop_around(window)
            self._remove(window)

    def _outdated_in(self, window: ReportWindow) -> list[ReportWindow]:
        outdated = self._outdated.get(window.model_version)
        if not outdated:
            return []
        return [base for base in outdated if window.start_ms <= base.start_ms < window.end_ms]

    def _around(self, base: ReportWindow) -> list[ReportWindow]:
        """The larger windows that are kept and contain a base window."""
        around = (
            ReportWindow(base.model_version, size_ms, window_start_ms(base.start_ms, size_ms=size_ms))
            for size_ms in self._levels
            if size_ms > base.size_ms
        )
        return [outer for outer in around if outer in self._levels[outer.size_ms]]

    def _drop_around(self, base: ReportWindow) -> None:
        for outer in self._around(base):
            self._remove(outer)

    def _keep(self, window: ReportWindow, kept: _Kept) -> None:
        self._levels[window.size_ms][window] = kept
        self._cost += kept.cost

    def _remove(self, window: ReportWindow) -> None:
        kept = self._levels[window.size_ms].pop(window, None)
        if kept is not None:
            self._cost -= kept.cost
        if window.model_version in self._outdated:
            self._outdated[window.model_version].discard(window)


def _add(sums: dict[bytes, PairCounts], more: SliceSums, *, times: int) -> None:
    """Add to each count, in place; what becomes nothing leaves."""
    for piece, pairs in more.items():
        total = sums.setdefault(piece, {})
        for pair, count in pairs.items():
            changed = total.get(pair, 0) + times * count
            if changed:
                total[pair] = changed
            else:
                total.pop(pair, None)
        if not total:
            del sums[piece]


def _inner_windows(window: ReportWindow, model: MonitoredModel) -> Iterator[ReportWindow]:
    """The windows of the next smaller level that make up a window."""
    sizes = (model.base_window_ms, *model.report_windows_ms)
    inner_ms = max(size for size in sizes if size < window.size_ms and window.size_ms % size == 0)
    for start_ms in range(window.start_ms, window.end_ms, inner_ms):
        yield ReportWindow(window.model_version, inner_ms, start_ms)
