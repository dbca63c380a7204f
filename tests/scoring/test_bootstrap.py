from __future__ import annotations

import math
import time
import tracemalloc

import kaldialign
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from misheard.errors import BadInputError
from misheard.scoring import bootstrap
from misheard.scoring.alignment import count_errors
from misheard.scoring.significance import paired_bootstrap
from tests.scoring.test_mapsswe import made_up

BLOCKS = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(1, 9), st.sampled_from("abcde")),
    min_size=1,
    max_size=25,
)


def columns(rows):
    before, after, words, groups = zip(*rows, strict=True)
    return np.array(before), np.array(after), np.array(words), list(groups)


def test_blocks_of_one_give_the_intervals_of_kaldialign() -> None:
    """Both are random: the ends agree to within a twentieth of the interval's width."""
    reference, *sides = (
        [text.split() for text in side]
        for side in made_up(3, utterances=400, vocabulary=50, longest=12)
    )
    before, after = (count_errors(reference, side) for side in sides)
    theirs = kaldialign.bootstrap_wer_ci(reference, sides[0], sides[1], replications=10_000)
    ours = paired_bootstrap(before.errors, after.errors, before.reference_length, None)
    for one, other in ((ours.baseline, "system1"), (ours.candidate, "system2")):
        ends = theirs[other]["ci95min"], theirs[other]["ci95max"]
        assert one == pytest.approx(ends, abs=(ends[1] - ends[0]) / 20)
    better = float(np.mean(ours.reductions > 0))
    assert better == pytest.approx(theirs["p_s2_improv_over_s1"], abs=0.02)


def plainly(sums: np.ndarray, replicates: int) -> np.ndarray:
    """Rows drawn one by one, the textbook's way; baseline minus candidate of each replicate."""
    random = np.random.default_rng(99)
    drawn = sums[random.integers(0, len(sums), (replicates, len(sums)))].sum(axis=1)
    return (drawn[:, 0] - drawn[:, 1]) / drawn[:, 2]


@pytest.mark.parametrize("kinds", [3, 40, 900])
def test_drawing_kinds_of_blocks_is_drawing_blocks(kinds: int) -> None:
    """900 kinds are drawn partly one by one."""
    random = np.random.default_rng(5)
    made = np.stack([random.poisson(mean, kinds) for mean in (40, 35, 300)], axis=1)
    sums = made[random.integers(0, kinds, 1_000) ** 2 // kinds]
    ours = paired_bootstrap(*sums.T, None, replicates=20_000).reductions
    other = plainly(sums, 20_000)
    # Rates lie on a lattice, so they are compared by their distribution functions.
    points = np.unique(np.concatenate([ours, other]).round(10))
    below = [np.searchsorted(np.sort(side.round(10)), points, "right") for side in (ours, other)]
    assert np.abs(below[0] - below[1]).max() / 20_000 < 0.0195  # Kolmogorov and Smirnov, 0.001
    assert ours.std() == pytest.approx(other.std(), rel=0.03)


def test_the_normal_part_moves_an_end_by_less_than_a_tenth_of_an_error(monkeypatch) -> None:
    """Skewed blocks, all different, drawn one by one and then from the normal."""
    random = np.random.default_rng(6)
    words = random.integers(300, 3_000, 3_000)
    hard = random.gamma(0.5, 0.2, 3_000)
    before, after = (random.poisson(words * hard * rate) for rate in (1.0, 0.97))
    exact = paired_bootstrap(before, after, words, None)
    monkeypatch.setattr(bootstrap, "MOST_DRAWS", 100)
    near = paired_bootstrap(before, after, words, None)
    assert near != exact
    for one, other, error in (
        (exact.reduction, near.reduction, exact.standard_error),
        (exact.baseline, near.baseline, (exact.baseline[1] - exact.baseline[0]) / 3.92),
    ):
        assert one == pytest.approx(other, abs=0.1 * error)


def test_a_million_utterances_take_seconds_and_little_memory() -> None:
    random = np.random.default_rng(7)
    words = 1 + random.negative_binomial(2, 2 / 11, 1_000_000)
    before, after = (random.binomial(words, rate) for rate in (0.1, 0.098))
    started = time.process_time()  # of the processor: the clock's is others' too
    found = paired_bootstrap(before, after, words, None)
    assert time.process_time() - started < 30
    assert found.blocks == 1_000_000
    assert found.reduction[0] < 0.002 < found.reduction[1]
    tracemalloc.start()
    paired_bootstrap(before, after, words, None, replicates=1_000)
    peak_mb = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    assert peak_mb < 150  # 24 MB of them are a copy of the input


def test_many_groups_that_all_differ_take_seconds() -> None:
    random = np.random.default_rng(8)
    words = random.integers(300, 3_000, 30_000)
    before, after = (random.binomial(words, rate) for rate in (0.1, 0.098))
    started = time.process_time()  # of the processor: the clock's is others' too
    found = paired_bootstrap(before, after, words, None)
    assert time.process_time() - started < 20
    assert len(np.unique(found.reductions)) > 9_900  # no portion repeats another
    deviation = np.std(before - after - words * (before - after).sum() / words.sum())
    assert found.standard_error == pytest.approx(
        deviation * math.sqrt(len(words)) / words.sum(), rel=0.05
    )


@pytest.mark.parametrize("threads", [1, 3])
def test_the_number_of_threads_does_not_matter(threads: int) -> None:
    random = np.random.default_rng(9)
    words = random.integers(5, 500, 2_000)
    before, after = random.binomial(words, 0.1), random.binomial(words, 0.1)
    alone = paired_bootstrap(before, after, words, None, threads=2)
    assert alone == paired_bootstrap(before, after, words, None, threads=threads)
    assert alone != paired_bootstrap(before, after, words, None, seed=1)


@settings(deadline=None, max_examples=50)
@given(BLOCKS, st.randoms())
def test_the_order_of_utterances_does_not_matter(rows, random) -> None:
    shuffled = random.sample(rows, len(rows))
    one, other = (paired_bootstrap(*columns(r), replicates=200) for r in (rows, shuffled))
    assert one == other


@settings(deadline=None, max_examples=50)
@given(BLOCKS)
def test_blocks_of_one_are_the_plain_bootstrap(rows) -> None:
    before, after, words, _ = columns(rows)
    named = paired_bootstrap(before, after, words, range(len(rows)), replicates=200)
    assert named == paired_bootstrap(before, after, words, None, replicates=200)


@settings(deadline=None, max_examples=50)
@given(BLOCKS)
def test_summing_the_utterances_of_a_group_beforehand_changes_nothing(rows) -> None:
    before, after, words, groups = columns(rows)
    one = paired_bootstrap(before, after, words, groups, replicates=200)
    names = sorted(set(groups))
    summed = [
        [int(c[[g == name for g in groups]].sum()) for name in names]
        for c in (before, after, words)
    ]
    assert one == paired_bootstrap(*map(np.array, summed), names, replicates=200)


@settings(deadline=None, max_examples=50)
@given(BLOCKS)
def test_swapped_models_have_the_mirrored_interval(rows) -> None:
    before, after, words, groups = columns(rows)
    forth = paired_bootstrap(before, after, words, groups, replicates=2_000)
    back = paired_bootstrap(after, before, words, groups, replicates=2_000)
    if before.sum() != after.sum():
        assert (forth.baseline, forth.candidate) == (back.candidate, back.baseline)
        assert forth.reduction == pytest.approx([-end for end in back.reduction][::-1])
    else:
        # Nothing says which is which, so the draws differ.
        width = forth.reduction[1] - forth.reduction[0]
        assert forth.reduction == pytest.approx(
            [-end for end in back.reduction][::-1], abs=0.25 * width + 1e-12
        )


def test_other_levels_come_from_the_same_replicates() -> None:
    random = np.random.default_rng(10)
    before, after = random.poisson(2, 100), random.poisson(1.8, 100)
    found = paired_bootstrap(before, after, np.full(100, 20), None)
    assert found.reduction_at(0.95) == found.reduction
    narrow, wide = found.reduction_at(0.5), found.reduction_at(0.99)
    assert wide[0] < found.reduction[0] < narrow[0] < narrow[1] < found.reduction[1] < wide[1]
    again = paired_bootstrap(before, after, np.full(100, 20), None, confidence=0.9)
    assert found.largest_increase(0.05) == -again.reduction[0]
    assert np.mean(-found.reductions > found.largest_increase(0.05)) == pytest.approx(
        0.05, abs=0.01
    )


def test_without_utterances_there_is_no_interval() -> None:
    found = paired_bootstrap(np.empty(0), np.empty(0), np.empty(0), [])
    assert found.blocks == 0
    assert all(math.isnan(end) for end in (*found.reduction, *found.reduction_at(0.5)))
    assert math.isnan(found.largest_increase())
    assert math.isnan(found.standard_error)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"baseline_errors": [1.0, math.nan]}, "baseline_errors must be counts; utterance 1"),
        ({"candidate_errors": [-1, 0]}, "candidate_errors must be counts; utterance 0 has -1"),
        ({"reference_length": [0.5, 1]}, "reference_length must be counts"),
        ({"reference_length": [math.inf, 1]}, "reference_length must be counts"),
        ({"candidate_errors": [1]}, "not of the same utterances: 2 baseline_errors, 1 candidate"),
        ({"baseline_errors": [[1, 2]]}, "one for each utterance"),
        ({"baseline_errors": ["one", "two"]}, "are no numbers"),
        ({"baseline_errors": [None, 1]}, "must be counts"),
        ({"groups": ["a"]}, "2 utterances, 1 groups"),
        ({"replicates": 0}, "needs replicates"),
        ({"confidence": 1.0}, "between 0 and 1"),
        ({"confidence": math.nan}, "between 0 and 1"),
    ],
)
def test_bad_input_is_named(changes, message: str) -> None:
    given = {
        "baseline_errors": [1, 0],
        "candidate_errors": [0, 1],
        "reference_length": [3, 4],
        "groups": ["a", "b"],
    }
    with pytest.raises(BadInputError, match=message):
        paired_bootstrap(**given | changes)
