"""The monitor itself, as the worker that answers sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

from agents.cell_listing import list_totals
from agents.exposition import Metric
from agents.web.documents import PartitionPage, SystemMetric, SystemPage, SystemValue
from schemas.times import format_time
from streams.ledger.idleness import applied_to
from streams.ledger.parts import NEVER_MS, ShardState, Source
from streams.ports import Ledger

__all__ = ["SystemReader"]


class SystemReader:
    """Answers about partitions, fates and the worker's own metrics.

    Args:
        ledger: what is counted.
        topics: names of the input topics by role.
        version: of the program.
        config_hash: of the settings that figures depend on.
        unready: why the worker does not read.
        metrics: of the worker.
        ends: of the logs, as last looked at.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        topics: Mapping[str, str],
        version: str,
        config_hash: str,
        unready: Callable[[], str | None],
        metrics: Callable[[], Iterable[Metric]],
        ends: Callable[[], Mapping[Source, int]],
    ) -> None:
        self._ledger = ledger
        self._topics = topics
        self._version = version
        self._config_hash = config_hash
        self._unready = unready
        self._metrics = metrics
        self._ends = ends

    async def page(self) -> SystemPage:
        """Everything, as it stands now."""
        states = await asyncio.gather(*map(self._ledger.state, range(self._ledger.shards)))
        known = [state for state in states if state is not None]
        totals = await list_totals(self._ledger, self._topics) if known else []
        return SystemPage(
            version=self._version,
            config_hash=self._config_hash,
            unready=self._unready(),
            partitions=tuple(self._partitions(known)),
            fates={
                total["topic"]: {name: count for name, count in total.items() if name != "topic"} for total in totals
            },
            metrics=tuple(SystemMetric(metric.name, metric.help, tuple(_values(metric))) for metric in self._metrics()),
        )

    def _partitions(self, states: Sequence[ShardState]) -> Iterable[PartitionPage]:
        ends = self._ends()
        for source in sorted({source for state in states for source in state.sources}):
            counted_to, end = applied_to(source, states), ends.get(source)
            watermark_ms = min(
                state.sources[source].watermark_ms if source in state.sources else NEVER_MS for state in states
            )
            yield PartitionPage(
                topic=self._topics[source.role],
                partition=source.partition,
                counted_to=counted_to,
                end=end,
                lag=None if end is None else max(end - counted_to, 0),
                watermark=None if watermark_ms <= NEVER_MS else format_time(watermark_ms),
            )


def _values(metric: Metric) -> Iterable[SystemValue]:
    if isinstance(metric.values, Mapping):
        return (SystemValue(dict(labels), value) for labels, value in metric.values.items())
    return (SystemValue({}, metric.values),)
