"""What predictions of a batch tell of their signals, as words beside their rows (`streams.signals.words`).

Which names of a model have figures of their own is decided once for all shards and workers, first come up to
`limits.signals`, those of the configuration before any other. Values under further names are counted as one signal,
`OTHER`. A batch in which no prediction carries signals costs one look at each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from agents.good_records import GoodRecords, PackingSettings
from agents.name_registry import MODEL_VERSIONS, NameRegistry, signals_group
from schemas.limits import NAME_BYTES
from streams.identity import OTHER, model_version_hash, signal_hash
from streams.ledger.parts import Definitions, NameList
from streams.signals.buckets import kept_values
from streams.signals.words import pack_signals, word_type

__all__ = ["SignalRows", "SignalWords"]

OTHER_MODEL = "__other__"
_SUCCEEDED = (None, "ok")


@dataclasses.dataclass(frozen=True, slots=True)
class SignalWords:
    """Of the rows of a run: `shapes` are the hashes of names that stand together, `words` one for each row."""

    shapes: Sequence[Sequence[bytes]]
    words: npt.NDArray[np.void]

    def between(self, first: int, end: int) -> SignalWords:
        """Of some rows that follow each other."""
        return SignalWords(self.shapes, self.words[first:end])

    def packed(self, rows: npt.NDArray[np.int64]) -> bytes:
        """Of some rows, with the shapes that they have."""
        words = self.words[rows]
        used, numbers = np.unique(words["shape"], return_inverse=True)
        shapes = [self.shapes[number - 1] for number in used.tolist() if number]
        kept = np.zeros(len(words), dtype=word_type(max(map(len, shapes), default=0)))
        kept["shape"] = numbers + (not len(used) or used[0] != 0)
        kept["values"] = words["values"][:, : kept["values"].shape[1]]
        return pack_signals(shapes, kept)


@dataclasses.dataclass(frozen=True, slots=True)
class _Sent:
    """What the predictions of one model bring: their places in the batch, and their signals."""

    places: list[int]
    signals: list[Mapping[str, float | None]]


class SignalRows:
    """Packs signals; asks the registry about names that it has not seen."""

    def __init__(self, registry: NameRegistry, settings: PackingSettings) -> None:
        self._registry = registry
        self._settings = settings

    async def pack(self, found: GoodRecords) -> tuple[SignalWords | None, Definitions]:
        """Words and what they refer to; None if no prediction tells anything. To be called after the rows are packed:
        which model versions have cells is decided then."""
        sent = [record.signals for record in found.records]
        if sent.count(None) == len(sent):
            return None, Definitions()
        by_model: dict[tuple[str, str], _Sent] = {}
        for place, (record, signals) in enumerate(zip(found.records, sent, strict=True)):
            if signals and record.status in _SUCCEEDED:
                of_model = by_model.setdefault(self._counted_as(record.model, record.model_version), _Sent([], []))
                of_model.places.append(place)
                of_model.signals.append(signals)
        if not by_model:
            return None, Definitions()
        names: dict[bytes, str] = {}
        lists: dict[bytes, NameList] = {}
        tables = []
        for (counted, model), of_model in by_model.items():
            group = signals_group(counted)
            told = dict.fromkeys(name for each in of_model.signals for name in each)
            hashes = {name: signal_hash(name) for name in told}
            declared = map(signal_hash, self._settings.model(model).signals.names)
            wanted = [*declared, *(hashed for name, hashed in hashes.items() if _is_name(name))]
            lists[group] = await self._registry.decide(group, wanted, limit=self._registry.limits.signals)
            admitted = {name: hashed for name, hashed in hashes.items() if self._registry.has_cells(group, hashed)}
            names.update((hashed, name) for name, hashed in admitted.items())
            tables.append(_table(of_model.signals, admitted))
        words = np.zeros(len(sent), dtype=word_type(max(len(shape) for shape, _ in tables)))
        for number, (of_model, (shape, values)) in enumerate(zip(by_model.values(), tables, strict=True), start=1):
            words["shape"][of_model.places] = number
            words["values"][of_model.places, : len(shape)] = values
        return SignalWords([shape for shape, _ in tables], words), Definitions(names, name_lists=lists)

    def _counted_as(self, model: str, version: str | None) -> tuple[str, str]:
        """The model that counts a version, and the model itself."""
        has_cells = self._registry.has_cells(MODEL_VERSIONS, model_version_hash(model, version or ""))
        return model if has_cells else OTHER_MODEL, model


def _is_name(name: str) -> bool:
    """Whether a signal of this name may have figures; names between underscores are the monitor's own."""
    return 0 < len(name.encode()) <= NAME_BYTES and not (name.startswith("__") and name.endswith("__"))


def _table(
    signals: Sequence[Mapping[str, float | None]], admitted: Mapping[str, bytes]
) -> tuple[Sequence[bytes], npt.NDArray[np.float32]]:
    """The names that stand together, and the value of each in each prediction; last how many are left out."""
    rows = [[each.get(name) for name in admitted] for each in signals]
    values = kept_values(np.array(rows, dtype=np.float64).reshape(len(signals), len(admitted)))
    left_out = np.array([_left_out(each, admitted) for each in signals], dtype=np.float32)
    if not left_out.any() and admitted:
        return [*admitted.values()], values
    return [*admitted.values(), OTHER], np.column_stack((values, np.where(left_out, left_out, np.nan)))


def _left_out(signals: Mapping[str, float | None], admitted: Mapping[str, bytes]) -> int:
    return sum(value is not None and name not in admitted for name, value in signals.items())
