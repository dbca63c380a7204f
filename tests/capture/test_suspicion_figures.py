"""Better by more than chance, or not: what a fit has to show."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from misheard.capture.suspicion import FEATURES
from misheard.capture.suspicion_figures import Gain, gain
from misheard.capture.suspicion_fit import Examples


def examples(groups: int, each: int, *, seed: int = 0, share: float = 0.25) -> Examples:
    random, count = np.random.default_rng(seed), groups * each
    return Examples(
        features=np.zeros((count, len(FEATURES))),
        errors=random.random(count) < share,
        weights=np.ones(count),
        groups=np.arange(count) // each,
    )


def told(given: Examples, noise: float, *, seed: int) -> NDArray[np.float64]:
    """Scores that say what is wrong, under so much noise."""
    return given.errors + np.random.default_rng(seed).normal(0, noise, len(given))


def test_the_same_ranking_is_no_gain() -> None:
    given = examples(10, 20)
    scores = told(given, 1.0, seed=1)
    assert gain(scores, 2 * scores + 3, given) == Gain(estimate=0.0, low=0.0, high=0.0)
    assert not gain(scores, scores, given).is_sure


def test_what_ranks_better_for_everybody_surely_does() -> None:
    given = examples(10, 20)
    better, worse = told(given, 0.5, seed=1), told(given, 3.0, seed=2)
    found, mirrored = gain(better, worse, given), gain(worse, better, given)
    assert found.is_sure
    assert not mirrored.is_sure
    assert mirrored.high == pytest.approx(-found.low)
    assert "95 % interval +" in str(found)


def test_what_ranks_better_for_one_speaker_alone_may_be_chance() -> None:
    given = examples(10, 20)
    scores = told(given, 1.0, seed=1)
    one = np.where(given.groups == 0, 10 * given.errors - 5.0, scores)
    found = gain(one, scores, given)
    assert found.estimate > 0.02
    assert not found.is_sure


def test_where_all_errors_are_of_one_speaker_nothing_is_sure() -> None:
    given = examples(10, 20)
    alone = Examples(
        features=given.features,
        errors=given.groups == 0,
        weights=given.weights,
        groups=given.groups,
    )
    found = gain(told(alone, 0.1, seed=1), told(alone, 3.0, seed=2), alone)
    assert (found.low, found.high) == (-1.0, 1.0)


@pytest.mark.parametrize(("groups", "each"), [(5, 40), (15, 20), (200, 3)])
def test_chance_is_seldom_taken_for_a_gain(groups: int, each: int) -> None:
    """Two rankings that are as good as each other: one time in forty is asked for."""
    sure = 0
    for seed in range(400):
        given = examples(groups, each, seed=seed)
        one, other = (told(given, 1.0, seed=10_000 * (at + 1) + seed) for at in range(2))
        sure += gain(one, other, given).is_sure
    assert sure <= 0.05 * 400
