from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misheard.access.rates import BURST_S, Rates


def taken(rates: Rates, at: float, *, per_minute: int = 60, token: str = "a") -> int:
    """How many go through at once."""
    for count in range(100_000):
        if rates.take(token, per_minute=per_minute, at=at):
            return count
    raise AssertionError("no end")


def test_a_burst_then_a_request_whenever_its_time_has_come() -> None:
    rates = Rates()
    assert taken(rates, 1000.0) == BURST_S
    assert rates.take("a", per_minute=60, at=1000.25) == pytest.approx(0.75)
    assert rates.take("a", per_minute=60, at=1001.0) == 0.0
    assert rates.take("a", per_minute=60, at=1001.0) > 0.0
    # It refills, and to the brim only.
    assert taken(rates, 1004.0) == 3
    assert taken(rates, 9999.0) == BURST_S


def test_who_waits_as_told_may_go_on() -> None:
    rates = Rates()
    at = 5.0
    taken(rates, at, per_minute=7)
    for _ in range(50):
        wait_s = rates.take("a", per_minute=7, at=at)
        assert 0.0 < wait_s <= 60 / 7 + 1e-6
        at += wait_s + 1e-9
        assert rates.take("a", per_minute=7, at=at) == 0.0


def test_a_slow_rate_still_lets_one_through() -> None:
    rates = Rates()
    assert taken(rates, 0.0, per_minute=1) == 1
    assert rates.take("a", per_minute=1, at=1.0) == pytest.approx(59.0)


def test_tokens_have_a_bucket_each_and_no_limit_has_none() -> None:
    rates = Rates()
    assert taken(rates, 0.0, token="a") == taken(rates, 0.0, token="b") == BURST_S
    assert all(rates.take("c", per_minute=0, at=0.0) == 0.0 for _ in range(10_000))


def test_what_was_refused_is_not_counted() -> None:
    rates = Rates()
    taken(rates, 0.0)
    for _ in range(1_000):
        rates.take("a", per_minute=60, at=0.5)
    assert rates.take("a", per_minute=60, at=1.0) == 0.0


def test_full_buckets_are_forgotten_and_others_are_not() -> None:
    rates = Rates()
    taken(rates, 0.0, token="busy", per_minute=1)
    for number in range(5_000):
        rates.take(f"t{number}", per_minute=600, at=number / 100)
        assert len(rates._full_at) <= 1_001
    assert rates.take("busy", per_minute=1, at=50.0) > 0.0


@given(
    per_minute=st.integers(1, 10_000),
    gaps=st.lists(st.floats(0.0, 30.0), min_size=1, max_size=200),
)
def test_in_no_time_are_there_more_than_the_burst_and_the_rate(
    per_minute: int, gaps: list[float]
) -> None:
    rates, at, passed = Rates(), 0.0, 0
    for gap in gaps:
        at += gap
        passed += rates.take("a", per_minute=per_minute, at=at) == 0.0
    burst = max(1.0, per_minute * BURST_S / 60)
    assert passed <= burst + at * per_minute / 60 + 1e-6
