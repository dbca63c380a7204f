"""Intervals that hold what they are to hold, as often as they say."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest

from misheard.scoring.survey import GroupSums, quantile, rate, share, wilson

_REPLICATES = 2_000


@pytest.mark.parametrize(
    ("degrees", "known"),
    [(2, 4.3027), (3, 3.1824), (5, 2.5706), (10, 2.2281), (30, 2.0423), (math.inf, 1.9600)],
)
def test_the_quantile_is_that_of_the_tables(degrees: float, known: float) -> None:
    assert quantile(degrees) == pytest.approx(known, rel=0.009)
    if degrees >= 5:
        assert quantile(degrees) == pytest.approx(known, rel=2e-4)


def test_wilson_is_that_of_the_book() -> None:
    """Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I."""
    for wrong, n, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson(wrong / n, n) == pytest.approx((low, high), abs=5e-5)


def test_independent_utterances_have_the_interval_of_wilson() -> None:
    wrong = [1.0] * 30 + [0.0] * 170
    found = share(GroupSums.of(wrong, [1.0] * 200), n=200, weight_squared=200)
    low, high = wilson(0.15, 200)
    # A little wider, for a variance that had to be estimated.
    assert low - 0.002 < found.low <= low
    assert high <= found.high < high + 0.002


def test_equal_weights_change_nothing() -> None:
    y, x = [3.0, 0.0, 1.0, 0.0], [5.0, 6.0, 4.0, 5.0]
    one = share(GroupSums.of(y, x), n=20, weight_squared=20)
    hundred = share(
        GroupSums.of([100 * a for a in y], [100 * a for a in x]), n=20, weight_squared=20 * 100**2
    )
    for name in ("estimate", "low", "high"):
        assert getattr(one, name) == pytest.approx(getattr(hundred, name))


def test_groups_that_are_alike_within_are_what_counts() -> None:
    """Ten calls of a hundred utterances, of which one is all wrong."""
    y, x = [100.0] + [0.0] * 9, [100.0] * 10
    found = share(GroupSums.of(y, x), n=1_000, weight_squared=1_000)
    low, high = wilson(0.1, 10)
    assert found.low <= low
    assert found.high >= high


def test_one_group_tells_nothing_of_how_far_off_it_is() -> None:
    found = share(GroupSums.of([3.0], [10.0]), n=10, weight_squared=10)
    assert (found.estimate, found.low, found.high) == (0.3, 0.0, 1.0)
    words = rate(GroupSums.of([3.0], [10.0]), n=10, highest_share=1.0)
    assert (words.estimate, words.low, words.high) == (0.3, 0.0, math.inf)


def test_where_nothing_was_spoken_there_is_no_rate() -> None:
    found = rate(GroupSums.of([2.0, 0.0], [0.0, 0.0]), n=2, highest_share=1.0)
    assert math.isnan(found.estimate)
    assert (found.low, found.high) == (0.0, math.inf)


@dataclass(frozen=True)
class Traffic:
    """Utterances by speakers, some of whom are hard to understand."""

    speaker: np.ndarray
    words: np.ndarray
    errors: np.ndarray
    probability: np.ndarray


def traffic(rng: np.random.Generator, *, speakers: int, each: int, rate: float) -> Traffic:
    count = speakers * each
    speaker = np.repeat(np.arange(speakers), each)
    words = 1 + rng.poisson(7, count)
    hard = rng.beta(rate * 4, (1 - rate) * 4, speakers)[speaker]
    wrong = rng.random(count) < hard
    errors = np.where(wrong, 1 + rng.binomial(words - 1, 0.25), 0)
    # The share that is drawn was tripled in the middle.
    probability = np.where(np.arange(count) % 2 == 0, 0.02, 0.06)
    return Traffic(speaker, words, errors, probability)


def covered(rng: np.random.Generator, whole: Traffic) -> tuple[list[bool], float]:
    """Whether share and WER are in their intervals, of one draw; the share that it came to."""
    drawn = rng.random(len(whole.words)) < whole.probability
    weight = 1 / whole.probability[drawn]
    _, group = np.unique(whole.speaker[drawn], return_inverse=True)

    def sums(values: np.ndarray) -> list[float]:
        return list(np.bincount(group, weights=weight * values))

    errors, words = whole.errors[drawn], whole.words[drawn]
    n = int(drawn.sum())
    ones = np.ones(n)
    found = share(
        GroupSums.of(sums(errors > 0), sums(ones)), n=n, weight_squared=float((weight**2).sum())
    )
    wer = rate(GroupSums.of(sums(errors), sums(words)), n=n, highest_share=found.high)
    truth = (np.mean(whole.errors > 0), whole.errors.sum() / whole.words.sum())
    inside = [one.low <= true <= one.high for one, true in zip((found, wer), truth, strict=True)]
    return inside, found.estimate


@pytest.mark.parametrize(
    ("speakers", "each", "rate", "lowest", "highest"),
    [
        # Each is a speaker of their own.
        (10_000, 1, 0.10, 0.94, 0.97),
        (10_000, 1, 0.02, 0.93, 0.98),
        # Calls of 20 utterances, of which one or two are drawn.
        (500, 20, 0.10, 0.94, 0.97),
        # Few speakers, of whom much is drawn: their groups are what is counted.
        (40, 250, 0.10, 0.94, 1.00),
    ],
)
def test_intervals_hold_the_truth_as_often_as_they_say(
    speakers: int, each: int, rate: float, lowest: float, highest: float
) -> None:
    """Of 95 % they may miss a little: 2,000 draws have a deviation of half a point."""
    rng = np.random.default_rng(20_260_131)
    inside, estimates = [], []
    truth = []
    for number in range(_REPLICATES):
        if number % 20 == 0:
            whole = traffic(rng, speakers=speakers, each=each, rate=rate)
        hits, estimate = covered(rng, whole)
        inside.append(hits)
        estimates.append(estimate)
        truth.append(np.mean(whole.errors > 0))
    coverage = np.mean(inside, axis=0)
    assert np.all(coverage >= lowest), coverage
    assert np.all(coverage <= highest), coverage
    assert np.mean(estimates) == pytest.approx(np.mean(truth), rel=0.02)
