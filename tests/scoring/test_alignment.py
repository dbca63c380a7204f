from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from misheard.scoring.alignment import align, count_errors

words = st.lists(st.sampled_from(["a", "b", "press", "pound", "é", ""]), max_size=7)
pairs = st.lists(st.tuples(words, words), min_size=1, max_size=5)


def distance(reference: list[str], hypothesis: list[str]) -> int:
    """Word errors straight from the definition: try every edit."""

    @cache
    def fewest(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return i + j
        differs = reference[i - 1] != hypothesis[j - 1]
        return min(fewest(i - 1, j - 1) + differs, fewest(i - 1, j) + 1, fewest(i, j - 1) + 1)

    return fewest(len(reference), len(hypothesis))


@given(pairs)
def test_errors_are_what_the_definition_says(
    given_pairs: list[tuple[list[str], list[str]]],
) -> None:
    references, hypotheses = (list(side) for side in zip(*given_pairs, strict=True))
    counts = count_errors(references, hypotheses)
    assert counts.errors.tolist() == [distance(*pair) for pair in given_pairs]
    assert counts.reference_length.tolist() == [len(reference) for reference in references]
    total = sum(len(reference) for reference in references)
    if total:
        assert counts.rate == sum(distance(*pair) for pair in given_pairs) / total
    else:
        assert np.isnan(counts.rate)


@given(pairs)
def test_insertions_minus_deletions_is_the_difference_in_length(
    given_pairs: list[tuple[list[str], list[str]]],
) -> None:
    references, hypotheses = (list(side) for side in zip(*given_pairs, strict=True))
    counts = count_errors(references, hypotheses)
    lengths = [len(h) - len(r) for r, h in given_pairs]
    assert (counts.insertions - counts.deletions).tolist() == lengths
    assert (counts.substitutions >= 0).all()


@given(words, words)
def test_an_alignment_holds_both_texts_and_its_errors_add_up(
    reference: list[str], hypothesis: list[str]
) -> None:
    reference, hypothesis = ([w for w in text if w] for text in (reference, hypothesis))
    stretches = align(reference, hypothesis)
    assert " ".join(s.reference for s in stretches if s.reference).split() == reference
    assert " ".join(s.hypothesis for s in stretches if s.hypothesis).split() == hypothesis
    errors = 0
    for stretch in stretches:
        left, right = len(stretch.reference.split()), len(stretch.hypothesis.split())
        assert (stretch.kind == "equal") == (stretch.reference == stretch.hypothesis)
        errors += 0 if stretch.kind == "equal" else max(left, right)
    assert errors == distance(reference, hypothesis)


def test_insertions_on_silent_clips_count_in_the_rate() -> None:
    counts = count_errors([["yes"], []], [["yes"], ["thank", "you"]])
    assert counts.rate == 2.0


def test_the_rate_weighs_words_not_utterances() -> None:
    counts = count_errors([["a"], ["a"] * 9], [["b"], ["a"] * 9])
    assert counts.rate == pytest.approx(0.1)


def test_a_subset_has_its_own_rate() -> None:
    counts = count_errors([["a"], ["b"]], [["a"], ["c"]])
    assert counts.subset(np.array([True, False])).rate == 0.0
    assert counts.subset(np.array([False, True])).rate == 1.0


def test_characters_are_counted_when_strings_are_given() -> None:
    counts = count_errors(["pound"], ["pond"])
    assert (counts.deletions[0], counts.reference_length[0]) == (1, 5)


def test_lists_of_different_length_are_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        count_errors([["a"]], [])
