"""The latency of one version by that of another: what is known of the ratio, and how often its interval holds it."""

from __future__ import annotations

import numpy as np
import pytest

from schemas.window_report import Metric
from streams.reports import metrics_of
from streams.stability.latency_comparison import latency_ratio
from streams.stability.latency_figures import latency_figures
from streams.stability.latency_sums import LatencyTotals
from streams.stability.latency_words import latency_words

UNDEFINED = Metric(value=None, low=None, high=None, n=0)
BOUNDED = Metric(value=20.0, low=18.0, high=22.0, n=500)


def figures_of(rng: np.random.Generator, *, n: int, factor: float) -> dict[str, Metric]:
    latencies_ms = factor * rng.lognormal(3.0, 0.8, n)
    words = latency_words(latencies_ms, np.zeros(n, dtype=np.bool_)).tobytes()
    return metrics_of(latency_figures(LatencyTotals.of_words(words), confidence_level=0.95))


@pytest.mark.parametrize("name", ["latency_p50_ms", "latency_p95_ms", "latency_p99_ms", "latency_mean_ms"])
def test_the_interval_of_a_ratio_holds_the_truth_as_often_as_it_claims(name: str) -> None:
    rng, rounds, held = np.random.default_rng(7), 300, 0
    for _ in range(rounds):
        one, other = figures_of(rng, n=2_000, factor=1.3), figures_of(rng, n=800, factor=1.0)
        ratio = latency_ratio(one[name], other[name])
        assert ratio is not None
        assert ratio.low is not None
        assert ratio.high is not None
        held += ratio.low <= 1.3 <= ratio.high
    assert held >= 0.92 * rounds


def test_what_is_undefined_or_zero_has_no_ratio() -> None:
    nothing = Metric(value=0.0, low=0.0, high=0.0, n=3)
    for one, other in ((UNDEFINED, BOUNDED), (BOUNDED, UNDEFINED), (BOUNDED, nothing), (nothing, BOUNDED)):
        assert latency_ratio(one, other) is None


def test_a_side_on_which_one_of_the_two_has_no_limit_has_none_either() -> None:
    open_above = Metric(value=20.0, low=18.0, high=None, n=50)
    from_zero = Metric(value=20.0, low=0.0, high=22.0, n=5)
    above, below = latency_ratio(open_above, BOUNDED), latency_ratio(BOUNDED, open_above)
    assert above is not None
    assert below is not None
    assert (True, True) == (above.low is not None, above.high is None)
    assert (True, True) == (below.low is None, below.high is not None)
    low_end = latency_ratio(from_zero, BOUNDED)
    assert low_end is not None
    assert low_end.low is None
