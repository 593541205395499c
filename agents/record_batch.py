"""What a fetch of one partition yields: one object, however many records it holds."""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["Envelope", "RecordBatch", "UnreadableBatch"]


class UnreadableBatch(bytes):
    """Stands among the values for all records of a batch that cannot be read; its bytes say why.

    They are not a JSON object, so that the decoder refuses them like any bad value.
    """


@dataclasses.dataclass(frozen=True, slots=True)
class Envelope:
    """What surrounds a record's value. Only records that become dead letters are asked for it."""

    key: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RecordBatch:
    """The records found in `[base, next)` of one partition.

    The run has no records at all where the log holds only transaction markers or aborted records; its
    offsets count nevertheless. `offsets` is None when there is a record at every offset. `timestamps_ms`
    are Kafka's. `envelope(index)` reads a record's key and headers.
    """

    topic: str
    partition: int
    base: int
    next: int
    values: Sequence[bytes | None]
    timestamps_ms: Sequence[int]
    offsets: Sequence[int] | None
    envelope: Callable[[int], Envelope]

    def offset_of(self, index: int) -> int:
        """The offset of a record."""
        return self.base + index if self.offsets is None else self.offsets[index]

    def offsets_of(self, indexes: Sequence[int]) -> npt.NDArray[np.int64]:
        """The offsets of several records."""
        at = np.fromiter(indexes, np.int64, len(indexes))
        return at + self.base if self.offsets is None else np.array(self.offsets, dtype=np.int64)[at]

    def index_from(self, offset: int) -> int:
        """The index of the first record at or behind an offset."""
        if self.offsets is None:
            return min(max(offset - self.base, 0), len(self.values))
        return bisect.bisect_left(self.offsets, offset)

    @property
    def size_bytes(self) -> int:
        """The size of all values, decompressed."""
        return sum(len(value) for value in self.values if value is not None)
