"""How long labels take: buckets, and the quantiles read from them."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter

import pytest

from streams.pair_sums.delay import bucket_delay_ms, delay_bucket, delay_name, delay_quantiles_ms

YEAR_MS = 366 * 24 * 3_600_000


def test_longer_delays_never_have_smaller_buckets_and_each_lies_in_its_own() -> None:
    delays = sorted({*range(5000), *(round(1.01**power) for power in range(800, 2400)), YEAR_MS})
    buckets = [delay_bucket(delay_ms) for delay_ms in delays]
    assert sorted(buckets) == buckets
    for delay_ms, bucket in zip(delays[1:], buckets[1:], strict=True):
        assert bucket_delay_ms(bucket) <= delay_ms < bucket_delay_ms(bucket + 1)


def test_buckets_follow_one_another_and_are_at_most_an_eighth_wide() -> None:
    edges = [bucket_delay_ms(bucket) for bucket in range(delay_bucket(1), delay_bucket(YEAR_MS))]
    assert 1.0 == edges[0]
    assert all(low < high <= low * (1 + 1 / 8) for low, high in itertools.pairwise(edges))


@pytest.mark.parametrize("delay_ms", [0, -1, -300_000])
def test_labels_that_precede_their_prediction_share_bucket_0(delay_ms: int) -> None:
    assert "d0" == delay_name(delay_ms)


@pytest.mark.parametrize("seed", range(5))
def test_quantiles_are_those_of_the_delays_to_within_six_percent(seed: int) -> None:
    rng = random.Random(seed)
    delays = sorted(int(rng.lognormvariate(11, 2)) + 1 for _ in range(rng.randrange(1, 3000)))
    found = delay_quantiles_ms(Counter(map(delay_bucket, delays)), (0.5, 0.9, 0.99))
    assert found is not None
    for quantile, value in zip((0.5, 0.9, 0.99), found, strict=True):
        expected = delays[math.ceil(quantile * len(delays)) - 1]
        assert math.isclose(expected, value, rel_tol=1 / 16 + 1e-9), quantile


def test_without_labels_there_is_no_delay() -> None:
    assert delay_quantiles_ms({}, (0.5,)) is None
    assert delay_quantiles_ms({95: 0}, (0.5,)) is None
