"""Rare types of error are shown more often, and none is left out."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misheard.datasets.balance import balanced_weights

types = st.lists(
    st.lists(st.sampled_from(["substitution", "deletion", "insertion", "names"]), max_size=3),
    max_size=40,
)


@given(types)
def test_no_weight_is_below_one_or_above_three_and_none_is_left_out(given_: list) -> None:
    weights = balanced_weights(given_)
    assert len(weights) == len(given_)
    assert all(1.0 <= weight <= 3.0 for weight in weights)
    assert all(math.isfinite(weight) for weight in weights)


@given(types)
def test_a_weight_depends_on_the_rarest_type_alone(given_: list) -> None:
    counts = Counter(name for names in given_ for name in set(names))
    weights = balanced_weights(given_)
    for names, weight in zip(given_, weights, strict=True):
        if not names:
            assert weight == 1.0
            continue
        rarest = min(counts[name] for name in names)
        assert weight == pytest.approx(min(3, math.sqrt(max(counts.values()) / rarest)), abs=1e-3)
        if rarest == max(counts.values()):
            assert weight == 1.0


@given(types)
def test_the_rarer_of_two_utterances_weighs_no_less(given_: list) -> None:
    counts = Counter(name for names in given_ for name in set(names))
    rarity = [min((counts[name] for name in names), default=math.inf) for names in given_]
    pairs = sorted(zip(rarity, balanced_weights(given_), strict=True))
    weights = [weight for _, weight in pairs]
    assert weights == sorted(weights, reverse=True)


def test_rare_types_are_shown_more_often() -> None:
    common, rare = [["substitution"]] * 16, [["deletion", "substitution"]] * 4
    assert balanced_weights([*common, *rare, []]) == [1.0] * 16 + [2.236] * 4 + [1.0]


def test_a_very_rare_type_is_shown_no_more_than_three_times() -> None:
    """More repetitions teach a clip by heart."""
    weights = balanced_weights([["substitution"]] * 400 + [["names"]] + [["deletion"]] * 50)
    assert weights[400] == 3.0
    assert weights[401] == pytest.approx(8**0.5, abs=1e-3)


def test_a_type_that_stands_twice_in_one_utterance_counts_once() -> None:
    assert balanced_weights([["names", "names"], ["deletion"]]) == [1.0, 1.0]


def test_where_all_types_are_equally_frequent_nothing_weighs_more() -> None:
    assert balanced_weights([["names"], ["deletion"], ["names"], ["deletion"]]) == [1.0] * 4
    assert balanced_weights([]) == []
    assert balanced_weights([[], []]) == [1.0, 1.0]
