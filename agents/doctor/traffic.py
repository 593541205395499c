"""What recent windows say about each model: how many predictions come, and which classes they and the labels have.

Two samples of base windows: the newest, where few labels are in yet, and the newest that have settled.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from streams.evaluation import RESERVED_NAMES
from streams.identity import ABSENT, EVERYTHING, FAILED, SUM
from streams.ledger.agreements import Agreements
from streams.ledger.eras import longest_horizon_ms, settled_ms
from streams.monitored_model import MonitoredModel
from streams.ports import Ledger, WindowCells

__all__ = ["Traffic", "recent_traffic"]

SAMPLED_WINDOWS = 12
MAX_MODEL_VERSIONS = 1000
SECOND_MS = 1000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """One model version. `horizon_ms` is how long its predictions wait at most, now or later; `per_second` the rate of
    its busiest recent window, in event time; `labelled` counts the predictions behind `labels`."""

    model: MonitoredModel
    version: str
    horizon_ms: int
    per_second: float
    predictions: frozenset[str]
    labels: frozenset[str]
    labelled: int


async def recent_traffic(
    ledger: Ledger, model: Callable[[str], MonitoredModel], agreed: Agreements, *, watermark_ms: int
) -> Sequence[Traffic]:
    """Sample the model versions that were counted last, up to 1,000.

    Args:
        agreed: how models are counted.
        model: the settings of any model by name.
        watermark_ms: before which windows settle.
    """
    shards = range(ledger.shards)
    names: dict[bytes, str] = dict(RESERVED_NAMES)
    for table in await asyncio.gather(*map(ledger.names, shards)):
        names.update(table)
    starts: dict[bytes, set[int]] = collections.defaultdict(set)
    for windows in await asyncio.gather(*map(ledger.windows, shards)):
        for model_version, start_ms in windows:
            starts[model_version].add(start_ms)
    newest = sorted((version for version in starts if version in names), key=lambda each: -max(starts[each]))
    found = []
    for model_version in newest[:MAX_MODEL_VERSIONS]:
        name, version = json.loads(names[model_version])
        monitored = model(name)
        eras, base_ms = agreed.eras(monitored), monitored.base_window_ms
        ordered = sorted(starts[model_version])
        settled = [at for at in ordered if settled_ms(eras, at + base_ms) <= watermark_ms]
        sampled = {*ordered[-SAMPLED_WINDOWS:], *settled[-SAMPLED_WINDOWS:]}
        places = [(model_version, start_ms) for start_ms in sorted(sampled)]
        by_shard = await asyncio.gather(*(ledger.cells(shard, places) for shard in shards))
        recent = set(ordered[-SAMPLED_WINDOWS:])
        counts = [_count(cells) for cells in zip(*by_shard, strict=True)]
        busiest = max(
            (sum(pairs.values()) for (_, at), pairs in zip(places, counts, strict=True) if at in recent), default=0
        )
        found.append(
            Traffic(
                model=monitored,
                version=version,
                horizon_ms=longest_horizon_ms(eras, watermark_ms=watermark_ms),
                per_second=busiest * SECOND_MS / base_ms,
                predictions=_named((pair[1] for pairs in counts for pair in pairs), names),
                labels=_named((pair[0] for pairs in counts for pair in pairs), names),
                labelled=sum(count for pairs in counts for (label, _), count in pairs.items() if _is_class(label)),
            )
        )
    return found


def _count(shards: Collection[WindowCells]) -> Mapping[tuple[bytes, bytes], int]:
    """The pairs of label and prediction of one window over all shards, of everything."""
    pairs: collections.Counter[tuple[bytes, bytes]] = collections.Counter()
    for cells in shards:
        for (piece, label, prediction), count in cells.items():
            if piece == EVERYTHING and label != SUM:
                pairs[label, prediction] += count
    return pairs


def _is_class(hashed: bytes) -> bool:
    return hashed not in (ABSENT, FAILED)


def _named(hashes: Iterable[bytes], names: Mapping[bytes, str]) -> frozenset[str]:
    """Names of classes; what stands for several, or for none, is left out."""
    return frozenset(
        names[each] for each in set(hashes) if _is_class(each) and each not in RESERVED_NAMES and each in names
    )
