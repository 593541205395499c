"""How often alert rules are wrong over whole lives of windows, and how many labels they need to be right.

    python -m tests.bench.alert_errors

A model stands exactly at its rule's limit. Labels of each window arrive over many looks, and the rule is asked at each:
a window counts as a false alarm if it ever fires. Decisions are those of the product, turned into the most successes at
which they fire, so that a hundred thousand windows take seconds. Beside it what firing on a 95 % interval would do.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from streams.alerting.decisions.anytime import log_evidence
from streams.alerting.decisions.exact import log_tail
from streams.quality.intervals import wilson_interval

__all__ = ["Errors", "Power", "false_alarms", "labels_needed"]

WINDOWS = 100_000
LOOKS = (10, 100, 400)
SIZES = (50, 500, 5_000)
SHARES = (0.8, 0.95, 0.99)
LOG_HALF = math.log((1 - 0.95) / 4)
"""Of a one-sided rule at confidence 0.95: half of its 2.5 %."""
CHUNK = 10_000
DROP = 0.03


@dataclasses.dataclass(frozen=True, slots=True)
class Errors:
    """Shares of windows that ever fired: by the rule, by its final test alone, and on a fixed interval."""

    rule: float
    final: float
    interval: float


@dataclasses.dataclass(frozen=True, slots=True)
class Power:
    """Share of windows that noticed, and labels that were needed by half of them; None if fewer did."""

    noticed: float
    median: int | None


def false_alarms(n: int, share: float, looks: int, *, windows: int = WINDOWS, seed: int = 1) -> Errors:
    """Windows of `n` labels of a model whose true share is the limit."""
    ends = _ends(n, looks)
    early = _most(ends[:-1], lambda k, at: log_evidence(k, at, share=share, is_below=True) >= -LOG_HALF)
    final = _most(ends[-1:], lambda k, at: log_tail(k, at, share=share, is_below=True) <= LOG_HALF)
    interval = _most(ends, lambda k, at: wilson_interval(k / at, at, confidence_level=0.95)[1] < share)
    fired = np.zeros(3)
    rng = np.random.default_rng(seed)
    for count in _chunks(windows):
        successes = _successes(rng, ends, share, count)
        at_end = successes[:, -1] <= final[0]
        fired += (
            ((successes[:, :-1] <= early).any(axis=1) | at_end).sum(),
            at_end.sum(),
            (successes <= interval).any(axis=1).sum(),
        )
    return Errors(*(fired / windows).tolist())


def labels_needed(n: int, limit: float, *, drop: float = DROP, looks: int = 400, windows: int = 10_000) -> Power:
    """Windows of a model whose true share is `drop` below the limit."""
    ends = _ends(n, looks)
    most = np.concatenate(
        [
            _most(ends[:-1], lambda k, at: log_evidence(k, at, share=limit, is_below=True) >= -LOG_HALF),
            _most(ends[-1:], lambda k, at: log_tail(k, at, share=limit, is_below=True) <= LOG_HALF),
        ]
    )
    fires = _successes(np.random.default_rng(2), ends, limit - drop, windows) <= most
    noticed = fires.any(axis=1)
    needed = np.where(noticed, np.array(ends)[fires.argmax(axis=1)], n + 1)
    median = int(np.median(needed))
    return Power(float(noticed.mean()), median if median <= n else None)


def _ends(n: int, looks: int) -> Sequence[int]:
    """How many labels are here at each look."""
    return sorted({math.ceil(n * look / looks) for look in range(1, looks + 1)})


def _most(ends: Sequence[int], fires: Callable[[int, int], bool]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The most successes at which a decision fires at each look; -1 if none does. Fewer fire all the more."""
    found = []
    for at in ends:
        low, high = -1, at
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if fires(middle, at) else (low, middle - 1)
        found.append(low)
    return np.array(found, dtype=np.int64)


def _successes(
    rng: np.random.Generator, ends: Sequence[int], share: float, windows: int
) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """Successes at each look, shape (windows, looks)."""
    steps = np.diff(np.array([0, *ends]))
    drawn: np.ndarray[tuple[int, int], np.dtype[np.int64]] = rng.binomial(steps, share, size=(windows, len(steps)))
    return np.cumsum(drawn, axis=1, out=drawn)


def _chunks(windows: int) -> Sequence[int]:
    return [min(CHUNK, windows - at) for at in range(0, windows, CHUNK)]


def _tables() -> None:
    print(
        "| Limit | Labels | 10 looks | 100 looks | 400 looks | final test alone | 95 % interval, 10 / 100 / 400 looks |"
    )
    print("|---|---|---|---|---|---|---|")
    for share in SHARES:
        for n in SIZES:
            errors = [false_alarms(n, share, looks) for looks in LOOKS]
            rates = " | ".join(f"{100 * each.rule:.2f} %" for each in errors)
            fixed = " / ".join(f"{100 * each.interval:.1f} %" for each in errors)
            print(f"| {share} | {n:,} | {rates} | {100 * errors[0].final:.2f} % | {fixed} |", flush=True)
    print()
    print("| Limit | True share | Windows that notice | Labels that half of them need |")
    print("|---|---|---|---|")
    for share in SHARES:
        power = labels_needed(5_000, share)
        print(f"| {share} | {share - DROP:.2f} | {100 * power.noticed:.1f} % | {power.median} |", flush=True)


if __name__ == "__main__":
    _tables()
