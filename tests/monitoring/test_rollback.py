from __future__ import annotations

import math

import pytest

from misheard.errors import BadInputError
from misheard.monitoring.rollback import should_roll_back


def test_without_inferences_nothing_is_rolled_back() -> None:
    decision = should_roll_back(0, 0, 0.0)
    assert not decision.should_roll_back
    assert math.isnan(decision.error_rate)
    assert "no inferences" in decision.reason


def test_a_few_bad_transcripts_are_not_enough_and_many_are() -> None:
    assert not should_roll_back(8, 8, 0.5).should_roll_back
    assert should_roll_back(9, 9, 0.5).should_roll_back
    assert not should_roll_back(60, 100, 0.5).should_roll_back
    decision = should_roll_back(70, 100, 0.5)
    assert decision.should_roll_back
    assert decision.error_rate == 0.7
    assert decision.reason == (
        "70 errors in 100 inferences since the deployment: the error rate is surely at least "
        "53.3%, more than 50.0%"
    )
    assert "48.0%, not more than 50.0%" in should_roll_back(65, 100, 0.5).reason


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
