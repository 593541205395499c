"""A run of one partition as rows, ready to be cut into parts for the shards."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from agents.signal_rows import SignalWords
from streams.ledger.parts import Definitions, Part, Source
from streams.ledger.slicing import Run, watermark_of
from streams.ports import OutgoingMessage

__all__ = ["PackedRun"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PackedRun:
    """A run of one partition, ready to be cut into parts. Dead letters stand with their offsets.

    `latencies` has a word of `streams.stability.latency_words` for each row, `signals` one of `streams.signals.words`;
    None where none tells anything.
    `next_ms` is the event time of its first good record; the reader's clock if it has none. `edition` is the one of the
    agreements by which it was packed.
    """

    source: Source
    run: Run
    rows: npt.NDArray[np.void]
    words: int
    latencies: npt.NDArray[np.void] | None = None
    signals: SignalWords | None = None
    definitions: Definitions
    dead_letters: Sequence[tuple[int, OutgoingMessage]]
    shards: int
    lateness_ms: int
    next_ms: int
    edition: int = 0

    def until(self, offset: int) -> PackedRun:
        """The run's beginning, up to an offset in it."""
        run = self.run.until(offset)
        letters = [letter for letter in self.dead_letters if letter[0] < offset]
        rows = len(run.offsets)
        latencies = None if self.latencies is None else self.latencies[:rows]
        signals = None if self.signals is None else self.signals.between(0, rows)
        return dataclasses.replace(
            self, run=run, rows=self.rows[:rows], latencies=latencies, signals=signals, dead_letters=letters
        )

    def parts(self, shard: int, *, start: int, max_rows: int, register: bool = False) -> Iterator[Part]:
        """What the shard has not applied yet, given the offset it wants next, which lies in the run."""
        for each in self.run.slices(shard, shards=self.shards, start=start, max_rows=max_rows):
            yield Part(
                source=self.source,
                expected=each.expected,
                next=each.next,
                high_ms=each.high_ms,
                watermark_ms=watermark_of(each.high_ms, lateness_ms=self.lateness_ms),
                rejected=each.rejected,
                words=self.words,
                rows=self.rows[each.rows].tobytes(),
                latencies=b"" if self.latencies is None else self.latencies[each.rows].tobytes(),
                signals=b"" if self.signals is None else self.signals.packed(each.rows),
                register=register,
                edition=self.edition,
            )
