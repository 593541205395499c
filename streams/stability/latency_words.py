"""What a prediction tells beside its answer, in six bytes: how long it took, or that its time ran out.

    latency in ns, up to `LARGEST_NS`      answered
    TIMED_OUT                              `status` is `timeout`
    NOTHING                                answered without a latency, or failed otherwise

Latencies of failed predictions are not kept: an error that comes at once would make a model look fast.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streams.stability.latency_buckets import LARGEST_NS, NS_PER_MS

__all__ = ["NOTHING", "TIMED_OUT", "WORD_BYTES", "latency_ns_of", "latency_words", "numbers_of"]

WORD_BYTES = 6
NOTHING = b"\xff" * WORD_BYTES
TIMED_OUT = b"\xff" * (WORD_BYTES - 1) + b"\xfe"
_NOTHING, _TIMED_OUT = (int.from_bytes(word, "big") for word in (NOTHING, TIMED_OUT))


def latency_words(latencies_ms: npt.NDArray[np.float64], timed_out: npt.NDArray[np.bool_]) -> npt.NDArray[np.void]:
    """The words of predictions.

    Args:
        latencies_ms: not negative, NaN where there is none to be counted.
        timed_out: of the same predictions.

    >>> [word.tobytes().hex() for word in latency_words(np.array([12.3, np.nan, np.nan]), np.array([0, 0, 1], bool))]
    ['000000bbaee0', 'ffffffffffff', 'fffffffffffe']
    """
    numbers = np.full(len(latencies_ms), _NOTHING, dtype=np.int64)
    known = ~np.isnan(latencies_ms)
    numbers[known] = np.rint(np.minimum(latencies_ms[known], LARGEST_NS / NS_PER_MS) * NS_PER_MS)
    numbers[timed_out] = _TIMED_OUT
    packed = numbers.astype(">u8").view("u1").reshape(-1, 8)[:, 8 - WORD_BYTES :]
    return np.ascontiguousarray(packed).view(f"V{WORD_BYTES}")[:, 0]


def numbers_of(words: bytes) -> npt.NDArray[np.int64]:
    """The words that stand behind each other, as numbers."""
    parts = np.frombuffer(words, dtype=np.dtype([("high", ">u2"), ("low", ">u4")]))
    numbers: npt.NDArray[np.int64] = (parts["high"].astype(np.int64) << 32) + parts["low"]
    return numbers


def latency_ns_of(numbers: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], int]:
    """The latencies among words, and how many tell that a time ran out."""
    return numbers[numbers <= LARGEST_NS], int(np.count_nonzero(numbers == _TIMED_OUT))
