from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest

from misheard.scoring.significance import matched_pairs, paired_bootstrap


def test_the_matched_pairs_test_by_hand() -> None:
    """Differences 1, 0, 1, 2: mean 1, variance 2/3, so z = 1 / √(2/3 / 4) = √6 ≈ 2.449."""
    test = matched_pairs(np.array([2, 1, 3, 2]), np.array([1, 1, 2, 0]))
    assert test.z == pytest.approx(math.sqrt(6))
    assert test.p_value == pytest.approx(2 * (1 - NormalDist().cdf(math.sqrt(6))))
    assert test.p_value == pytest.approx(0.01431, abs=1e-5)
    assert test.segments == 4


def test_swapping_the_two_models_turns_the_sign_only() -> None:
    one, two = np.array([2, 1, 3, 2, 0]), np.array([1, 1, 2, 0, 1])
    forth, back = matched_pairs(one, two), matched_pairs(two, one)
    assert forth.z == -back.z
    assert forth.p_value == back.p_value


@pytest.mark.parametrize("errors", [[], [3], [1, 0, 2, 5]])
def test_the_same_errors_on_every_utterance_have_p_1(errors: list[int]) -> None:
    test = matched_pairs(np.array(errors), np.array(errors))
    assert (test.z, test.p_value) == (0.0, 1.0)


def test_equal_models_are_called_different_in_one_of_twenty_trials() -> None:
    random = np.random.default_rng(1)
    trials = [
        matched_pairs(random.poisson(0.5, 300), random.poisson(0.5, 300)).p_value < 0.05
        for _ in range(1_000)
    ]
    assert 0.03 < np.mean(trials) < 0.07


def test_identical_systems_have_an_interval_that_holds_nothing_but_zero() -> None:
    errors = np.array([1, 0, 2, 0, 1, 3])
    intervals = paired_bootstrap(errors, errors, np.full(6, 5), list("abcdef"))
    assert intervals.reduction == (0.0, 0.0)
    low, high = intervals.baseline
    assert low < errors.sum() / 30 < high
    assert intervals.baseline == intervals.candidate


def test_a_clear_improvement_has_an_interval_above_zero() -> None:
    random = np.random.default_rng(2)
    before = random.poisson(2.0, 200)
    intervals = paired_bootstrap(
        before, before // 2, np.full(200, 10), [str(n) for n in range(200)], replicates=2_000
    )
    truth = (before.sum() - (before // 2).sum()) / 2_000
    assert 0 < intervals.reduction[0] < truth < intervals.reduction[1]


def test_blocks_make_the_interval_wider_where_errors_go_together() -> None:
    random = np.random.default_rng(3)
    by_group = random.poisson(1.0, 20)
    errors, groups = np.repeat(by_group, 10), np.repeat(np.arange(20), 10).astype(str)
    length, none = np.full(200, 10), np.zeros(200, int)
    alone = paired_bootstrap(errors, none, length, [str(n) for n in range(200)])
    blocked = paired_bootstrap(errors, none, length, groups.tolist())
    assert (alone.blocks, blocked.blocks) == (200, 20)
    wide, narrow = (high - low for low, high in (blocked.reduction, alone.reduction))
    assert wide > 2 * narrow


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(4)
    names = [str(number) for number in range(80)]
    covered = 0
    for _ in range(200):
        errors = random.poisson(0.3, 80)
        drawn = paired_bootstrap(
            errors, errors, np.full(80, 1), names, replicates=400, confidence=0.9
        )
        covered += drawn.baseline[0] <= 0.3 <= drawn.baseline[1]
    assert 0.82 < covered / 200 < 0.96


def test_the_same_seed_gives_the_same_interval_and_the_order_of_rows_does_not_matter() -> None:
    errors, groups = np.array([1, 0, 2, 0]), ["a", "b", "b", "c"]
    first = paired_bootstrap(errors, errors * 0, np.full(4, 5), groups)
    order = [2, 0, 3, 1]
    again = paired_bootstrap(
        errors[order], errors * 0, np.full(4, 5), [groups[index] for index in order]
    )
    assert first == again


def test_without_words_there_is_no_interval() -> None:
    nothing = paired_bootstrap(np.ones(3), np.ones(3), np.zeros(3), list("abc"))
    assert all(math.isnan(bound) for bound in (*nothing.baseline, *nothing.reduction))


def test_replicates_without_words_are_left_out() -> None:
    """Two groups, one of them silent: a quarter of all replicates draws no word at all."""
    intervals = paired_bootstrap(np.array([1, 0]), np.array([0, 0]), np.array([2, 0]), ["a", "b"])
    assert intervals.baseline == (0.5, 0.5)
