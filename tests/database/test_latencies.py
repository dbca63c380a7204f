"""Quantiles from buckets against those of the numbers themselves; buckets add up to the whole."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from misheard.database import latencies
from misheard.database.latencies import ACCURACY, FIRST, LAST, bucket_of, quantile_s

SHARES = (0.0, 0.01, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0)
# Where a latency is told as it is; a rounding more than the accuracy is let pass.
TELLABLE = st.floats(min_value=1.0001e-4, max_value=1e5)
ROUNDING = 1e-9


def counted(values_s: list[float]) -> Counter[int]:
    return Counter(map(bucket_of, values_s))


def true_quantile_s(values_s: list[float] | np.ndarray, share: float) -> float:
    return float(np.quantile(values_s, share, method="lower"))


def test_the_accuracy_is_that_of_the_docs() -> None:
    assert 0.047 < ACCURACY < 0.05


def test_a_million_latencies_with_outliers() -> None:
    draw = np.random.default_rng(7)
    drawn = draw.lognormal(mean=-0.7, sigma=0.6, size=1_000_000)
    # Some that hang, and some that a cache answers.
    drawn[:5_000] = draw.uniform(60.0, 600.0, size=5_000)
    drawn[5_000:9_000] = draw.uniform(0.0005, 0.002, size=4_000)
    counts = counted(drawn.tolist())
    assert counts.total() == 1_000_000
    assert len(counts) < 150
    for share in SHARES:
        true = true_quantile_s(drawn, share)
        assert abs(quantile_s(counts, share) - true) <= ACCURACY * true * (1 + ROUNDING), share


@given(st.lists(TELLABLE, min_size=1), st.floats(min_value=0.0, max_value=1.0))
def test_whatever_the_latencies_are(values_s: list[float], share: float) -> None:
    true = true_quantile_s(values_s, share)
    found = quantile_s(counted(values_s), share)
    # numpy takes its rank in floating point, too: a neighbour's may be meant.
    near = [true_quantile_s(values_s, min(1.0, max(0.0, share + by))) for by in (-1e-12, 1e-12)]
    assert any(abs(found - one) <= ACCURACY * one * (1 + ROUNDING) for one in (true, *near))


@given(st.lists(st.lists(st.floats(min_value=0.0, max_value=1e6)), max_size=6))
def test_hours_add_up_to_just_the_whole(hours: list[list[float]]) -> None:
    merged: Counter[int] = Counter()
    for hour in hours:
        # As they come back from JSON.
        latencies.add(merged, {str(bucket): count for bucket, count in counted(hour).items()})
    whole = counted([value for hour in hours for value in hour])
    assert merged == whole
    for share in SHARES:
        assert quantile_s(merged, share) == pytest.approx(quantile_s(whole, share), nan_ok=True)


def test_a_bucket_holds_its_upper_bound_and_nothing_above() -> None:
    for bucket in range(FIRST + 1, LAST):
        bound = latencies.upper_bound_s(bucket)
        assert bucket_of(bound * (1 - ROUNDING)) == bucket
        assert bucket_of(bound * (1 + ROUNDING)) == bucket + 1
    # What people write as a limit is one to the last bit.
    for exponent in range(-3, 6):
        assert bucket_of(float(f"1e{exponent}")) == 24 * exponent


@pytest.mark.parametrize(
    ("latency_s", "bucket", "told_s"),
    [
        (0.0, FIRST, 0.0),
        (5e-324, FIRST, 0.0),
        (1e-4, FIRST, 0.0),
        (-3.0, FIRST, 0.0),
        (math.nan, FIRST, 0.0),
        (100_001.0, LAST, 100_000.0),
        (1.7e308, LAST, 100_000.0),
        (math.inf, LAST, 100_000.0),
    ],
)
def test_nothing_and_the_absurd_have_their_place(
    latency_s: float, bucket: int, told_s: float
) -> None:
    assert bucket_of(latency_s) == bucket
    assert quantile_s({bucket_of(latency_s): 3}, 0.5) == told_s


def test_of_nothing_nothing_is_known() -> None:
    assert math.isnan(quantile_s({}, 0.5))
    assert math.isnan(quantile_s(Counter(), 0.99))
