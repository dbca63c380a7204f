from __future__ import annotations

import math

import pytest

from misheard.errors import BadInputError
from misheard.monitoring.rollback import should_roll_back


def test_without_sessions_nothing_is_rolled_back() -> None:
    decision = should_roll_back(0, 0, 0.0)
    assert not decision.should_roll_back
    assert math.isnan(decision.error_rate)
    assert "no sessions" in decision.reason


def test_a_few_bad_transcripts_are_not_enough_and_many_are() -> None:
    assert not should_roll_back(8, 8, 0.5).should_roll_back
    assert should_roll_back(9, 9, 0.5).should_roll_back
    assert not should_roll_back(60, 100, 0.5).should_roll_back
    decision = should_roll_back(70, 100, 0.5)
    assert decision.should_roll_back
    assert decision.error_rate == 0.7
    assert decision.reason == (
        "an error rate of 70.0% in 100 sessions since the deployment, surely at least 53.3%, more "
        "than 50.0%"
    )
    assert "48.0%, not more than 50.0%" in should_roll_back(65, 100, 0.5).reason


def test_a_session_that_is_wrong_in_part_counts_in_part() -> None:
    decision = should_roll_back(17.5, 20, 0.5)
    assert (decision.should_roll_back, decision.error_rate) == (True, 0.875)
    assert not should_roll_back(12.5, 20, 0.5).should_roll_back


def test_the_ends_of_the_threshold() -> None:
    assert not should_roll_back(0, 100, 0.0).should_roll_back
    assert should_roll_back(1, 100, 0.0).should_roll_back
    assert not should_roll_back(1_000_000, 1_000_000, 1.0).should_roll_back


@pytest.mark.parametrize(
    ("wrong", "sessions", "threshold"),
    [(-1, 3, 0.5), (4, 3, 0.5), (1, 3, -0.1), (1, 3, 1.1), (1, 3, math.nan)],
)
def test_counts_that_cannot_be_are_refused(wrong: int, sessions: int, threshold: float) -> None:
    with pytest.raises(BadInputError):
        should_roll_back(wrong, sessions, threshold)
