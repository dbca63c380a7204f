from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from misheard.errors import InvalidTranscriptError, MismatchedLengthsError
from misheard.scoring.alignment import ErrorCounts, count_errors
from misheard.scoring.normalize import normalizer
from misheard.scoring.score import score

NONE = normalizer("none")
# Letters, marks and every kind of white space that Python knows, and some that it does not.
text = st.text(alphabet="aabé, \u200d\t\n\r\x0b\x0c\x1c\x1f\x85\xa0\u2003\u2028\u3000", max_size=12)


def columns(counts: ErrorCounts) -> list[list[int]]:
    return [
        column.tolist()
        for column in (
            counts.substitutions,
            counts.deletions,
            counts.insertions,
            counts.reference_length,
        )
    ]


@given(st.lists(st.tuples(text, text)))
def test_a_score_is_the_count_of_its_words_and_of_its_characters(
    pairs: list[tuple[str, str]],
) -> None:
    spoken, heard = ([pair[side].split() for pair in pairs] for side in (0, 1))
    scored = score([pair[0] for pair in pairs], [pair[1] for pair in pairs], normalizer=NONE)
    assert columns(scored.words) == columns(count_errors(spoken, heard))
    assert columns(scored.characters) == columns(
        count_errors([" ".join(words) for words in spoken], [" ".join(words) for words in heard])
    )


@given(text)
def test_the_normaliser_none_joins_white_space_wherever_it_stands(given_text: str) -> None:
    assert NONE(given_text) == " ".join(given_text.split())


def test_the_normaliser_none_knows_every_kind_of_white_space() -> None:
    for character in map(chr, range(0x3100)):
        for given_text in (f"a{character}b", f"a {character}", f"{character}a", character):
            assert NONE(given_text) == " ".join(given_text.split())


def test_references_and_hypotheses_may_be_streams() -> None:
    def stream(*texts: str) -> Iterator[str]:
        yield from texts

    scored = score(stream("a b", "c"), stream("a", "c"), normalizer=NONE)
    assert (scored.wer, scored.words.deletions.tolist()) == (pytest.approx(1 / 3), [1, 0])


def test_no_utterances_have_no_rates() -> None:
    scored = score([], [], normalizer=NONE)
    assert np.isnan([scored.wer, scored.cer, scored.mer, scored.wil]).all()
    assert scored.silent.shape == (0,)


def test_match_error_rate_and_word_information_lost_are_those_of_the_words() -> None:
    scored = score(["a b c d", ""], ["a x c", "y z"], normalizer=NONE)
    assert scored.mer == pytest.approx(4 / 6)
    assert scored.wil == pytest.approx(1 - 2 / 4 * 2 / 5)


def test_each_text_is_normalised_once_and_a_repeated_one_not_again() -> None:
    seen = []

    def noting(given_text: str) -> str:
        seen.append(given_text)
        return given_text.lower()

    score(["A", "b"], ["a", "b"], normalizer=normalizer(noting))
    assert seen == ["A", "a", "b"]


@pytest.mark.parametrize("wrong", [None, 1, float("nan"), b"a", ["a"]])
def test_what_is_no_text_is_refused_with_its_side_and_place(wrong: object) -> None:
    for name in ("none", "whisper-english"):
        kind = type(wrong).__name__
        with pytest.raises(InvalidTranscriptError, match=f"Hypothesis 1: expected str, got {kind}"):
            score(["a", "b"], ["a", wrong], normalizer=normalizer(name))  # type: ignore[list-item]
        with pytest.raises(InvalidTranscriptError, match=f"Reference 0: expected str, got {kind}"):
            score([wrong], ["a"], normalizer=normalizer(name))  # type: ignore[list-item]


def test_one_text_where_a_list_belongs_is_refused() -> None:
    with pytest.raises(InvalidTranscriptError, match="got one str"):
        score("ab", "ac", normalizer=NONE)


def test_sides_of_different_length_are_refused() -> None:
    with pytest.raises(MismatchedLengthsError, match="2 references, 1 hypotheses"):
        score(["a", "b"], ["a"], normalizer=NONE)


def test_both_sides_go_through_the_same_normaliser() -> None:
    scored = score(["Press one."], ["press 1"], normalizer=normalizer("whisper-english"))
    assert (scored.wer, scored.cer) == (0.0, 0.0)
    assert scored.normalizer == "whisper-english"
    assert score(["Press one."], ["press 1"], normalizer=normalizer("none")).wer == 1.0


def test_the_rates_are_those_of_the_whole_set() -> None:
    scored = score(["a", "b c d"], ["x", "b c d"], normalizer=normalizer("none"))
    assert scored.wer == pytest.approx(1 / 4)
    assert scored.cer == pytest.approx(1 / 6)


def test_silence_is_told_apart() -> None:
    scored = score(
        ["", "...", "yes"], ["", "thanks", "yes"], normalizer=normalizer("whisper-english")
    )
    assert scored.silent.tolist() == [True, True, False]
    assert scored.hallucination_rate == 0.5
    assert scored.wer == 1.0


def test_without_silence_there_is_no_hallucination_rate_and_without_words_no_wer() -> None:
    assert math.isnan(score(["a"], ["a"], normalizer=normalizer("none")).hallucination_rate)
    assert math.isnan(score([""], [""], normalizer=normalizer("none")).wer)


def test_a_subset_is_scored_on_its_own() -> None:
    scored = score(["a", "b"], ["a", "c"], normalizer=normalizer("none"))
    assert scored.subset(np.array([False, True])).wer == 1.0
    assert scored.subset(np.array([True, False])).cer == 0.0
