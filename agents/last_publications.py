"""When each report window was last published."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping

from streams.evaluation import Publication, ReportWindow
from streams.ports import ReportStore
from streams.publication import Subject

__all__ = ["LastPublications"]


class LastPublications:
    """Remembers it of windows that are likely to be revised soon again; the store knows it of all."""

    def __init__(self, store: ReportStore) -> None:
        self._store = store
        self._known: dict[bytes, dict[ReportWindow, Publication]] = collections.defaultdict(dict)

    def forget(self, model_version: bytes) -> None:
        """Ask the store anew about a model version."""
        self._known.pop(model_version, None)

    def forget_all(self) -> None:
        """Ask the store anew about everything."""
        self._known.clear()

    def get(self, window: ReportWindow) -> Publication | None:
        """The last one that is remembered."""
        return self._known[window.model_version].get(window)

    def put(self, window: ReportWindow, publication: Publication) -> None:
        """Remember one."""
        self._known[window.model_version][window] = publication

    def drop(self, window: ReportWindow) -> None:
        """Ask the store when it is wanted again."""
        self._known[window.model_version].pop(window, None)

    async def recall(self, subjects: Mapping[bytes, Subject], windows: Iterable[ReportWindow]) -> None:
        """Learn when the windows were last published, as far as it is not remembered."""
        places: dict[bytes, ReportWindow] = {}
        wanted: dict[bytes, list[bytes]] = collections.defaultdict(list)
        for window in windows:
            if self.get(window) is None:
                key = subjects[window.model_version].key(window, {}).encode()
                places[key] = window
                wanted[window.model_version].append(key)
        for key, last in (await self._store.last(wanted)).items():
            self.put(places[key], Publication(last.published_ms, last.watermark_ms))
