"""Which predictions are asked about, and how many."""

from __future__ import annotations

import numpy as np
import pytest

from streams.explanation.sampling import Purpose, Quota, draws_of

KEYS = np.random.default_rng(3).integers(0, 256, size=16 * 20_000, dtype=np.uint8).tobytes()
COUNTING = b"".join(number.to_bytes(16) for number in range(20_000))


@pytest.mark.parametrize("keys", [KEYS, COUNTING], ids=["random", "counting"])
@pytest.mark.parametrize("purpose", list(Purpose))
def test_draws_are_even_whatever_the_keys_are(keys: bytes, purpose: Purpose) -> None:
    draws = draws_of(keys, purpose)
    assert ((draws >= 0) & (draws < 1)).all()
    for rate in (0.5, 0.1, 0.01):
        assert rate == pytest.approx((draws < rate).mean(), abs=4 * (rate * (1 - rate) / 20_000) ** 0.5)


def test_purposes_draw_independently() -> None:
    base, wrong = draws_of(KEYS, Purpose.BASE), draws_of(KEYS, Purpose.WRONG)
    assert 0.0 == pytest.approx(np.corrcoef(base, wrong)[0, 1], abs=0.03)
    assert 0.01 == pytest.approx(((base < 0.1) & (wrong < 0.1)).mean(), abs=0.004)


def test_draw_of_a_key_does_not_depend_on_its_neighbours() -> None:
    assert draws_of(KEYS, Purpose.BASE)[7] == draws_of(KEYS[7 * 16 : 8 * 16], Purpose.BASE)[0]


def test_rate_follows_what_is_seen_and_keeps_to_the_budget() -> None:
    quota, asked = Quota(), 0
    chance = np.random.default_rng(1)
    for second in range(600):
        seen = 10_000 if second < 300 else 20
        quota = quota.after(seen, per_minute=30, now_seconds=float(second))
        wanted = int((chance.random(seen) < quota.rate).sum())
        quota, now = quota.spend(wanted)
        asked += now
        if second == 299:
            assert 3e-5 < quota.rate < 8e-5
            assert 130 < asked < 171, "five minutes of thirty"
    assert 0.015 < quota.rate < 0.05
    assert 250 < asked < 331


def test_budget_that_was_not_used_is_kept_for_a_minute_and_no_longer() -> None:
    quota = Quota()
    for second in range(0, 3600, 10):
        quota = quota.after(0, per_minute=12, now_seconds=float(second))
    assert (1.0, 12) == (quota.rate, int(quota.tokens))
    quota, asked = quota.spend(1000)
    assert (12, 0) == (asked, int(quota.tokens))


def test_small_budget_lets_one_through_now_and_then() -> None:
    quota, asked = Quota(), 0
    for second in range(0, 3600, 5):
        quota = quota.after(1, per_minute=0.1, now_seconds=float(second))
        quota, now = quota.spend(1)
        asked += now
    assert 5 <= asked <= 8
