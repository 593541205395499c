"""What the predictions of a part tell of their signals, in words of equal width beside their rows.

    shapes   how many 4, then of each: how many names 1, name 8 ...
    words    shape 4 (from 1; 0: tells nothing), value 4 ..., as many as the longest shape has names

The names of a shape are those that the predictions of one model bring in one batch; a value is NaN where a prediction
has none. Values are those of `streams.signals.buckets`. Under the name `OTHER` stands how many values a prediction
brings under names that have no figures of their own.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from streams.identity import HASH_BYTES
from streams.signals.buckets import VALUE_BYTES

__all__ = ["pack_signals", "signals_of", "word_type"]

_COUNT = struct.Struct(">I")


def word_type(names: int) -> np.dtype[np.void]:
    """Of words with room for so many values."""
    fields: list[Any] = [("shape", ">u4"), ("values", ">f4", (names,))]
    return np.dtype(fields)


def pack_signals(shapes: Sequence[Sequence[bytes]], words: npt.NDArray[np.void]) -> bytes:
    """Shapes and words of the type `word_type`; nothing where no word tells anything."""
    if not words["shape"].any():
        return b""
    head = b"".join(bytes([len(names)]) + b"".join(names) for names in shapes)
    return _COUNT.pack(len(shapes)) + head + words.tobytes()


def signals_of(packed: bytes, row: int) -> Mapping[bytes, float]:
    """The values that the word of that number tells, by hash of the signal."""
    if not packed:
        return {}
    shapes: list[list[bytes]] = []
    at = _COUNT.size
    for _ in range(_COUNT.unpack_from(packed)[0]):
        end = at + 1 + packed[at] * HASH_BYTES
        shapes.append([packed[i : i + HASH_BYTES] for i in range(at + 1, end, HASH_BYTES)])
        at = end
    at += row * (_COUNT.size + VALUE_BYTES * max(map(len, shapes)))
    shape = _COUNT.unpack_from(packed, at)[0]
    if not shape:
        return {}
    names = shapes[shape - 1]
    values = np.frombuffer(packed, dtype=">f4", count=len(names), offset=at + _COUNT.size).tolist()
    return {name: value for name, value in zip(names, values, strict=True) if value == value}
