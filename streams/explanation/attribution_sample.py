"""The explanations of one stretch of time: at most so many, and the same ones in whatever order they came.

    explanation ──> row ──> cell ──┬── wrong   known by the hash of request id, instance and sample
                                   └── base    full: the smallest hashes stay, and each stands for more

A cell is a function of the set of explanations that it was offered: an order, a split over several explainers or a
repeat makes no difference. (Of two explanations of one request the first holds, as those of another pool differ.) The
hash has nothing to do with how requests were drawn, so those that stay are an even sample of all.

Source: bottom-k sampling; Cohen, Kaplan, "Summarizing data using bottom-k sketches", 2007.
"""

from __future__ import annotations

import enum
import hashlib
import itertools
from array import array
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import msgspec
from msgspec import UNSET

from schemas.explain_request import WhyAsked
from schemas.explanation import Attribution, Explanation
from streams.explanation.terms import ExplainTerms, InputKind

__all__ = [
    "EXPLANATION_FATES",
    "MOST_ROWS",
    "MOST_SHARES",
    "Cell",
    "ExplanationFate",
    "Row",
    "Sample",
    "Sampled",
    "row_of",
]

MOST_ROWS = 200
"""Of one sample in one cell: means over more are hardly surer."""
MOST_SHARES = 50
"""Of one explanation, the largest."""
NAME_CHARACTERS = 64
ALL = 2**64 - 1


class Sample(enum.StrEnum):
    """What an explanation was drawn from."""

    WRONG = "wrong"
    BASE = "base"


class ExplanationFate(enum.StrEnum):
    """What became of an explanation; each has one."""

    COUNTED = "counted"
    REPEATED = "repeated"
    CROWDED = "crowded"
    LATE = "late"
    BEYOND_LIMIT = "beyond_limit"
    NOT_SAMPLED = "not_sampled"
    NOT_TABULAR = "not_tabular"
    UNDATED = "undated"
    UNREADABLE = "unreadable"


EXPLANATION_FATES: Mapping[ExplanationFate, str] = MappingProxyType(
    {
        ExplanationFate.COUNTED: "In the windows of its model version.",
        ExplanationFate.REPEATED: "Its request is known already.",
        ExplanationFate.CROWDED: f"Not among the {MOST_ROWS} that stand for its sample and base window.",
        ExplanationFate.LATE: "Its windows are final.",
        ExplanationFate.BEYOND_LIMIT: "Its model version is new, and there are as many as `limits.models`.",
        ExplanationFate.NOT_SAMPLED: "Somebody asked, or the model was hardly sure: no sample of predictions.",
        ExplanationFate.NOT_TABULAR: "Words and super-pixels are no features that predictions share; or the"
        " configuration does not explain the model.",
        ExplanationFate.UNDATED: "It does not tell when its prediction was made.",
        ExplanationFate.UNREADABLE: "It is no explanation.",
    }
)
"""What each fate says about an explanation."""


class Row(msgspec.Struct, frozen=True, array_like=True):
    """One explanation: `weight` is how many predictions it stands for, `shares` its attributions by feature, None where
    it failed."""

    key: int
    weight: float
    stability: float | None
    shares: dict[str, float] | None


class Sampled(msgspec.Struct, array_like=True):
    """Explanations of one sample by key; `bound`: keys from it on are left out, `ALL` while none was."""

    rows: dict[int, Row] = {}
    bound: int = ALL

    def take(self, row: Row) -> ExplanationFate:
        """Take one in, if it is among the smallest."""
        if row.key in self.rows:
            return ExplanationFate.REPEATED
        if row.key >= self.bound:
            return ExplanationFate.CROWDED
        self.rows[row.key] = row
        if len(self.rows) > MOST_ROWS:
            self.bound = max(self.rows)
            del self.rows[self.bound]
            if self.bound == row.key:
                return ExplanationFate.CROWDED
        return ExplanationFate.COUNTED

    def weighed(self) -> Iterator[Row]:
        """Rows in order of their keys, standing also for those that were left out."""
        factor = 1.0 if self.bound == ALL else 2.0**64 / self.bound
        for _, row in sorted(self.rows.items()):
            yield Row(row.key, row.weight * factor, row.stability, row.shares)


class _Packed(msgspec.Struct, array_like=True):
    """A cell with each name once; by sample the bound, and of each row key, weight, stability, places in `names` and
    shares as 32-bit floats, None where it failed."""

    names: tuple[str, ...]
    samples: dict[str, tuple[int, list[tuple[int, float, float | None, bytes | None, bytes]]]]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Packed).decode


class Cell:
    """Both samples of one base window of one model version."""

    def __init__(self) -> None:
        self.samples: dict[Sample, Sampled] = {sample: Sampled() for sample in Sample}

    def take(self, sample: Sample, row: Row) -> ExplanationFate:
        """Take an explanation in."""
        return self.samples[sample].take(row)

    def packed(self) -> bytes:
        """All of it, a few kilobytes."""
        rows = [row for sampled in self.samples.values() for row in sampled.rows.values()]
        names = sorted({name for row in rows for name in row.shares or ()})
        places = {name: place for place, name in enumerate(names)}
        return _encode(
            _Packed(
                tuple(names),
                {
                    str(sample): (sampled.bound, [_packed_row(row, places) for row in sampled.rows.values()])
                    for sample, sampled in self.samples.items()
                },
            )
        )

    @classmethod
    def unpacked(cls, content: bytes | memoryview) -> Cell:
        """The cell that was packed."""
        packed = _decode(content)
        cell = cls()
        for sample, (bound, rows) in packed.samples.items():
            unpacked = (_unpacked_row(row, packed.names) for row in rows)
            cell.samples[Sample(sample)] = Sampled({row.key: row for row in unpacked}, bound)
        return cell


def _packed_row(row: Row, places: Mapping[str, int]) -> tuple[int, float, float | None, bytes | None, bytes]:
    if row.shares is None:
        return row.key, row.weight, row.stability, None, b""
    at = array("I", [places[name] for name in row.shares]).tobytes()
    return row.key, row.weight, row.stability, at, array("f", row.shares.values()).tobytes()


def _unpacked_row(row: tuple[int, float, float | None, bytes | None, bytes], names: tuple[str, ...]) -> Row:
    key, weight, stability, at, shares = row
    if at is None:
        return Row(key, weight, stability, None)
    found = zip(array("I", at), array("f", shares), strict=True)
    return Row(key, weight, stability, {names[place]: share for place, share in found})


def row_of(explanation: Explanation, terms: ExplainTerms | None) -> tuple[Sample, Row] | ExplanationFate:
    """The row of an explanation and its sample, or why there is none.

    Args:
        terms: of its model; None if the model is not explained.
    """
    if explanation.reason not in (WhyAsked.WRONG, WhyAsked.BASE):
        return ExplanationFate.NOT_SAMPLED
    if terms is None or terms.input is not InputKind.TABULAR:
        return ExplanationFate.NOT_TABULAR
    if explanation.event_time is None:
        return ExplanationFate.UNDATED
    sample = Sample(str(explanation.reason))
    attributions = explanation.attributions
    fit = explanation.fit
    stability = None if fit is UNSET or fit is None else fit.stability
    if explanation.failure is not None or attributions is UNSET or attributions is None:
        return sample, Row(_key(explanation, sample), 1 / explanation.rate, None, None)
    return sample, Row(_key(explanation, sample), 1 / explanation.rate, stability, _shares(attributions))


def _shares(attributions: tuple[Attribution, ...]) -> dict[str, float]:
    shares: dict[str, float] = {}
    for each in itertools.islice(attributions, MOST_SHARES):
        name = each.feature[:NAME_CHARACTERS]
        # As it is stored, so that a cell that was packed says the same as one that was not.
        shares[name] = array("f", [shares.get(name, 0.0) + each.weight])[0]
    return shares


def _key(explanation: Explanation, sample: Sample) -> int:
    """Below `ALL`, and evenly spread."""
    text = f"{sample}\0{explanation.instance}\0{explanation.request_id}"
    digest = hashlib.blake2b(text.encode(), digest_size=8, person=b"attribution").digest()
    return min(int.from_bytes(digest), ALL - 1)
