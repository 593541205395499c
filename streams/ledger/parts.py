"""What one commit carries into a shard, and what the shard answers.

A commit is a list of parts, each a run of one source partition with a compare-and-set on its offset:

    part     [expected ........ next)   applied only if the shard has stored exactly `expected`
    reply    APPLIED  stored = next     the rows are in, offset and watermark moved with them
             REFUSED  stored = other    nothing happened; the sender continues from `stored`

Rows of other shards are not in the part, but its offsets cover them: every shard's offset moves.
"""

from __future__ import annotations

import dataclasses
import enum
import math
import struct
from collections.abc import Iterable, Mapping, Sequence

from streams.identity import ABSENT, HASH_BYTES
from streams.stability.latency_words import NOTHING
from streams.stability.latency_words import WORD_BYTES as LATENCY_BYTES

__all__ = [
    "HAS_ITEMS",
    "HAS_VALUE",
    "IS_FAILED",
    "NEVER_MS",
    "NO_ITEMS",
    "TIME_BYTES",
    "WORD_BYTES",
    "CommitReply",
    "Definitions",
    "Gap",
    "LabelRow",
    "NameList",
    "Outcome",
    "Part",
    "PartReply",
    "PredictionRow",
    "Role",
    "ShardState",
    "Source",
    "SourceState",
    "pack_items",
    "pack_labels",
    "pack_predictions",
    "pack_value",
]

NEVER_MS = 0
"""A watermark before every plausible event time: nothing has been read yet."""

_PREDICTION = struct.Struct(">16sQB8sHI8sB")
_LABEL = struct.Struct(">16sQ8sHI8s")
"""Event times take six bytes, as the ledger keeps them: a 16-bit and a 32-bit word."""
_VALUE = struct.Struct(">d")
_COUNT = struct.Struct(">Q")
IS_FAILED = 2
"""Flag of a prediction whose status is not `ok`."""
HAS_VALUE = 16
"""Flag of a prediction with a score, or of a number that a regression model predicts."""
HAS_ITEMS = 64
"""Flag of a prediction that is a list."""
NO_ITEMS = 255
"""In the place of the number of items: a label that is no list."""
WORD_BYTES = 8
TIME_BYTES = 6


class Role(enum.StrEnum):
    """The two input topics, whatever their names on the wire."""

    PREDICTIONS = "predictions"
    LABELS = "labels"


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Source:
    """One partition of one input topic."""

    role: Role
    partition: int

    def __str__(self) -> str:
        return f"{self.role}/{self.partition}"

    @classmethod
    def parse(cls, text: str) -> Source:
        """The inverse of `str`."""
        role, _, partition = text.partition("/")
        return cls(Role(role), int(partition))


@dataclasses.dataclass(frozen=True, slots=True)
class SourceState:
    """How far a shard has come in a source.

    `next` is the next offset wanted, `high_ms` the largest plausible event time read before it (a
    function of the log alone), `watermark_ms` what the shard trusts: `high_ms` less the allowed lateness,
    or more where an idle partition was raised.
    """

    next: int
    high_ms: int = NEVER_MS
    watermark_ms: int = NEVER_MS


@dataclasses.dataclass(frozen=True, slots=True)
class ShardState:
    """A shard at one moment: which ledger it belongs to, how far each source has been applied, and of which edition of
    the agreements it takes predictions."""

    ledger_id: str
    sources: Mapping[Source, SourceState]
    edition: int = 0

    @property
    def watermark_ms(self) -> int:
        """The smallest watermark over all sources: before it nothing more may arrive."""
        return min((state.watermark_ms for state in self.sources.values()), default=NEVER_MS)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Records of a source that were never read: `lost` offsets, somewhere in `[from_ms, to_ms]` of event time."""

    source: Source
    lost: int
    from_ms: int
    to_ms: int


@dataclasses.dataclass(frozen=True, slots=True)
class PredictionRow:
    """A prediction as the join sees it. `arrival_ms` is the later of its time and its partition's
    watermark just before it; `slices` are the declared segments it falls into beside `{}`. `value` is its score, NaN
    where what was sent is no probability, or the predicted number of a regression model. `items` are the hashes of a
    list: ascending of a multilabel model, from the best on of a ranking one."""

    key: bytes
    terms: bytes
    time_ms: int
    arrival_ms: int
    predicted: bytes
    failed: bool = False
    slices: tuple[bytes, ...] = ()
    value: float | None = None
    items: tuple[bytes, ...] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class LabelRow:
    """A label as the join sees it; `model` is `ABSENT` when it is addressed to every model. `value` is the label
    as a number, where some model predicts numbers. `items` are the hashes of a list, ascending; a list of one is that
    one."""

    key: bytes
    time_ms: int
    arrival_ms: int
    label: bytes
    model: bytes = ABSENT
    value: float | None = None
    items: tuple[bytes, ...] | None = None


def pack_predictions(rows: Sequence[PredictionRow], *, words: int) -> bytes:
    """Rows of equal width: room for `words` words of 8 bytes, the slices of a row, then its value if it has one, then
    the number of its items and the items if it is a list."""
    return b"".join(
        _PREDICTION.pack(
            row.key,
            row.arrival_ms,
            row.failed * IS_FAILED | (row.value is not None) * HAS_VALUE | (row.items is not None) * HAS_ITEMS,
            row.terms,
            row.time_ms >> 32,
            row.time_ms & 0xFFFFFFFF,
            row.predicted,
            len(row.slices),
        )
        + (b"".join(row.slices) + pack_value(row.value) + pack_items(row.items)).ljust(words * WORD_BYTES, b"\0")
        for row in rows
    )


def pack_labels(rows: Sequence[LabelRow], *, words: int = 0) -> bytes:
    """Rows of equal width; with a word for the value, which is NaN where a row has none; with more words for the number
    of items, `NO_ITEMS` where a row is no list, and the items."""
    return b"".join(
        _LABEL.pack(row.key, row.arrival_ms, row.model, row.time_ms >> 32, row.time_ms & 0xFFFFFFFF, row.label)
        + (pack_value(math.nan if row.value is None else row.value) if words else b"")
        + (
            (pack_items(row.items) or _COUNT.pack(NO_ITEMS)).ljust((words - 1) * WORD_BYTES, b"\0")
            if words > 1
            else b""
        )
        for row in rows
    )


def pack_value(value: float | None) -> bytes:
    """A word, or nothing."""
    return b"" if value is None else _VALUE.pack(value)


def pack_items(items: Sequence[bytes] | None) -> bytes:
    """How many and which, or nothing."""
    return b"" if items is None else _COUNT.pack(len(items)) + b"".join(items)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A run `[expected, next)` of one source, for one shard.

    `rows` are packed, with room for `words` of 8 bytes at the end of each; `rejected` counts the dead-lettered records
    of the run that belong to this shard. `high_ms` and `watermark_ms` are the source's after the run. `latencies` holds
    a word of `streams.stability.latency_words` for each row of predictions, `signals` what `streams.signals.words`
    packs of them; nothing where none tells anything. `raise_to_ms` lifts the watermark of a partition that is idle.
    `register` is set when the shard may not know the source yet. `gap_to_ms` says that the run is lost (retention ran
    out, or the log was replaced) and that the next record read is of that time: what lies between is incomplete.
    `edition` is the one of the agreements by which rows of predictions were packed.
    """

    source: Source
    expected: int
    next: int
    high_ms: int = NEVER_MS
    watermark_ms: int = NEVER_MS
    raise_to_ms: int = NEVER_MS
    rejected: int = 0
    words: int = 0
    rows: bytes = b""
    latencies: bytes = b""
    signals: bytes = b""
    register: bool = False
    gap_to_ms: int = NEVER_MS
    edition: int = 0

    @property
    def row_bytes(self) -> int:
        """The width of one row."""
        fixed = _LABEL if self.source.role is Role.LABELS else _PREDICTION
        return fixed.size + self.words * WORD_BYTES

    def latency_word(self, row: int) -> bytes:
        """What the row of that number tells of its latency."""
        return self.latencies[row * LATENCY_BYTES : (row + 1) * LATENCY_BYTES] or NOTHING

    def unpack_predictions(self) -> Iterable[PredictionRow]:
        """The rows of a predictions part."""
        for at in range(0, len(self.rows), self.row_bytes):
            fields = _PREDICTION.unpack_from(self.rows, at)
            key, arrival_ms, flags, terms, high, low, predicted, count = fields
            first, end = at + _PREDICTION.size, at + _PREDICTION.size + count * WORD_BYTES
            slices = tuple(self.rows[i : i + WORD_BYTES] for i in range(first, end, WORD_BYTES))
            value = _VALUE.unpack_from(self.rows, end)[0] if flags & HAS_VALUE else None
            items = self._items(end + (value is not None) * WORD_BYTES) if flags & HAS_ITEMS else None
            is_failed = bool(flags & IS_FAILED)
            yield PredictionRow(key, terms, high << 32 | low, arrival_ms, predicted, is_failed, slices, value, items)

    def unpack_labels(self) -> Iterable[LabelRow]:
        """The rows of a labels part."""
        for at in range(0, len(self.rows), self.row_bytes):
            key, arrival_ms, model, high, low, label = _LABEL.unpack_from(self.rows, at)
            sent = _VALUE.unpack_from(self.rows, at + _LABEL.size)[0] if self.words else math.nan
            value = None if math.isnan(sent) else sent
            items = self._items(at + _LABEL.size + WORD_BYTES) if self.words > 1 else None
            yield LabelRow(key, high << 32 | low, arrival_ms, label, model, value, items)

    def _items(self, at: int) -> tuple[bytes, ...] | None:
        count = _COUNT.unpack_from(self.rows, at)[0]
        if count == NO_ITEMS:
            return None
        first = at + WORD_BYTES
        return tuple(self.rows[i : i + WORD_BYTES] for i in range(first, first + count * WORD_BYTES, WORD_BYTES))


@dataclasses.dataclass(frozen=True, slots=True)
class NameList:
    """Which names of a group have cells of their own. Once `full`, no further one gets any."""

    admitted: tuple[bytes, ...] = ()
    full: bool = False

    def pack(self) -> bytes:
        """One flag byte, then the admitted hashes."""
        return (b"1" if self.full else b"0") + b"".join(self.admitted)

    @classmethod
    def unpack(cls, packed: bytes | None) -> NameList:
        """The inverse of `pack`; nothing stored is an empty list."""
        if not packed:
            return cls()
        hashes = tuple(packed[at : at + HASH_BYTES] for at in range(1, len(packed), HASH_BYTES))
        return cls(hashes, packed[:1] == b"1")

    def merged(self, other: NameList) -> NameList:
        """Both lists; admission is never taken back."""
        new = tuple(name for name in other.admitted if name not in self.admitted)
        return NameList(self.admitted + new, self.full or other.full)

    def lacks(self, other: NameList) -> bool:
        """Whether `merged` with the other list would change this one."""
        return (other.full and not self.full) or not set(self.admitted).issuperset(other.admitted)


@dataclasses.dataclass(frozen=True, slots=True)
class Definitions:
    """Facts that rows refer to, written before them and true for ever: names, terms, admitted names."""

    names: Mapping[bytes, str] = dataclasses.field(default_factory=dict)
    terms: Mapping[bytes, bytes] = dataclasses.field(default_factory=dict)
    name_lists: Mapping[bytes, NameList] = dataclasses.field(default_factory=dict)

    def joined(self, others: Definitions) -> Definitions:
        """Both, of other groups of names."""
        return Definitions(
            {**self.names, **others.names},
            {**self.terms, **others.terms},
            {**self.name_lists, **others.name_lists},
        )


class Outcome(enum.Enum):
    """What a shard did with a part."""

    APPLIED = "applied"
    REFUSED = "refused"
    """The stored offset is another one: continue from it."""
    UNKNOWN_SOURCE = "unknown source"
    """The shard has never seen this partition: send it again with `register`."""
    OUTDATED = "outdated"
    """The shard takes predictions of another edition of the agreements: pack them again by that."""
    HELD_BACK = "held back"
    """Nothing of the call was applied: it lacked definitions (see `CommitReply`)."""


@dataclasses.dataclass(frozen=True, slots=True)
class PartReply:
    """The shard's answer to one part; `stored` is its offset now, None when the source is unknown."""

    outcome: Outcome
    stored: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class CommitReply:
    """The shard's answer to a commit.

    `undecided` are (group, name) pairs whose admission the shard does not know, `unknown_terms` the terms
    it has no table row for. If either is filled, every part was held back: define them, send it again.
    """

    parts: tuple[PartReply, ...]
    watermark_ms: int
    undecided: tuple[tuple[bytes, bytes], ...] = ()
    unknown_terms: tuple[bytes, ...] = ()
