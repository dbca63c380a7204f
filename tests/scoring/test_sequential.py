"""Bounds that hold however often one looks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from misheard.errors import BadInputError
from misheard.scoring.sequential import ALPHA, is_surely_above, log_evidence, lower_bound


def wealth(successes: float, trials: int, share: float) -> float:
    """The bet by its definition: its wealth is a mean over shares above `share`, by quadrature."""
    above = share + (1 - share) * (np.arange(200_000) + 0.5) / 200_000
    failures = trials - successes
    against = (above / share) ** successes * ((1 - above) / (1 - share)) ** failures
    return float(np.mean(against))


@pytest.mark.parametrize(
    ("successes", "trials", "share"),
    [
        (9, 9, 0.5), (8, 8, 0.5), (70, 100, 0.5), (65, 100, 0.5), (12, 30, 0.1), (4, 300, 0.004),
        (8.7, 9, 0.5), (0.7, 1, 0.3), (0.02, 1, 0.01), (3.4, 7, 0.4), (66.6, 100, 0.65),
    ],
)  # fmt: skip
def test_it_claims_no_more_than_the_bet_has_won_and_at_least_half(
    successes: float, trials: int, share: float
) -> None:
    claimed, won = (
        math.exp(log_evidence(successes, trials, share)),
        wealth(successes, trials, share),
    )
    assert won / 2 - 1e-9 <= claimed <= won


def ever_alarmed(true_share: float, share: float, *, trials: int, runs: int) -> float:
    """How many of the runs, of which each is looked at after every draw, raise an alarm."""
    draw = np.random.default_rng(7)
    hits = (draw.random((runs, trials)) < true_share).cumsum(axis=1)
    known: dict[tuple[int, int], bool] = {}

    def is_alarm(successes: int, count: int) -> bool:
        key = (successes, count)
        if key not in known:
            known[key] = is_surely_above(successes, count, share)
        return known[key]

    alarms = 0
    for run in hits.tolist():
        alarms += any(is_alarm(successes, count) for count, successes in enumerate(run, start=1))
    return alarms / runs


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.9])
def test_where_the_share_is_not_exceeded_it_is_hardly_ever_said_over_all_looks(
    share: float,
) -> None:
    rate = ever_alarmed(share, share, trials=2_000, runs=1_000)
    # Three standard errors of a thousand runs.
    assert rate <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / 1_000)


@pytest.mark.parametrize(("wrong", "right"), [(0.2, 0.2), (1.0, 1.0), (0.1, 3.0)])
def test_draws_may_be_shares_themselves(wrong: float, right: float) -> None:
    """Mostly nothing or all of a session; anything; mostly little: their mean is not exceeded."""
    share, runs = wrong / (wrong + right), 300
    draws = np.random.default_rng(7).beta(wrong, right, (runs, 400)).cumsum(axis=1)
    alarms = sum(
        any(is_surely_above(total, count, share) for count, total in enumerate(run, start=1))
        for run in draws.tolist()
    )
    assert alarms / runs <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / runs)


def test_where_it_is_exceeded_it_is_said_soon() -> None:
    assert ever_alarmed(0.9, 0.5, trials=30, runs=500) > 0.95
    assert ever_alarmed(0.4, 0.3, trials=1_000, runs=500) > 0.95


@given(st.integers(0, 400), st.integers(0, 400))
def test_the_bound_lies_below_what_was_seen_and_is_where_the_answer_turns(
    successes: int, failures: int
) -> None:
    trials = successes + failures
    bound = lower_bound(successes, trials)
    if not successes:
        assert bound == 0.0
        return
    assert 0.0 < bound < successes / trials
    assert is_surely_above(successes, trials, bound * (1 - 1e-9))
    assert not is_surely_above(successes, trials, bound + 1e-9)


def test_more_of_the_same_is_surer() -> None:
    bounds = [lower_bound(7 * many, 10 * many) for many in (1, 10, 100, 1_000, 100_000)]
    assert bounds == sorted(bounds)
    assert bounds[-1] == pytest.approx(0.7, abs=0.003)


def test_the_ends() -> None:
    assert is_surely_above(1, 100, 0.0)
    assert not is_surely_above(0, 100, 0.0)
    assert not is_surely_above(1_000_000, 1_000_000, 1.0)


@pytest.mark.parametrize(
    "counts", [(-1, 3, 0.5), (4, 3, 0.5), (1, 3, -0.1), (1, 3, 1.1), (1, 3, math.nan)]
)
def test_what_cannot_be_is_refused(counts: Any) -> None:
    with pytest.raises(BadInputError):
        is_surely_above(*counts)
