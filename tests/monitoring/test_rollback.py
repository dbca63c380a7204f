from __future__ import annotations

import math

import pytest

from misheard.errors import BadInputError
from misheard.monitoring.rollback import should_roll_back, wilson_lower


@pytest.mark.parametrize(
    ("errors", "inferences", "lower"),
    # Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine
    # 17 (1998), table I, method 3.
    [(81, 263, 0.2553), (15, 148, 0.0624), (0, 20, 0.0000), (1, 29, 0.0061)],
)
def test_the_interval_is_the_published_one(errors: int, inferences: int, lower: float) -> None:
    assert wilson_lower(errors, inferences) == pytest.approx(lower, abs=5e-5)


def test_it_never_leaves_zero_to_one() -> None:
    for count in (1, 2, 10, 10_000):
        for errors in (0, 1, count):
            assert 0.0 <= wilson_lower(errors, count) < errors / count or errors == 0


def test_without_inferences_nothing_is_rolled_back() -> None:
    decision = should_roll_back(0, 0, 0.0)
    assert not decision.should_roll_back
    assert math.isnan(decision.error_rate)
    assert "no inferences" in decision.reason


def test_a_few_bad_transcripts_are_not_enough_and_many_are() -> None:
    assert not should_roll_back(3, 3, 0.5).should_roll_back
    assert should_roll_back(4, 4, 0.5).should_roll_back
    assert not should_roll_back(55, 100, 0.5).should_roll_back
    decision = should_roll_back(65, 100, 0.5)
    assert decision.should_roll_back
    assert decision.error_rate == 0.65
    assert decision.reason == (
        "65 errors in 100 inferences since the deployment: the error rate is at least 55.3% "
        "(95 %), which reaches 50.0%"
    )


def test_the_ends_of_the_threshold() -> None:
    assert not should_roll_back(0, 100, 0.0).should_roll_back
    assert should_roll_back(1, 100, 0.0).should_roll_back
    assert not should_roll_back(1_000_000, 1_000_000, 1.0).should_roll_back


@pytest.mark.parametrize(
    ("errors", "inferences", "threshold"),
    [(-1, 3, 0.5), (4, 3, 0.5), (1, 3, -0.1), (1, 3, 1.1), (1, 3, math.nan)],
)
def test_counts_that_cannot_be_are_refused(errors: int, inferences: int, threshold: float) -> None:
    with pytest.raises(BadInputError):
        should_roll_back(errors, inferences, threshold)
