"""From fetched records to those among them that are good, and why the others are not."""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar, cast

import numpy as np
import numpy.typing as npt

from agents.refused_record import refusal
from schemas.codec import Decoded, class_name, class_names, decode_labels, decode_predictions, regression_value
from schemas.errors import Rejected
from streams.ledger.agreements import Agreements
from streams.ledger.parts import Role
from streams.monitored_model import MonitoredModel, Task

__all__ = ["GoodRecords", "Named", "PackingSettings", "column", "numbered", "read_records"]


_Item = TypeVar("_Item", bound=Hashable)
Named: TypeAlias = str | tuple[str, ...] | None
"""What a record names: a class, a list of them, or nothing."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PackingSettings:
    """What packing needs to know of the configuration.

    `model` returns the settings of any model by name, all defaults for one that is not listed.
    `dead_letters` is the name of that topic on the wire. `predicts_numbers` says whether some model is a regression:
    labels that are numbers then travel as such too. `takes_lists` says whether some model answers with lists: labels
    that are lists are then taken. `agreed` says how the ledger counts models at the moment.
    """

    shards: int
    lateness_ms: int
    max_future_skew_ms: int
    dead_letters: str
    predicts_numbers: bool
    takes_lists: bool
    model: Callable[[str], MonitoredModel]
    agreed: Callable[[], Agreements] = Agreements


@dataclasses.dataclass(frozen=True, slots=True)
class GoodRecords:
    """Those among some records.

    Each with its index, its class as it was sent (None: no answer, a tuple: a list) and its event time.
    `has_lists` says whether one of them is a list. `rejected` are the others, by index.
    """

    records: Sequence[Any]
    indexes: Sequence[int]
    classes: Sequence[Named]
    has_lists: bool
    times_ms: npt.NDArray[np.int64]
    rejected: Sequence[tuple[int, Rejected]]

    def between(self, first: int, end: int) -> GoodRecords:
        """Those at some places among the good ones; indexes stay, and none is rejected."""
        return GoodRecords(
            records=self.records[first:end],
            indexes=self.indexes[first:end],
            classes=self.classes[first:end],
            has_lists=self.has_lists,
            times_ms=self.times_ms[first:end],
            rejected=(),
        )

    @property
    def texts(self) -> Sequence[str | None]:
        """The classes; None in the place of a list."""
        if not self.has_lists:
            return cast("Sequence[str | None]", self.classes)
        return [None if isinstance(named, tuple) else named for named in self.classes]


def read_records(
    values: Sequence[bytes | None],
    timestamps_ms: Sequence[int],
    role: Role,
    settings: PackingSettings,
    *,
    now_ms: int,
) -> GoodRecords:
    """Read records of one topic, by their values and Kafka's timestamps."""
    decode: Callable[..., Decoded[Any]] = decode_predictions if role is Role.PREDICTIONS else decode_labels
    decoded = decode(values, timestamps_ms, now_ms=now_ms, max_future_skew_ms=settings.max_future_skew_ms)
    classes, has_lists, refused = _classes(decoded.records, role, settings)
    good = decoded.without(refused)
    return GoodRecords(
        records=good.records,
        indexes=good.indexes,
        classes=[each for at, each in enumerate(classes) if at not in refused] if refused else classes,
        has_lists=has_lists,
        times_ms=good.times_ms,
        rejected=[(at, refusal(values[at], why)) for at, why in good.rejected],
    )


def _classes(
    records: Sequence[Any], role: Role, settings: PackingSettings
) -> tuple[Sequence[Named], bool, Mapping[int, Rejected]]:
    """What each record names, aliases not applied, whether there are lists, and by index why some name no class."""
    is_prediction = role is Role.PREDICTIONS
    answers = [record.prediction for record in records] if is_prediction else [record.label for record in records]
    tasks = {name: settings.model(name).task for name in {record.model for record in records} if name is not None}
    special = {name for name, task in tasks.items() if not task.counts_classes}
    refused: dict[int, Rejected] = {}
    has_lists = False
    # A text is its own name; what is left is rare, or a model of numbers or lists.
    if not special and {*map(type, answers)} <= {str}:
        return answers, has_lists, refused
    for at in [
        at
        for at, (answer, record) in enumerate(zip(answers, records, strict=True))
        if answer.__class__ is not str or record.model in special
    ]:
        if is_prediction and answers[at] is None:
            continue  # the answer of a request that failed
        try:
            answers[at] = name = _name(answers[at], tasks.get(records[at].model), settings, is_prediction=is_prediction)
            has_lists = has_lists or name.__class__ is tuple
        except Rejected as rejected:
            refused[at] = rejected.with_traceback(None)
    return answers, has_lists, refused


def _name(answer: object, task: Task | None, settings: PackingSettings, *, is_prediction: bool) -> Named:
    """What one answer or label names; `task` is that of the model it is addressed to, None if it is meant for all."""
    if task is Task.REGRESSION:
        regression_value(answer)
    may_be_list = settings.takes_lists if task is None else task.takes_lists
    if may_be_list and (is_prediction or isinstance(answer, list)):
        return class_names(answer)
    return class_name(answer)


def numbered(items: Iterable[_Item]) -> tuple[Collection[_Item], npt.NDArray[np.intp]]:
    """Those that differ, in the order in which they come first, and the number of each.

    >>> numbered("abab")
    (dict_keys(['a', 'b']), array([0, 1, 0, 1]))
    """
    numbers: dict[_Item, int] = collections.defaultdict(itertools.count().__next__)
    # A look-up numbers what is new.
    number_of = np.fromiter(map(numbers.__getitem__, items), dtype=np.intp)
    return numbers.keys(), number_of


def column(items: Iterable[bytes], width: int) -> npt.NDArray[np.void]:
    """Items of one width as a column of rows."""
    return np.frombuffer(b"".join(items), dtype=f"V{width}")
