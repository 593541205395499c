"""The ledger's counts by name, summed over its shards, in the order and form of the contract.

Read window by window, so that a listing of any length needs little memory. While workers count, a listing is a
little different from shard to shard; once they have stopped it is exact.
"""

from __future__ import annotations

import asyncio
import collections
import itertools
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Any

from schemas.times import format_time
from streams.errors import PermanentFailure
from streams.evaluation import RESERVED_NAMES
from streams.identity import ABSENT, EVERYTHING, FAILED, SUM
from streams.ledger.fates import LabelFate, PredictionFate
from streams.ledger.founding import check_format, check_shards
from streams.ledger.parts import Role
from streams.ports import Cell, Ledger

__all__ = ["CELL_COLUMNS", "list_cells", "list_totals"]

CELL_COLUMNS = ("model", "model_version", "segment", "window_start", "label", "prediction", "count")
WINDOWS_AT_ONCE = 500

FATES: Mapping[Role, Sequence[str]] = {Role.PREDICTIONS: tuple(PredictionFate), Role.LABELS: tuple(LabelFate)}


async def list_cells(ledger: Ledger, *, model: str | None = None) -> AsyncIterator[dict[str, Any]]:
    """Every cell that is not zero, sorted by model, version, window, segment, label, prediction.

    Args:
        model: only this model's cells.

    Raises:
        PermanentFailure: Redis holds no such ledger, one that is damaged, or that a newer version has written.
    """
    await _check_exists(ledger)
    shards = range(ledger.shards)
    by_shard = await asyncio.gather(*map(ledger.windows, shards))
    names = _Names(ledger)
    subjects: dict[tuple[bytes, int], tuple[str, str]] = {}
    for window in set(itertools.chain.from_iterable(by_shard)):
        name, version = json.loads(await names.of(window[0]))
        if model is None or name == model:
            subjects[window] = (name, version)
    ordered = sorted(subjects, key=lambda window: (*subjects[window], window[1]))
    for chunk in _chunks(ordered):
        counted = await asyncio.gather(*(ledger.cells(shard, chunk) for shard in shards))
        for window, cells in zip(chunk, zip(*counted, strict=True), strict=True):
            records = [await _record(names, cell, count) for cell, count in _sum(cells) if count]
            head, start = subjects[window], format_time(window[1])
            for record in sorted(records, key=_order):
                yield _in_order(record, *head, start)


async def list_totals(ledger: Ledger, topics: Mapping[str, str]) -> list[dict[str, Any]]:
    """What became of the records read, one entry per input topic.

    Args:
        topics: name on the wire of each role.

    Raises:
        PermanentFailure: Redis holds no such ledger, or one of another number of shards.
    """
    await _check_exists(ledger)
    totals: collections.Counter[str] = collections.Counter()
    for fates in await asyncio.gather(*map(ledger.fates, range(ledger.shards))):
        totals.update(fates)
    return [
        {
            "topic": topics[role],
            "read": totals[f"{role}:read"],
            **{str(fate): totals[f"{role}:{fate}"] for fate in fates},
        }
        for role, fates in FATES.items()
    ]


async def _check_exists(ledger: Ledger) -> None:
    charter = await ledger.charter()
    check_format(charter)
    if charter is not None:
        check_shards(charter, ledger.shards)
    states = await asyncio.gather(*map(ledger.state, range(ledger.shards)))
    if all(state is None for state in states):
        raise PermanentFailure(
            "Redis holds no ledger of this prefix and number of shards: nothing has been counted. `latelabel worker`"
            " begins one; if there should be one, check redis.url, redis.prefix and redis.shards"
        )


class _Names:
    """The shards' name tables. They are read once more when a name is unknown: it may have come since."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._names: dict[bytes, str] = dict(RESERVED_NAMES)

    async def of(self, name: bytes) -> str:
        if name not in self._names:
            for names in await asyncio.gather(*map(self._ledger.names, range(self._ledger.shards))):
                self._names.update(names)
        if name not in self._names:
            raise PermanentFailure(f"the ledger counts under {name.hex()}, a name that no shard knows: it is damaged")
        return self._names[name]


def _sum(cells: Iterable[Mapping[Cell, int]]) -> Iterable[tuple[Cell, int]]:
    total: collections.Counter[Cell] = collections.Counter()
    for shard_cells in cells:
        total.update({cell: count for cell, count in shard_cells.items() if cell[1] not in (FAILED, SUM)})
    return total.items()


async def _record(names: _Names, cell: Cell, count: int) -> dict[str, Any]:
    piece, label, prediction = cell
    return {
        "segment": {} if piece == EVERYTHING else json.loads(await names.of(piece)),
        "label": None if label == ABSENT else await names.of(label),
        "prediction": None if prediction == ABSENT else await names.of(prediction),
        "count": count,
    }


def _order(record: Mapping[str, Any]) -> tuple[Any, ...]:
    label, prediction = record["label"], record["prediction"]
    return (sorted(record["segment"].items()), label is not None, label or "", prediction or "")


def _in_order(record: Mapping[str, Any], model: str, version: str, start: str) -> dict[str, Any]:
    known = {**record, "model": model, "model_version": version, "window_start": start}
    return {column: known[column] for column in CELL_COLUMNS}


def _chunks(windows: Sequence[tuple[bytes, int]]) -> Iterator[Sequence[tuple[bytes, int]]]:
    for at in range(0, len(windows), WINDOWS_AT_ONCE):
        yield windows[at : at + WINDOWS_AT_ONCE]
