from __future__ import annotations

import random
from collections import Counter
from functools import cache

import jiwer
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from misheard.errors import InvalidTranscriptError, MismatchedLengthsError
from misheard.scoring.alignment import (
    LONGEST,
    align,
    align_words,
    count_errors,
    count_text_pair,
)

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


def traced(reference: str | list[str], hypothesis: str | list[str]) -> tuple[int, int, int, int]:
    """The counts of rapidfuzz's alignment, operation by operation."""
    kinds = Counter(edit.tag for edit in Levenshtein.editops(reference, hypothesis))
    return kinds["replace"], kinds["delete"], kinds["insert"], len(reference)


def unlike(one: str, other: str) -> int:
    """Thousandths of the longer word."""
    return 1_000 * distance(list(one), list(other)) // max(len(one), len(other), 1)


def most_alike(reference: list[str], hypothesis: list[str]) -> tuple[int, int]:
    """The fewest word errors, and how unlike the substituted words then are; every way is tried."""

    @cache
    def best(i: int, j: int) -> tuple[int, int]:
        ways = [] if i or j else [(0, 0)]
        if i and j:
            errors, apart = best(i - 1, j - 1)
            one, other = reference[i - 1], hypothesis[j - 1]
            ways.append((errors + (one != other), apart + unlike(one, other)))
        for gap in ([best(i - 1, j)] if i else []) + ([best(i, j - 1)] if j else []):
            ways.append((gap[0] + 1, gap[1]))
        return min(ways)

    return best(len(reference), len(hypothesis))


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


@given(pairs)
def test_swapping_the_sides_swaps_insertions_and_deletions(
    given_pairs: list[tuple[list[str], list[str]]],
) -> None:
    references, hypotheses = (list(side) for side in zip(*given_pairs, strict=True))
    forth, back = count_errors(references, hypotheses), count_errors(hypotheses, references)
    assert forth.errors.tolist() == back.errors.tolist()
    # Of two alignments with as few errors, each way may find another: two substitutions in one are
    # a deletion and an insertion in the other. Where that cannot be, they agree.
    apart = np.abs(forth.reference_length - forth.hypothesis_length)
    single = forth.errors - apart <= 1
    assert forth.substitutions[single].tolist() == back.substitutions[single].tolist()
    assert forth.insertions[single].tolist() == back.deletions[single].tolist()
    assert (forth.insertions - forth.deletions).tolist() == (
        back.deletions - back.insertions
    ).tolist()


@given(pairs, st.randoms())
def test_the_order_of_the_utterances_changes_nothing(
    given_pairs: list[tuple[list[str], list[str]]], shuffler: random.Random
) -> None:
    order = list(range(len(given_pairs)))
    shuffler.shuffle(order)
    sorted_counts, shuffled = (
        count_errors([r for r, _ in rows], [h for _, h in rows])
        for rows in (given_pairs, [given_pairs[at] for at in order])
    )
    for name in ("substitutions", "deletions", "insertions", "reference_length"):
        assert getattr(sorted_counts, name)[order].tolist() == getattr(shuffled, name).tolist()
    for name in ("rate", "mer", "wil"):
        assert np.array_equal(getattr(sorted_counts, name), getattr(shuffled, name), equal_nan=True)


@given(pairs)
def test_every_word_spoken_is_a_hit_or_an_error_and_so_is_every_word_heard(
    given_pairs: list[tuple[list[str], list[str]]],
) -> None:
    references, hypotheses = (list(side) for side in zip(*given_pairs, strict=True))
    counts = count_errors(references, hypotheses)
    assert (counts.hits >= 0).all()
    assert counts.hypothesis_length.tolist() == [len(words) for words in hypotheses]
    heard = counts.hits + counts.substitutions + counts.insertions
    assert heard.tolist() == counts.hypothesis_length.tolist()


# Words that begin and end alike, so that texts share more than whole words at both ends.
alike = st.lists(st.sampled_from(["on", "one", "ones", "son", "ö", "o'n"]), max_size=9)
texts = st.lists(st.tuples(alike, alike), min_size=1, max_size=5).map(
    lambda rows: [(" ".join(r), " ".join(h)) for r, h in rows]
)


@given(texts)
def test_a_text_is_counted_as_its_words_and_its_characters_are(rows: list[tuple[str, str]]) -> None:
    for reference, hypothesis in rows:
        assert count_text_pair(reference, hypothesis) == (
            traced(reference.split(), hypothesis.split()),
            traced(reference, hypothesis),
        )


def test_long_texts_are_counted_as_rapidfuzz_aligns_them() -> None:
    """Past a megabyte of its table rapidfuzz aligns in another way; errors in the middle only."""
    draw = random.Random(1)
    middle = [draw.choices("abcdefgh", k=5_000) for _ in range(2)]
    reference, hypothesis = (["the", *words, "end"] for words in middle)
    assert count_text_pair(" ".join(reference), " ".join(hypothesis)) == (
        traced(reference, hypothesis),
        traced(" ".join(reference), " ".join(hypothesis)),
    )


@given(texts)
def test_the_figures_are_those_of_jiwer(rows: list[tuple[str, str]]) -> None:
    references, hypotheses = (list(side) for side in zip(*rows, strict=True))
    for theirs, ours in (
        (
            jiwer.process_words(references, hypotheses),
            count_errors([r.split() for r in references], [h.split() for h in hypotheses]),
        ),
        (jiwer.process_characters(references, hypotheses), count_errors(references, hypotheses)),
    ):
        assert theirs.hits == ours.hits.sum()
        assert theirs.substitutions == ours.substitutions.sum()
        assert theirs.deletions == ours.deletions.sum()
        assert theirs.insertions == ours.insertions.sum()
        if theirs.hits:
            rate = theirs.wer if isinstance(theirs, jiwer.WordOutput) else theirs.cer
            assert ours.rate == pytest.approx(rate)
    by_words = jiwer.process_words(references, hypotheses)
    if by_words.hits:
        counts = count_errors([r.split() for r in references], [h.split() for h in hypotheses])
        assert counts.mer == pytest.approx(by_words.mer)
        assert counts.wil == pytest.approx(by_words.wil)


def test_match_error_rate_and_word_information_lost_by_hand() -> None:
    """Two hits, one substitution, one deletion, two insertions: N = 4, P = 5."""
    counts = count_errors([list("abcd"), []], [list("axc"), list("yz")])
    assert (counts.hits.sum(), counts.errors.sum()) == (2, 4)
    assert counts.mer == pytest.approx(4 / 6)
    assert counts.wil == pytest.approx(1 - 2 / 4 * 2 / 5)


@pytest.mark.parametrize(("reference", "hypothesis"), [([], ["a"]), (["a"], [])])
def test_where_one_side_is_empty_everything_is_lost(
    reference: list[str], hypothesis: list[str]
) -> None:
    counts = count_errors([reference], [hypothesis])
    assert (counts.mer, counts.wil) == (1.0, 1.0)


def test_where_nothing_is_said_or_heard_there_is_no_rate() -> None:
    for counts in (count_errors([[]], [[]]), count_errors([], [])):
        assert np.isnan([counts.rate, counts.mer, counts.wil]).all()


def test_counts_are_arrays_of_whole_numbers_one_for_each_utterance() -> None:
    counts = count_errors(["pound", "one", ""], ["pond", "one", "two"])
    for column in (counts.substitutions, counts.deletions, counts.insertions, counts.hits):
        assert (column.dtype, column.shape) == (np.dtype(np.int64), (3,))


@given(words, words)
def test_words_stand_beside_what_they_sound_like(
    reference: list[str], hypothesis: list[str]
) -> None:
    steps = align_words(reference, hypothesis)
    assert [s.reference for s in steps if s.kind != "insert"] == reference
    assert [s.hypothesis for s in steps if s.kind != "delete"] == hypothesis
    for step in steps:
        assert (step.kind == "equal") == (
            step.kind not in {"insert", "delete"} and step.reference == step.hypothesis
        )
    errors = sum(step.kind != "equal" for step in steps)
    apart = sum(unlike(s.reference, s.hypothesis) for s in steps if s.kind == "replace")
    assert (errors, apart) == most_alike(reference, hypothesis)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("new york", "york", "-new =york"),
        ("york new", "york", "=york -new"),
        ("press pound", "pond", "-press pound>pond"),
        ("pound press", "pond", "pound>pond -press"),
        ("one", "won thank you", "one>won +thank +you"),
        ("call", "please cull me", "+please call>cull +me"),
        ("the conference", "a conference in", "the>a =conference +in"),
        ("", "thank you", "+thank +you"),
        ("good bye", "", "-good -bye"),
        ("", "", ""),
    ],
)
def test_whom_a_misheard_word_stands_beside(reference: str, hypothesis: str, expected: str) -> None:
    shown = {"equal": "={0}", "replace": "{0}>{1}", "delete": "-{0}", "insert": "+{1}"}
    steps = align_words(reference.split(), hypothesis.split())
    assert " ".join(shown[s.kind].format(s.reference, s.hypothesis) for s in steps) == expected


def test_stretches_of_one_kind_are_one() -> None:
    spoken, heard = "dial one two now please", "dial won too please sir"
    stretches = align(spoken.split(), heard.split())
    assert [(s.kind, s.reference, s.hypothesis) for s in stretches] == [
        ("equal", "dial", "dial"),
        ("replace", "one two", "won too"),
        ("delete", "now", ""),
        ("equal", "please", "please"),
        ("insert", "", "sir"),
    ]


@pytest.mark.parametrize("size", [LONGEST - 1, LONGEST + 1])
def test_long_texts_are_aligned_with_the_fewest_errors_too(size: int) -> None:
    draw = random.Random(2)
    reference, hypothesis = (
        [side, *draw.choices(["a", "b", "press", "pound"], k=size), side * 2] for side in "xy"
    )
    steps = align_words(reference, hypothesis)
    assert [s.reference for s in steps if s.kind != "insert"] == reference
    assert [s.hypothesis for s in steps if s.kind != "delete"] == hypothesis
    errors = sum(step.kind != "equal" for step in steps)
    assert errors == Levenshtein.distance(reference, hypothesis)


@pytest.mark.parametrize(
    ("references", "hypotheses", "said"),
    [
        ([["a"]], [], "1 references, 0 hypotheses"),
        ([], [["a"], ["b"]], "0 references, 2 hypotheses"),
        (iter([["a"], ["b"]]), iter([["a"]]), "Only the references go on after 1 of each"),
        (iter([["a"]]), [["a"], ["b"]], "Only the hypotheses go on after 1 of each"),
    ],
)
def test_sides_of_different_length_are_refused(
    references: list[list[str]], hypotheses: list[list[str]], said: str
) -> None:
    with pytest.raises(MismatchedLengthsError, match=said):
        count_errors(references, hypotheses)


def test_one_text_where_many_belong_is_refused() -> None:
    with pytest.raises(InvalidTranscriptError, match="got one str: 'hello'"):
        count_errors("hello", ["h", "e", "l", "l", "o"])
