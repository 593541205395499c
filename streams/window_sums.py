"""Counts of windows summed level by level, kept from one evaluation to the next.

    base windows   | 5m | 5m* | 5m | ... | 5m |      * changed, and read again
    hours          |        1h*       | 1h | 1h |      moved by what the base window moved
    days           |             1d*           |      likewise

An outer sum is made once, from the windows of the next smaller level, and from then on follows its base windows:
what one has now is added, what it had is taken away. That takes knowing what it had; of a base window that is
not kept nobody knows, and the sums around it are made again.

Most base windows need not be known one by one: they changed for the last time long ago. So `plan` has those that
make up a window of the next level read together, apart from the few that have changed just now and soon may again.
Between levels that lie far apart stands one more.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
import math
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
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

MOST_INNER = 60
"""Windows of one level in a window of the next: with more, a change of one that nobody knows costs too much."""

TRIM_SHARE = 0.9
"""How full to leave it, so that not every evaluation has to look for what is oldest."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Kept:
    """`stamp` is that of a base window, `stamps` those of base windows that were read together."""

    sums: dict[bytes, PairCounts]
    stamp: Hashable = None
    stamps: Mapping[ReportWindow, Hashable] = dataclasses.field(default_factory=dict)

    @property
    def cost(self) -> int:
        # An empty window costs its entry too.
        return 1 + sum(map(len, self.sums.values()))


_NOTHING = _Kept({})
"""Of base windows without counts: a model that begins has a hundred of them in its past."""


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
        sums = self._sums_of(cells)
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
        self._keep(base, _NOTHING if not sums and stamp is None else _Kept(sums, stamp))

    def put_together(
        self,
        window: ReportWindow,
        model: MonitoredModel,
        bases: Collection[ReportWindow],
        cells: WindowCells,
        stamps: Mapping[ReportWindow, Hashable],
    ) -> None:
        """Keep the counts of a window, as `plan` named it with the base windows that `cells` is the sum of.

        Raises:
            KeyError: another base window in it was not put, or is outdated.
        """
        sums = self._sums_of([cells])
        for base in _inner_windows(window, model):
            if base not in bases:
                _add(sums, self.sum_of(base, model), times=1)
        self._remove(window)
        self._keep(window, _Kept(sums, stamps={base: stamps[base] for base in bases if base in stamps}))

    def plan(
        self, windows: Mapping[ReportWindow, MonitoredModel], stamps: Mapping[ReportWindow, Hashable]
    ) -> Mapping[ReportWindow, Sequence[ReportWindow]]:
        """What has to be put before `sum_of` can answer for these windows: first base windows, each made of itself,
        then larger ones by the base windows in them that need not be known one by one. `stamps` tells those that are
        marked as changed."""
        while True:
            single, together = self._planned(windows, stamps)
            # Nobody knows what these were, so what is around them has to be made again too.
            outers = {outer for base in single if not self._is_kept(base) for outer in self._around(base)}
            if not outers:
                return single | together
            for outer in outers:
                self._remove(outer)

    def _planned(
        self, windows: Mapping[ReportWindow, MonitoredModel], stamps: Mapping[ReportWindow, Hashable]
    ) -> tuple[dict[ReportWindow, Sequence[ReportWindow]], dict[ReportWindow, Sequence[ReportWindow]]]:
        apart = {window for window, model in windows.items() if window.size_ms == model.base_window_ms}
        missing: dict[ReportWindow, Sequence[ReportWindow]] = {}
        single: dict[ReportWindow, Sequence[ReportWindow]] = {}
        for window, model in windows.items():
            for outer, bases in self._missing_in(window, model):
                missing[outer] = bases
                named = apart.union(_soon_again(outer, model, stamps))
                single |= {base: [base] for base in bases if base in named or self._is_kept(base)}
        # What stands for itself is in no other group, where it might be read a moment later, after it has changed.
        rests = ((outer, [base for base in bases if base not in single]) for outer, bases in missing.items())
        together: dict[ReportWindow, Sequence[ReportWindow]] = {outer: rest for outer, rest in rests if rest}
        return single, together

    def drop_changed(self, base: ReportWindow, *, stamp: Hashable) -> None:
        """Have a base window put again, unless it was put with this very stamp."""
        kept = self._levels[base.size_ms].get(base)
        if kept is None:
            if not any(self._levels[outer.size_ms][outer].stamps.get(base) == stamp for outer in self._around(base)):
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
        """The base windows that have to be read before `sum_of` can answer."""
        for _, bases in self._missing_in(window, model):
            yield from bases

    def _missing_in(
        self, window: ReportWindow, model: MonitoredModel
    ) -> Iterator[tuple[ReportWindow, Sequence[ReportWindow]]]:
        """Likewise, by the smallest window around them that has to be made."""
        if window in self._levels[window.size_ms]:
            for base in self._outdated_in(window):
                yield base, [base]
        elif window.size_ms == model.base_window_ms:
            yield window, [window]
        elif _inner_size_ms(window.size_ms, model) > model.base_window_ms:
            for inner in _inner_windows(window, model):
                yield from self._missing_in(inner, model)
        else:
            bases = [base for inner in _inner_windows(window, model) for base in self._missing_base(inner)]
            if bases:
                yield window, bases

    def _missing_base(self, base: ReportWindow) -> Iterator[ReportWindow]:
        if not self._is_kept(base) or base in self._outdated.get(base.model_version, ()):
            yield base

    def _is_kept(self, window: ReportWindow) -> bool:
        return window in self._levels[window.size_ms]

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

    def _sums_of(self, cells: Iterable[WindowCells]) -> dict[bytes, PairCounts]:
        sums: dict[bytes, PairCounts] = {}
        for some_cells in cells:
            for (piece, label, prediction), count in some_cells.items():
                pair = self._pairs.setdefault((label, prediction), (label, prediction))
                pairs = sums.setdefault(piece, {})
                pairs[pair] = pairs.get(pair, 0) + count
        return sums

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


def _soon_again(
    outer: ReportWindow, model: MonitoredModel, stamps: Mapping[ReportWindow, Hashable]
) -> Collection[ReportWindow]:
    """The changed base windows in a window that are worth knowing one by one: when a backlog has changed most of them,
    the newest alone."""
    if outer.size_ms == model.base_window_ms:
        return [outer]
    bases = list(_inner_windows(outer, model))
    changed = [base for base in bases if base in stamps]
    return changed if 2 * len(changed) < len(bases) else changed[-1:]


def _inner_windows(window: ReportWindow, model: MonitoredModel) -> Iterator[ReportWindow]:
    """The windows of the next smaller level that make up a window."""
    inner_ms = _inner_size_ms(window.size_ms, model)
    for start_ms in range(window.start_ms, window.end_ms, inner_ms):
        yield ReportWindow(window.model_version, inner_ms, start_ms)


def _inner_size_ms(size_ms: int, model: MonitoredModel) -> int:
    return _next_smaller_ms(size_ms, (model.base_window_ms, *model.report_windows_ms))


@functools.lru_cache(maxsize=1024)
def _next_smaller_ms(size_ms: int, sizes_ms: Sequence[int]) -> int:
    """The next smaller level; one that nobody reports on if it would have more than `MOST_INNER` windows.

    >>> _next_smaller_ms(86_400_000, (60_000, 86_400_000)), _next_smaller_ms(2_160_000, (60_000, 86_400_000))
    (2160000, 60000)
    """
    inner_ms = max(inner_ms for inner_ms in sizes_ms if inner_ms < size_ms and size_ms % inner_ms == 0)
    many = size_ms // inner_ms
    if many <= MOST_INNER:
        return inner_ms
    parts = (part for part in range(math.isqrt(many), 0, -1) if many % part == 0)
    return inner_ms * next(parts)
