"""Sorting more records than memory should hold: in runs that are sorted and put on disk, then merged.

records   3 1 | 2 4 | 0      runs on disk   1 3 | 2 4 | 0      merged   0 1 2 3 4
"""

from __future__ import annotations

import contextlib
import heapq
import operator
import struct
import tempfile
from collections.abc import Iterable, Iterator
from typing import IO, TypeAlias

__all__ = ["sorted_records"]

Sortable: TypeAlias = "tuple[int, bytes, bytes]"
"""Time, key and value."""

RUN_BYTES = 64 << 20
RECORD_OVERHEAD_BYTES = 200
"""Of Python's objects, so that a run of many short records is not much larger than it should be."""

_HEAD = struct.Struct("<qII")


@contextlib.contextmanager
def sorted_records(
    records: Iterable[tuple[int, object, bytes, bytes]], *, run_bytes: int = RUN_BYTES
) -> Iterator[Iterator[Sortable]]:
    """Sort records by time, those of one time in the order in which they came.

    Args:
        records: time, something that is not kept, key and value.
        run_bytes: about how much is sorted in memory; one run at a time.
    """
    with contextlib.ExitStack() as stack:
        runs: list[IO[bytes]] = []
        run: list[tuple[int, bytes]] = []
        size_bytes = 0
        for time_ms, _, key, value in records:
            # Copied, because values come from buffers that are larger than they, and would keep those.
            run.append((time_ms, _HEAD.pack(time_ms, len(key), len(value)) + key + value))
            size_bytes += len(run[-1][1]) + RECORD_OVERHEAD_BYTES
            if size_bytes >= run_bytes:
                runs.append(_write(stack.enter_context(tempfile.TemporaryFile()), run))
                run, size_bytes = [], 0
        runs.append(_write(stack.enter_context(tempfile.TemporaryFile()), run))
        yield heapq.merge(*map(_read, runs), key=operator.itemgetter(0))


def _write(file: IO[bytes], run: list[tuple[int, bytes]]) -> IO[bytes]:
    run.sort(key=operator.itemgetter(0))
    file.writelines(packed for _, packed in run)
    file.seek(0)
    return file


def _read(file: IO[bytes]) -> Iterator[Sortable]:
    while head := file.read(_HEAD.size):
        time_ms, key_bytes, value_bytes = _HEAD.unpack(head)
        yield time_ms, file.read(key_bytes), file.read(value_bytes)
