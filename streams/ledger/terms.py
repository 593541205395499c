"""The terms under which a prediction was made: whose it is, how long it waits and what counts for it.

Every prediction row names its terms by hash; the shard keeps the table hash -> terms. Settings that
change later make new terms, so a window that has begun keeps the ones it began with.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import struct

from streams.identity import (
    ABSENT,
    HASH_BYTES,
    class_hash,
    model_hash,
    model_version_hash,
    registry_group,
)
from streams.monitored_model import LabelPolicy, MonitoredModel, Task

__all__ = ["Terms"]

_FIXED = struct.Struct(">8s8s8s8s8sQQQBH")
_PAIR = 2 * HASH_BYTES
_FIRST_LABEL_WINS = 1
_COUNTS_CLASSES = 2
_IS_MULTILABEL = 4
_IS_RANKING = 8


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The join parameters of one model version.

    `model_version` is the identity, `counted_as` the model version whose cells count it (the same one,
    or `__other__` beyond the limit), `class_group` the registry that decides which classes get cells.
    Without `counts_classes` cells only tell labelled predictions from unlabelled ones: of numbers, and of lists
    (`is_multilabel`, `is_ranking`), whose labels are lists too or single names. Scores are about
    the `positive_class`; where there is none, about the prediction being right.
    """

    model_version: bytes
    counted_as: bytes
    model: bytes
    class_group: bytes
    positive_class: bytes
    horizon_ms: int
    skew_ms: int
    base_window_ms: int
    first_label_wins: bool = False
    counts_classes: bool = True
    is_multilabel: bool = False
    is_ranking: bool = False
    class_aliases: tuple[tuple[bytes, bytes], ...] = ()

    @classmethod
    def of(cls, model: MonitoredModel, version: str, *, beyond_limit: bool = False) -> Terms:
        """The terms of `version` of a model as it is configured now."""
        counted = ("__other__", "__other__") if beyond_limit else (model.name, version)
        return cls(
            model_version=model_version_hash(model.name, version),
            counted_as=model_version_hash(*counted),
            model=model_hash(model.name),
            class_group=registry_group("classes", counted[0]),
            positive_class=ABSENT if model.positive_class is None else class_hash(model.positive_class),
            horizon_ms=model.label_horizon_ms,
            skew_ms=model.allowed_skew_ms,
            base_window_ms=model.base_window_ms,
            first_label_wins=model.label_policy is LabelPolicy.FIRST,
            counts_classes=model.task.counts_classes,
            is_multilabel=model.task is Task.MULTILABEL,
            is_ranking=model.task is Task.RANKING,
            class_aliases=tuple(
                sorted((class_hash(spelling), class_hash(name)) for spelling, name in model.class_aliases.items())
            ),
        )

    def pack(self) -> bytes:
        """The bytes that the shard's table of terms keeps."""
        fixed = _FIXED.pack(
            self.model_version,
            self.counted_as,
            self.model,
            self.class_group,
            self.positive_class,
            self.horizon_ms,
            self.skew_ms,
            self.base_window_ms,
            self.first_label_wins * _FIRST_LABEL_WINS
            | self.counts_classes * _COUNTS_CLASSES
            | self.is_multilabel * _IS_MULTILABEL
            | self.is_ranking * _IS_RANKING,
            len(self.class_aliases),
        )
        return fixed + b"".join(spelling + name for spelling, name in self.class_aliases)

    @classmethod
    def unpack(cls, packed: bytes) -> Terms:
        """The inverse of `pack`."""
        *fields, flags, count = _FIXED.unpack_from(packed)
        pairs = (packed[at : at + _PAIR] for at in range(_FIXED.size, _FIXED.size + count * _PAIR, _PAIR))
        return cls(
            model_version=fields[0],
            counted_as=fields[1],
            model=fields[2],
            class_group=fields[3],
            positive_class=fields[4],
            horizon_ms=fields[5],
            skew_ms=fields[6],
            base_window_ms=fields[7],
            first_label_wins=bool(flags & _FIRST_LABEL_WINS),
            counts_classes=bool(flags & _COUNTS_CLASSES),
            is_multilabel=bool(flags & _IS_MULTILABEL),
            is_ranking=bool(flags & _IS_RANKING),
            class_aliases=tuple((pair[:HASH_BYTES], pair[HASH_BYTES:]) for pair in pairs),
        )

    @property
    def takes_lists(self) -> bool:
        """Whether predictions are lists."""
        return self.is_multilabel or self.is_ranking

    @property
    def hash(self) -> bytes:
        """The 8 bytes by which rows name these terms."""
        return _terms_hash(self)


@functools.lru_cache(maxsize=4096)
def _terms_hash(terms: Terms) -> bytes:
    return hashlib.blake2b(terms.pack(), digest_size=HASH_BYTES, person=b"terms").digest()
