from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from misheard.errors import BadInputError
from misheard.scoring import permutation
from misheard.scoring.significance import matched_pairs, permutation_test

DIFFERENCES = st.lists(st.integers(-6, 6), max_size=12)


def of(differences):
    """The test of groups with these differences of errors."""
    values = np.array(differences, int)
    return permutation_test(np.maximum(values, 0), np.maximum(-values, 0), None)


def counted(differences) -> float:
    """Every choice of signs, one by one."""
    found = abs(sum(differences))
    sums = [
        abs(sum(sign * size for sign, size in zip(signs, differences, strict=True)))
        for signs in itertools.product((-1, 1), repeat=len(differences))
    ]
    return sum(one >= found for one in sums) / len(sums)


@given(DIFFERENCES)
def test_the_p_value_is_the_share_of_all_choices_of_signs(differences: list[int]) -> None:
    assert of(differences).p_value == pytest.approx(counted(differences), abs=1e-12)


@settings(deadline=None, max_examples=100)
@given(DIFFERENCES)
def test_building_up_the_distribution_is_counting_its_choices(differences: list[int]) -> None:
    """There are two exact ways, and the cheaper one is taken; here each is forced."""
    for listed, steps in ((0, permutation.MOST_CELLS), (20, 0)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(permutation, "_ENUMERATED", listed)
            patch.setattr(permutation, "MOST_CELLS", steps)
            found = of(differences)
        assert found.exact
        assert found.p_value == pytest.approx(counted(differences), abs=1e-12)


def test_many_groups_of_one_error_are_the_binomial() -> None:
    """60 of 100 groups better by one: the two-sided sign test."""
    tail = sum(math.comb(100, k) for k in range(60, 101)) / 2**100
    found = of([1] * 60 + [-1] * 40)
    assert found.p_value == pytest.approx(2 * tail, rel=1e-12)
    assert (found.exact, found.reduction, found.differing_groups) == (True, 20, 100)


@pytest.mark.parametrize(
    ("differences", "p_value"),
    [
        ([], 1.0),
        ([0, 0, 0], 1.0),
        ([7], 1.0),
        ([3, 2], 0.5),
        ([1, 1, 1, 1, 1], 1 / 16),
        ([1, 1, 1, 1, 1, 1], 1 / 32),
        ([4, -4], 1.0),
        ([10**9, 10**9 + 1, 3, 1, 1, 2], 1 / 32),
    ],
)
def test_few_groups_say_what_they_can(differences: list[int], p_value: float) -> None:
    found = of(differences)
    assert (found.p_value, found.exact) == (p_value, True)


def test_how_small_p_can_get_is_said() -> None:
    assert of([1, -2, 3, 1, 5, 0]).smallest_p == 1 / 16
    assert of([0]).smallest_p == 1.0


def test_utterances_of_a_group_are_one_coin() -> None:
    """Twenty utterances of one speaker are no more evidence than that speaker."""
    before, after = np.full(20, 3), np.full(20, 1)
    assert permutation_test(before, after, ["one"] * 20).p_value == 1.0
    assert permutation_test(before, after, ["one"] * 10 + ["two"] * 10).p_value == 0.5
    assert permutation_test(before, after, None).p_value == 2.0**-19


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.sampled_from("abcdefgh"))),
    st.randoms(),
)
def test_neither_the_order_of_utterances_nor_of_models_matters(rows, random) -> None:
    forth = permutation_test(*_columns(rows))
    shuffled = permutation_test(*_columns(random.sample(rows, len(rows))))
    before, after, groups = _columns(rows)
    back = permutation_test(after, before, groups)
    assert forth == shuffled
    assert (back.p_value, back.reduction) == (forth.p_value, -forth.reduction)
    assert 0 <= forth.p_value <= 1
    assert forth.p_value >= forth.smallest_p or not forth.differing_groups


def _columns(rows):
    return [[row[at] for row in rows] for at in (0, 1, 2)]


def test_at_the_border_the_normal_approximation_agrees(monkeypatch) -> None:
    """From p = 0.9 down to p = 0.0001, on groups with a few large differences among them."""
    random = np.random.default_rng(1)
    sizes = random.negative_binomial(0.5, 0.05, 3_000)
    for shift in (0.5, 0.51, 0.515, 0.52, 0.53, 0.54):
        signs = np.where(random.random(3_000) < shift, 1, -1)
        exact = of(sizes * signs)
        with monkeypatch.context() as patch:
            patch.setattr(permutation, "MOST_CELLS", 0)
            near = of(sizes * signs)
        assert (exact.exact, near.exact) == (True, False)
        assert near.p_value == pytest.approx(exact.p_value, rel=0.05)


def test_the_normal_approximation_is_corrected_for_continuity(monkeypatch) -> None:
    """27 of 40 groups better by one: without the correction p would be a third too small."""
    exact = of([1] * 27 + [-1] * 13)
    monkeypatch.setattr(permutation, "MOST_CELLS", 0)
    assert of([1] * 27 + [-1] * 13).p_value == pytest.approx(exact.p_value, rel=0.05)


def test_a_million_groups_are_quick_and_agree_with_the_matched_pairs() -> None:
    random = np.random.default_rng(2)
    before, after = random.poisson(1.0, 1_000_000), random.poisson(0.997, 1_000_000)
    started = time.process_time()  # of the processor: the clock's is others' too
    found = permutation_test(before, after, None)
    assert time.process_time() - started < 10
    assert not found.exact
    assert found.p_value == pytest.approx(matched_pairs(before, after).p_value, rel=0.05)


def test_thousands_of_groups_are_exact() -> None:
    random = np.random.default_rng(3)
    before, after = random.poisson(6.0, 5_000), random.poisson(5.95, 5_000)
    assert permutation_test(before, after, None).exact


def test_equally_good_models_are_promoted_in_one_of_forty_trials_at_most() -> None:
    """Groups that are correlated inside: 30 utterances each, better or worse together."""
    random = np.random.default_rng(4)
    promoted = 0
    for _ in range(1_000):
        luck = np.exp(random.normal(0, 0.7, 12))
        found = permutation_test(random.poisson(30 * luck), random.poisson(30 / luck), None)
        promoted += found.p_value < 0.05 and found.reduction > 0
    assert 0.01 < promoted / 1_000 < 0.04


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, math.nan], [0, 0], None), "must be counts"),
        (([1, 2], [0], None), "not of the same utterances"),
        (([1, 2], [0, 0], ["a"]), "2 utterances, 1 groups"),
        (([1, -2], [0, 0], None), "must be counts"),
    ],
)
def test_bad_input_is_named(arguments, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        permutation_test(*arguments)
