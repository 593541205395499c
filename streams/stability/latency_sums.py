"""The sums of a window and slice that latencies and time-outs add up to, as integers under short names.

    w<number>   sixteen buckets in one integer, 64 bits for the count of each
    wn          all latencies together, in ns
    wo          time-outs

Integers of any size add up like small ones, so whoever adds up counts needs to know nothing of them; and a window costs
some ten numbers instead of some hundred. They are only ever added to: a prediction that was counted stays counted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from streams.stability.latency_buckets import BUCKETS, bucket_of, buckets_of
from streams.stability.latency_words import NOTHING, TIMED_OUT, WORD_BYTES, latency_ns_of, numbers_of

__all__ = ["LATENCY_PREFIX", "LatencyTotals", "sums_of_words"]

LATENCY_PREFIX = "w"
"""Every name begins so, and no name of `streams.pair_sums` does."""
_TOTAL, _TIMED_OUT = "wn", "wo"

_BUCKETS_A_NAME = 16
_NAMES = -(-BUCKETS // _BUCKETS_A_NAME)
_COUNT_BITS = 64
_NO_COUNTS = bytes(_COUNT_BITS // 8 * _BUCKETS_A_NAME)
_HALF_BITS = 24

FEW_WORDS = 32
"""Up to here arrays cost more than they save."""

Integers = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class LatencyTotals:
    """What many predictions took together.

    `counts` has one entry for each bucket of `latency_buckets`; `total_ns` is exact; `timed_out` counts predictions
    whose time ran out, which have no latency here.
    """

    counts: Integers
    total_ns: int = 0
    timed_out: int = 0

    @property
    def n(self) -> int:
        """How many latencies."""
        return int(self.counts.sum())

    def __add__(self, other: LatencyTotals) -> LatencyTotals:
        return LatencyTotals(
            self.counts + other.counts, self.total_ns + other.total_ns, self.timed_out + other.timed_out
        )

    @classmethod
    def none(cls) -> LatencyTotals:
        """Of no prediction."""
        return cls(np.zeros(BUCKETS, dtype=np.int64))

    @classmethod
    def of_words(cls, words: bytes) -> LatencyTotals:
        """Of the predictions that these words of `latency_words` tell of."""
        latencies_ns, timed_out = latency_ns_of(numbers_of(words))
        # In halves: the sum of many long ones is beyond 64 bits.
        high = int((latencies_ns >> _HALF_BITS).sum())
        low = int((latencies_ns & ((1 << _HALF_BITS) - 1)).sum())
        return cls(np.bincount(buckets_of(latencies_ns), minlength=BUCKETS), (high << _HALF_BITS) + low, timed_out)

    @classmethod
    def from_sums(cls, sums: Mapping[str, int]) -> LatencyTotals:
        """The inverse of `sums`; other names are not looked at."""
        packed = [_NO_COUNTS] * _NAMES
        for name, value in sums.items():
            if name[0] == LATENCY_PREFIX and name[1:].isdigit():
                packed[int(name[1:])] = value.to_bytes(len(_NO_COUNTS), "little")
        counts = np.frombuffer(b"".join(packed), dtype="<i8", count=BUCKETS)
        return cls(counts, sums.get(_TOTAL, 0), sums.get(_TIMED_OUT, 0))

    def sums(self) -> dict[str, int]:
        """The sums by name, without those that are 0.

        >>> LatencyTotals.of_words(bytes.fromhex("000000bbaee0")).sums() == {"w44": 1, "wn": 12_300_000}
        True
        """
        padded = np.zeros(_NAMES * _BUCKETS_A_NAME, dtype="<i8")
        padded[:BUCKETS] = self.counts
        rows = padded.reshape(_NAMES, _BUCKETS_A_NAME)
        found = {
            f"{LATENCY_PREFIX}{number}": int.from_bytes(rows[number].tobytes(), "little")
            for number in np.flatnonzero(rows.any(axis=1)).tolist()
        }
        named = {_TOTAL: self.total_ns, _TIMED_OUT: self.timed_out}
        return found | {name: value for name, value in named.items() if value}


def sums_of_words(words: bytes) -> dict[str, int]:
    """What `LatencyTotals.of_words` says of them, as `LatencyTotals.sums` does."""
    if len(words) > FEW_WORDS * WORD_BYTES:
        return LatencyTotals.of_words(words).sums()
    sums: dict[str, int] = {}
    for at in range(0, len(words), WORD_BYTES):
        word = words[at : at + WORD_BYTES]
        if word == TIMED_OUT:
            sums[_TIMED_OUT] = sums.get(_TIMED_OUT, 0) + 1
        elif word != NOTHING:
            latency_ns = int.from_bytes(word, "big")
            number, place = divmod(bucket_of(latency_ns), _BUCKETS_A_NAME)
            name = f"{LATENCY_PREFIX}{number}"
            sums[name] = sums.get(name, 0) + (1 << place * _COUNT_BITS)
            if latency_ns:
                sums[_TOTAL] = sums.get(_TOTAL, 0) + latency_ns
    return sums
