"""Which predictions are asked about, and how many."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from streams.explanation.sampling import Purpose, Quota, drawn, drawn_each, is_drawn, mixes_of

KEYS = np.random.default_rng(3).integers(0, 256, size=16 * 20_000, dtype=np.uint8).tobytes()
COUNTING = b"".join(number.to_bytes(16) for number in range(20_000))


@pytest.mark.parametrize("keys", [KEYS, COUNTING], ids=["random", "counting"])
@pytest.mark.parametrize("purpose", list(Purpose))
def test_draws_are_even_whatever_the_keys_are(keys: bytes, purpose: Purpose) -> None:
    for rate in (1.0, 0.5, 0.1, 0.01):
        share = len(drawn(mixes_of(keys), purpose, rate)) / 20_000
        assert rate == pytest.approx(share, abs=4 * (rate * (1 - rate) / 20_000) ** 0.5)
    assert 0 == len(drawn(mixes_of(keys), purpose, 0.0))


@pytest.mark.parametrize("shift", [0, 8, 32, 64, 72, 96])
@pytest.mark.parametrize("purpose", list(Purpose))
def test_keys_that_count_upwards_are_not_drawn_by_turns(shift: int, purpose: Purpose) -> None:
    mixes = mixes_of(b"".join((number << shift).to_bytes(16) for number in range(20_000)))
    is_one_drawn = np.zeros(20_000, dtype=np.bool_)
    is_one_drawn[drawn(mixes, purpose, 0.1)] = True
    in_hundreds = is_one_drawn.reshape(-1, 100).sum(axis=1)
    assert 1 == pytest.approx(in_hundreds.var() / (100 * 0.1 * 0.9), abs=0.4)


def test_whoever_is_drawn_at_a_rate_is_drawn_at_every_higher_one() -> None:
    mixes = mixes_of(KEYS)
    for purpose in Purpose:
        few, many = (set(drawn(mixes, purpose, rate).tolist()) for rate in (0.05, 0.2))
        assert few < many


def test_purposes_draw_others_while_rates_are_small() -> None:
    mixes = mixes_of(KEYS)
    places = [set(drawn(mixes, purpose, 0.2).tolist()) for purpose in Purpose]
    assert 0 == sum(len(one & other) for one, other in itertools.combinations(places, 2))


@pytest.mark.parametrize("rate", [0.0, 1e-4, 0.3, 1.0])
def test_one_is_drawn_by_itself_if_it_is_among_all(rate: float) -> None:
    mixes = mixes_of(KEYS[: 16 * 2_000])
    for purpose in Purpose:
        by_themselves = [place for place, mix in enumerate(mixes.tolist()) if is_drawn(mix, purpose, rate)]
        assert drawn(mixes, purpose, rate).tolist() == by_themselves


@pytest.mark.parametrize("purpose", list(Purpose))
def test_each_is_drawn_at_a_rate_of_its_own_as_it_would_be_by_itself(purpose: Purpose) -> None:
    mixes = mixes_of(KEYS[: 16 * 2_000])
    rates = np.resize([0.0, 1e-4, 0.3, 1.0, np.nextafter(1.0, 0.0)], len(mixes))
    each = zip(mixes.tolist(), rates.tolist(), strict=True)
    by_themselves = [place for place, (mix, rate) in enumerate(each) if is_drawn(mix, purpose, rate)]
    assert drawn_each(mixes, purpose, rates).tolist() == by_themselves


def test_draw_of_a_key_does_not_depend_on_its_neighbours() -> None:
    assert mixes_of(KEYS)[7] == mixes_of(KEYS[7 * 16 : 8 * 16])[0]


def test_rate_follows_what_is_seen_and_keeps_to_the_budget() -> None:
    quota, asked = Quota(), 0
    chance = np.random.default_rng(1)
    for tick in range(120):
        seen = 50_000 if tick < 60 else 100
        quota, now = quota.spend(int((chance.random(seen) < quota.rate).sum()))
        quota = quota.after(seen, per_minute=30, seconds=5)
        asked += now
        if tick == 59:
            assert 5e-5 == pytest.approx(quota.rate)
            assert 130 < asked < 171, "five minutes of thirty"
    assert 0.025 == pytest.approx(quota.rate)
    assert 250 < asked < 331


def test_budget_that_was_not_used_is_kept_for_a_minute_and_no_longer() -> None:
    quota = Quota()
    for _ in range(360):
        quota = quota.after(0, per_minute=12, seconds=10)
    assert (1.0, 12) == (quota.rate, int(quota.tokens))
    quota, asked = quota.spend(1000)
    assert (12, 0) == (asked, int(quota.tokens))


def test_small_budget_lets_one_through_now_and_then() -> None:
    quota, asked = Quota(), 0
    for _ in range(720):
        quota = quota.after(1, per_minute=0.1, seconds=5)
        quota, now = quota.spend(1)
        asked += now
    assert 5 <= asked <= 8
