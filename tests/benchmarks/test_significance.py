"""The committed simulation: what it finds in its quick mode, and that it tests what it says."""

from __future__ import annotations

import json

import numpy as np
import pytest
from benchmarks.significance import MadeUp, Trials, bootstrapped, promotions

from benchmarks import significance
from misheard.scoring.significance import matched_pairs, paired_bootstrap, permutation_test


def test_the_quick_simulation_ends_with_its_figures(capsys) -> None:
    significance.main(["--quick"])
    printed = capsys.readouterr().out
    figures = json.loads(printed.splitlines()[-1])
    # 200 trials a row: 5 % may come out as 9 %.
    assert figures["worst_false_promotions"] <= 0.09
    assert figures["worst_false_promotions_unblocked"] > 0.1
    assert figures["power_20_percent_1_hour"] > 0.6
    assert figures["slices_with_holm"] < figures["slices_without_holm"]
    for name in significance.TESTS:
        assert name in printed


@pytest.fixture(scope="module")
def trials() -> Trials:
    return MadeUp(luck=0.5, gain=0.1).draw(np.random.default_rng(1), 60, 12, 30)


def test_made_up_models_differ_by_the_gain_that_was_asked_for() -> None:
    made = MadeUp(luck=0.5, gain=0.2).draw(np.random.default_rng(2), 100, 50, 40)
    assert made.before.sum() / made.words.sum() == pytest.approx(0.1, rel=0.02)
    assert 1 - made.after.sum() / made.before.sum() == pytest.approx(0.2, abs=0.02)
    assert made.words.mean() == pytest.approx(9, rel=0.01)


def test_the_simulated_tests_are_those_of_the_package(trials: Trials) -> None:
    found = promotions(trials, seed=3)
    for at in range(len(trials.before)):
        before, after = trials.before[at], trials.after[at]
        better = after.sum() < before.sum()
        utterances = matched_pairs(before.ravel(), after.ravel())
        wrong = (before + after > 0).ravel()
        segments = matched_pairs(before.ravel()[wrong], after.ravel()[wrong])
        groups = np.repeat(np.arange(12), 30).tolist()
        blocked = permutation_test(before.ravel(), after.ravel(), groups)
        assert found[0, at] == better
        assert found[2, at] == (better and utterances.p_value < 0.05)
        assert found[3, at] == (better and segments.p_value < 0.05)
        assert found[5, at] == (better and blocked.p_value < 0.05)


def test_the_simulated_bootstrap_is_paired_bootstrap(trials: Trials) -> None:
    """Where its end is not so close to zero that 2,000 replicates cannot tell."""
    sums = [values.sum(axis=2) for values in (trials.before, trials.after, trials.words)]
    simulated = bootstrapped(sums[0] - sums[1], seed=4)
    clear = 0
    for at, (before, after, words) in enumerate(zip(*sums, strict=True)):
        found = paired_bootstrap(before, after, words, None)
        if abs(found.reduction[0]) > found.standard_error / 4:
            clear += 1
            assert simulated[at] == (found.reduction[0] > 0)
    assert clear > 40
