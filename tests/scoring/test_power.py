from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from misheard.errors import BadInputError
from misheard.scoring.significance import power, words_needed


def test_power_by_hand() -> None:
    """At 1.96 standard errors half of all trials are significant; at 2.8, four in five."""
    assert power(0.0196, 0.01) == pytest.approx(0.5, abs=1e-4)
    assert power(0.0280, 0.01) == pytest.approx(0.8, abs=1e-3)
    assert power(-0.0280, 0.01) == power(0.0280, 0.01)
    assert power(0.0, 0.01) == pytest.approx(0.025)
    assert power(0.01, 0.0) == 1.0
    assert power(0.0, 0.0) == 0.025


def test_power_is_the_share_of_trials_that_are_significant() -> None:
    random = np.random.default_rng(1)
    observed = random.normal(2.5, 1.0, 100_000)
    assert power(2.5, 1.0) == pytest.approx(np.mean(observed > 1.959964), abs=0.005)
    assert power(2.5, 1.0, alpha=0.1) == pytest.approx(np.mean(observed > 1.644854), abs=0.005)


def test_the_words_that_are_missing_by_hand() -> None:
    """Twice the standard error with 1,000 words: (2.8016 / 2)² = 1.962 times as many settle it."""
    assert words_needed(1_000, 0.01, 0.005) == math.ceil(1_000 * (2.801585 / 2) ** 2 - 1_000)
    assert words_needed(1_000, 0.03, 0.005) == 0
    assert words_needed(1_000, 0.0, 0.005) is None
    assert words_needed(1_000, 0.01, 0.0) == 0


@given(
    st.integers(1, 10**6),
    st.floats(1e-4, 0.5),
    st.floats(1e-4, 0.5),
    st.floats(0.001, 0.2),
    st.floats(0.5, 0.99),
)
def test_with_the_words_that_were_missing_the_power_is_reached(
    words: int, effect: float, error: float, alpha: float, wanted: float
) -> None:
    more = words_needed(words, effect, error, alpha=alpha, power=wanted)
    assert more is not None
    settled = power(effect, error * math.sqrt(words / (words + more)), alpha=alpha)
    assert settled >= wanted - 1e-9
    if more > 1:
        short = power(effect, error * math.sqrt(words / (words + more - 1)), alpha=alpha)
        assert short < wanted + 1e-9


@pytest.mark.parametrize(
    ("effect", "error", "alpha"),
    [(math.nan, 0.1, 0.05), (0.1, -0.1, 0.05), (0.1, math.inf, 0.05), (0.1, 0.1, 0.0)],
)
def test_bad_input_is_refused(effect: float, error: float, alpha: float) -> None:
    with pytest.raises(BadInputError):
        power(effect, error, alpha=alpha)
    with pytest.raises(BadInputError):
        words_needed(100, effect, error, alpha=alpha)


def test_a_power_of_one_cannot_be_asked_for() -> None:
    with pytest.raises(BadInputError, match="power of 1"):
        words_needed(100, 0.1, 0.1, power=1.0)
