"""Latencies that were counted: any split, order and way of adding up gives the same; quantiles are NumPy's to 1 %."""

from __future__ import annotations

import math
import random
import statistics
from collections import Counter
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.latency_log import packed_sums, told_sums
from streams.identity import EVERYTHING
from streams.stability.definitions import QUANTILES
from streams.stability.latency_buckets import FIRSTS_MS, LARGEST_NS, LASTS_MS, MIDDLES_MS, NS_PER_MS, buckets_of
from streams.stability.latency_figures import latency_figures
from streams.stability.latency_sums import LatencyTotals, sums_of_words
from streams.stability.latency_words import NOTHING, TIMED_OUT, WORD_BYTES, latency_words

LARGEST_MS = LARGEST_NS / NS_PER_MS
Doubles = npt.NDArray[np.float64]

_latencies_ms = st.floats(0, 1e6) | st.floats(0, LARGEST_MS) | st.just(1e300) | st.none()


def words_of(latencies_ms: list[float | None]) -> bytes:
    """Of those without a latency every other ran out of time."""
    missing = [at for at, latency_ms in enumerate(latencies_ms) if latency_ms is None]
    timed_out = np.zeros(len(latencies_ms), dtype=np.bool_)
    timed_out[missing[::2]] = True
    return latency_words(np.array(latencies_ms, dtype=np.float64), timed_out).tobytes()


def logged(words: bytes, slices: bytes = b"") -> bytes:
    """As the commit script writes a group."""
    head = bytes([0, len(slices) // 8]) + (len(words) // WORD_BYTES).to_bytes(4, "big")
    return head + slices + words


@given(st.lists(_latencies_ms, max_size=60), st.randoms(use_true_random=False), st.integers(1, 9))
def test_any_order_split_and_merge_gives_the_same_sums(
    latencies_ms: list[float | None], shuffler: random.Random, parts: int
) -> None:
    words = words_of(latencies_ms)
    expected = LatencyTotals.of_words(words).sums()
    assert expected == sums_of_words(words)
    each = [words[at : at + WORD_BYTES] for at in range(0, len(words), WORD_BYTES)]
    shuffler.shuffle(each)
    split = [b"".join(each[at::parts]) for at in range(parts)]
    added: Counter[str] = Counter()
    for part in split:
        added.update(LatencyTotals.of_words(part).sums())
    assert expected == added
    totals = LatencyTotals.none()
    for part in split:
        totals += LatencyTotals.from_sums(LatencyTotals.of_words(part).sums())
    assert expected == totals.sums()
    # A window that had these and has them no more.
    added.subtract(LatencyTotals.of_words(words).sums())
    assert not any(added.values())


@given(st.lists(_latencies_ms, max_size=60), st.integers(0, 5), st.integers(0, 3))
def test_a_log_says_the_same_however_often_its_beginning_was_summed_up(
    latencies_ms: list[float | None], parts: int, slices: int
) -> None:
    names = b"".join(bytes([1 + at]) * 8 for at in range(slices))
    words = words_of(latencies_ms)
    expected = LatencyTotals.of_words(words).sums()
    log = b""
    for at in range(parts + 1):
        each = b"".join(
            words[place : place + WORD_BYTES] for place in range(at * WORD_BYTES, len(words), (parts + 1) * WORD_BYTES)
        )
        log = packed_sums(told_sums(log)) + logged(each, names)
    expected_of = dict.fromkeys((EVERYTHING, *(bytes([1 + at]) * 8 for at in range(slices))), expected)
    assert expected_of == told_sums(log)


@given(st.integers(0, LARGEST_NS))
def test_what_stands_for_a_bucket_is_within_one_per_cent_of_each_latency_in_it(latency_ns: int) -> None:
    (bucket,) = buckets_of(np.array([latency_ns])).tolist()
    latency_ms = latency_ns / NS_PER_MS
    assert FIRSTS_MS[bucket] <= latency_ms <= LASTS_MS[bucket]
    assert pytest.approx(latency_ms, rel=0.01, abs=0) == MIDDLES_MS[bucket]


def test_words_of_what_tells_nothing_and_of_time_outs_are_no_latencies() -> None:
    totals = LatencyTotals.of_words(NOTHING + TIMED_OUT + words_of([LARGEST_MS * 2]))
    assert (1, LARGEST_NS, 1) == (totals.n, totals.total_ns, totals.timed_out)


def test_the_sum_of_many_long_latencies_is_exact() -> None:
    count = 200_000
    totals = LatencyTotals.of_words(words_of([LARGEST_MS]) * count)
    assert (count, count * LARGEST_NS) == (totals.n, totals.total_ns)
    assert LatencyTotals.from_sums(totals.sums()).total_ns == totals.total_ns


def _bimodal(rng: np.random.Generator, n: int) -> Doubles:
    return np.where(rng.random(n) < 0.7, rng.normal(8.0, 0.5, n), rng.normal(900.0, 60.0, n))


SHAPES: dict[str, Callable[[np.random.Generator, int], Doubles]] = {
    "lognormal": lambda rng, n: rng.lognormal(3.0, 1.0, n),
    "bimodal": _bimodal,
    "heavy-tailed": lambda rng, n: 5.0 * (1.0 + rng.pareto(1.1, n)),
}


@pytest.mark.parametrize("n", [10, 99, 1_000, 31_623, 1_000_000, 10_000_000])
@pytest.mark.parametrize("shape", SHAPES)
def test_quantiles_are_those_of_numpy_within_one_per_cent(shape: str, n: int) -> None:
    latencies_ms = np.minimum(SHAPES[shape](np.random.default_rng(n), n), LARGEST_MS)
    words = latency_words(latencies_ms, np.zeros(n, dtype=np.bool_)).tobytes()
    figures = latency_figures(LatencyTotals.of_words(words), confidence_level=0.95)
    shares = [thousandths / 1000 for thousandths in QUANTILES.values()]
    expected = np.quantile(latencies_ms, shares, method="inverted_cdf").tolist()
    assert expected == pytest.approx([figures[name].value for name in QUANTILES], rel=0.01)
    assert pytest.approx(float(latencies_ms.mean()), rel=1e-6) == figures["latency_mean_ms"].value
    assert pytest.approx(float(latencies_ms.max()), rel=0.01) == figures["latency_max_ms"].value


@pytest.mark.parametrize("n", [20, 100, 1_000])
def test_the_interval_of_a_quantile_holds_the_truth_as_often_as_it_claims(n: int) -> None:
    rng = np.random.default_rng(7)
    truths = {
        name: math.exp(statistics.NormalDist(3.0, 1.0).inv_cdf(share / 1000)) for name, share in QUANTILES.items()
    }
    held: Counter[str] = Counter()
    rounds = 600
    for _ in range(rounds):
        words = latency_words(rng.lognormal(3.0, 1.0, n), np.zeros(n, dtype=np.bool_)).tobytes()
        figures = latency_figures(LatencyTotals.of_words(words), confidence_level=0.95)
        for name, truth in truths.items():
            low, high = figures[name].low, figures[name].high
            assert low is not None
            held[name] += low <= truth <= (np.inf if high is None else high)
    assert min(held[name] for name in QUANTILES) >= 0.93 * rounds
