from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from misheard.capture.ranking import at_budgets, average_precision

RANKED = st.lists(
    st.tuples(st.integers(0, 8), st.booleans(), st.integers(1, 5)), min_size=1, max_size=60
)


@given(rows=RANKED)
def test_average_precision_is_that_of_scikit_learn(rows: list[tuple[int, bool, int]]) -> None:
    scores, errors, weights = (np.array(column) for column in zip(*rows, strict=True))
    found = average_precision(scores, errors, weights)
    if not errors.any():
        assert math.isnan(found)
        return
    assert found == pytest.approx(average_precision_score(errors, scores, sample_weight=weights))


@given(rows=RANKED, seed=st.integers(0, 9))
def test_budgets_do_not_depend_on_the_order_of_rows(
    rows: list[tuple[int, bool, int]], seed: int
) -> None:
    scores, errors, weights = (np.array(column) for column in zip(*rows, strict=True))
    order = np.random.default_rng(seed).permutation(len(rows))
    one = at_budgets(scores, errors, weights)
    other = at_budgets(scores[order], errors[order], weights[order])
    for before, after in zip(one, other, strict=True):
        assert before.precision == pytest.approx(after.precision)
        assert before.recall == pytest.approx(after.recall, nan_ok=True)


def test_precision_and_recall_at_a_share() -> None:
    scores = np.arange(10, 0, -1)
    errors = np.array([1, 0, 1, 0, 0, 0, 0, 0, 0, 0], np.bool_)
    first, half, both, whole = at_budgets(scores, errors, shares=(0.1, 0.05, 0.3, 1.0))
    assert (first.precision, first.recall) == pytest.approx((1.0, 0.5))
    assert (half.precision, half.recall) == pytest.approx((1.0, 0.25))
    assert (both.precision, both.recall) == pytest.approx((2 / 3, 1.0))
    assert (whole.precision, whole.recall) == pytest.approx((0.2, 1.0))


def test_what_nobody_can_tell_apart_is_as_good_as_chance() -> None:
    errors = np.array([1, 0, 0, 1], np.bool_)
    for one in at_budgets(np.zeros(4), errors):
        assert one.precision == pytest.approx(0.5)
        assert one.recall == pytest.approx(one.share)


def test_weights_count_as_so_many_rows() -> None:
    scores, errors = np.array([3.0, 2.0, 1.0]), np.array([True, False, True])
    repeated = np.array([0, 1, 1, 1, 2, 2])
    for one, other in zip(
        at_budgets(scores, errors, np.array([1, 3, 2])),
        at_budgets(scores[repeated], errors[repeated]),
        strict=True,
    ):
        assert one == other
