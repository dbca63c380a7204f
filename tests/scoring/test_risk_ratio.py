"""Whether one goes wrong more often than the other, by exact sums over all that can happen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from misheard.errors import BadInputError
from misheard.scoring.risk_ratio import (
    Wrong,
    estimate,
    is_surely_above,
    log_evidence,
    lower_bound,
)


def chance_of(share: float, ratio: float) -> float:
    return share * ratio / (share * ratio + 1 - share)


def ever_alarmed(
    steps: Sequence[tuple[float, int]], true: float, ratio: float, alpha: float
) -> list[float]:
    """The chance that an alarm was raised after each wrong session, looked at after every one.

    Exact: of each state, the candidate's wrong sessions in each step, its chance to be there
    without an alarm so far. Only the sum over steps before the last matters where a step ends, so
    all of them are kept.
    """
    alive = {(0,) * len(steps): 1.0}
    alarmed, told = 0.0, []
    done = [0] * len(steps)
    for step, (share, sessions) in enumerate(steps):
        p = chance_of(share, true)
        for _ in range(sessions):
            done[step] += 1
            nxt: dict[tuple[int, ...], float] = {}
            for state, mass in alive.items():
                up = (*state[:step], state[step] + 1, *state[step + 1 :])
                nxt[up] = nxt.get(up, 0.0) + mass * p
                nxt[state] = nxt.get(state, 0.0) + mass * (1 - p)
            alive = {}
            for state, mass in nxt.items():
                wrong = [
                    Wrong(share=steps[at][0], candidate=count, live=done[at] - count)
                    for at, count in enumerate(state)
                ]
                if mass > 1e-9 and is_surely_above(wrong, ratio, alpha=alpha):
                    alarmed += mass
                elif mass > 1e-9:
                    alive[state] = mass
            told.append(alarmed)
    return told


@pytest.mark.parametrize("share", [0.01, 0.05, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("ratio", [1.0, 1.5])
def test_at_the_ratio_it_is_ever_said_with_the_chance_that_was_asked_for(
    share: float, ratio: float
) -> None:
    chance = ever_alarmed([(share, 300)], ratio, ratio, 0.05)[-1]
    assert 0.001 < chance <= 0.05


def test_it_holds_over_the_steps_of_a_canary() -> None:
    assert ever_alarmed(((0.05, 20), (0.25, 20), (0.5, 20)), 1.5, 1.5, 0.05)[-1] <= 0.05


def test_an_equally_good_one_is_hardly_ever_taken_for_worse_than_the_tolerance() -> None:
    chance = ever_alarmed([(0.25, 400)], 1.0, 1.5, 0.05)[-1]
    assert chance < 0.01


def test_one_that_is_much_worse_is_found_soon() -> None:
    """Sessions that went wrong, its own and the live version's, until that is nearly certain."""
    assert ever_alarmed([(0.05, 30)], 20.0, 1.5, 0.01)[-1] > 0.99
    assert ever_alarmed([(0.5, 120)], 5.0, 1.5, 0.01)[-1] > 0.95


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_the_bet_is_fair_at_the_ratio_and_loses_below_it(share: float) -> None:
    def expected(true: float) -> float:
        p, n = chance_of(share, true), 60
        return math.fsum(
            math.comb(n, k)
            * p**k
            * (1 - p) ** (n - k)
            * math.exp(log_evidence([Wrong(share=share, candidate=k, live=n - k)], 1.5))
            for k in range(n + 1)
        )

    assert expected(1.5) == pytest.approx(1.0, rel=1e-9)
    assert expected(1.2) < expected(1.4) < 1.0
    assert expected(3.0) > 100


def test_steps_multiply_within_each_part_of_the_bet() -> None:
    """Of one share, two steps are as good as one with all their sessions."""
    parts = [Wrong(share=0.1, candidate=3, live=9), Wrong(share=0.1, candidate=4, live=2)]
    whole = [Wrong(share=0.1, candidate=7, live=11)]
    assert log_evidence(parts, 1.5) == pytest.approx(log_evidence(whole, 1.5), rel=1e-12)


shares = st.floats(1e-6, 1 - 1e-6)
counts = st.integers(0, 10**9)
wrongs = st.lists(
    st.builds(lambda share, one, other: Wrong(share=share, candidate=one, live=other),
              shares, counts, counts),
    min_size=1, max_size=4,
)  # fmt: skip


@given(wrongs, st.floats(1e-3, 1e3))
def test_whatever_was_counted_it_is_a_number_and_the_bound_is_what_is_surely_so(
    wrong: list[Wrong], ratio: float
) -> None:
    assert math.isfinite(log_evidence(wrong, ratio))
    bound = lower_bound(wrong, alpha=0.01)
    assert 0.0 <= bound <= 1e6
    if 1e-5 < bound < 1e5:
        assert is_surely_above(wrong, bound * 0.999, alpha=0.01)
        assert not is_surely_above(wrong, bound * 1.001, alpha=0.01)
    most_likely = estimate(wrong)
    assert math.isnan(most_likely) or most_likely >= 0.0
    if bound > 1e-5 and math.isfinite(most_likely) and most_likely < 1e5:
        assert bound < most_likely


@given(st.lists(st.builds(lambda share: share, shares), min_size=1, max_size=3), st.data())
def test_more_of_the_candidates_speak_against_it_and_more_of_the_live_ones_for_it(
    some: list[float], data: st.DataObject
) -> None:
    few = st.integers(0, 1_000)
    base = [Wrong(share=share, candidate=data.draw(few), live=data.draw(few)) for share in some]

    def plus(candidate: int, live: int) -> float:
        first = base[0]
        more = Wrong(
            share=first.share, candidate=first.candidate + candidate, live=first.live + live
        )
        return log_evidence([more, *base[1:]], 1.5)

    before = plus(0, 0)
    assert plus(1, 0) > before or math.isclose(plus(1, 0), before, rel_tol=1e-6, abs_tol=1e-6)
    assert plus(0, 1) <= before
    falling = [log_evidence(base, ratio) for ratio in (0.5, 1.0, 1.5, 3.0, 10.0)]
    assert all(one >= other - 1e-9 for one, other in pairwise(falling))


@given(st.integers(1, 500), st.integers(1, 500), st.floats(0.01, 0.99))
def test_the_estimate_of_one_share_is_the_odds_over_those_of_the_share(
    candidate: int, live: int, share: float
) -> None:
    odds = candidate / live * (1 - share) / share
    wrong = [Wrong(share=share, candidate=candidate, live=live)]
    assert estimate(wrong) == pytest.approx(odds, rel=1e-6)


def test_the_estimate_of_several_shares_is_what_makes_the_counts_most_likely() -> None:
    wrong = [Wrong(share=0.05, candidate=3, live=20), Wrong(share=0.5, candidate=9, live=4)]

    def log_likelihood(ratio: float) -> float:
        return math.fsum(
            one.candidate * math.log(chance_of(one.share, ratio))
            + one.live * math.log(1 - chance_of(one.share, ratio))
            for one in wrong
        )

    grid = np.geomspace(0.1, 100, 20_001)
    best = grid[int(np.argmax([log_likelihood(float(ratio)) for ratio in grid]))]
    assert estimate(wrong) == pytest.approx(best, rel=1e-3)


def test_where_nothing_went_wrong_nothing_is_said() -> None:
    none = [Wrong(share=0.1, candidate=0, live=0)]
    assert log_evidence(none, 1.5) == log_evidence([], 1.5) == 0.0
    assert lower_bound(none, alpha=0.01) == lower_bound([], alpha=0.01) == 0.0
    assert math.isnan(estimate(none))
    assert estimate([Wrong(share=0.1, candidate=0, live=4)]) == 0.0
    assert math.isinf(estimate([Wrong(share=0.1, candidate=4, live=0)]))


@pytest.mark.parametrize(
    "fields",
    [
        {"share": 0.0},
        {"share": 1.0},
        {"share": math.nan},
        {"candidate": -1},
        {"live": -1},
    ],
)
def test_counts_and_shares_that_cannot_be(fields: dict[str, float]) -> None:
    given_ = {"share": 0.1, "candidate": 1, "live": 1, **fields}
    with pytest.raises(BadInputError):
        Wrong(**given_)  # type: ignore[arg-type]


@pytest.mark.parametrize("ratio", [0.0, -1.0, math.nan, math.inf])
def test_a_ratio_that_cannot_be(ratio: float) -> None:
    with pytest.raises(BadInputError):
        log_evidence([Wrong(share=0.1, candidate=1, live=1)], ratio)
