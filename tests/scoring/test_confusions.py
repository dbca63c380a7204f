from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misheard.errors import InvalidTranscriptError, MismatchedLengthsError
from misheard.scoring.confusions import Confusion, Rewriting, errors_by_type
from misheard.scoring.normalize import normalizer
from misheard.scoring.score import score

NONE = normalizer("none")
text = st.lists(st.sampled_from(["a", "b", "pound", "pond", "now"]), max_size=6).map(" ".join)


def told(confusions: tuple[Confusion, ...]) -> list[tuple[str, str, int]]:
    return [(one.reference, one.hypothesis, one.count) for one in confusions]


def test_the_most_frequent_confusions_come_first_and_then_the_alphabet() -> None:
    errors = errors_by_type(
        ["press pound", "press pound now", "the call", "one", "two"],
        ["press pond", "press pond", "call", "won thank you", "too thank you"],
        normalizer=NONE,
    )
    assert told(errors.substituted) == [("pound", "pond", 2), ("one", "won", 1), ("two", "too", 1)]
    assert told(errors.deleted) == [("now", "", 1), ("the", "", 1)]
    assert told(errors.inserted) == [("", "thank", 2), ("", "you", 2)]
    assert (errors.utterances, errors.wrong, errors.formatting_only) == (5, 5, 0)


def test_what_is_only_written_otherwise_is_no_error() -> None:
    errors = errors_by_type(
        ["Press TWO.", "press  two", "press 2", "press two", "press two"],
        ["press 2", "press two", "press 2", "press four", "Press, two!"],
        normalizer=normalizer("whisper-english"),
    )
    assert (errors.utterances, errors.wrong, errors.formatting_only) == (5, 1, 2)
    assert errors.formatting_examples == (
        Rewriting(reference="Press TWO.", hypothesis="press 2"),
        Rewriting(reference="press two", hypothesis="Press, two!"),
    )
    assert told(errors.substituted) == [("2", "4", 1)]
    assert errors.normalizer == "whisper-english"


def test_examples_are_bounded_and_counted_all_the_same() -> None:
    errors = errors_by_type(["A"] * 5, ["a"] * 5, normalizer=normalizer("basic"), examples=2)
    assert (len(errors.formatting_examples), errors.formatting_only) == (2, 5)


def test_most_shortens_each_list_and_leaves_the_figures() -> None:
    errors = errors_by_type(["a b c", "", "d e"], ["x y z", "p q", ""], normalizer=NONE)
    short = errors.most(1)
    assert [len(errors.substituted), len(errors.deleted), len(errors.inserted)] == [3, 2, 2]
    assert short.substituted == errors.substituted[:1]
    assert short.deleted == errors.deleted[:1]
    assert short.inserted == errors.inserted[:1]
    assert (short.utterances, short.wrong) == (3, 3)


def test_it_can_be_stored_as_json() -> None:
    stored = errors_by_type(["A b", "c"], ["a b", "d"], normalizer=normalizer("basic")).to_dict()
    assert json.loads(json.dumps(stored)) == {
        "substituted": [{"reference": "c", "hypothesis": "d", "count": 1}],
        "deleted": [],
        "inserted": [],
        "utterances": 2,
        "wrong": 1,
        "formatting_only": 1,
        "formatting_examples": [{"reference": "A b", "hypothesis": "a b"}],
        "normalizer": "basic",
    }


@given(st.lists(st.tuples(text, text)))
def test_errors_by_type_add_up_to_the_errors_of_the_score(pairs: list[tuple[str, str]]) -> None:
    references, hypotheses = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    errors = errors_by_type(references, hypotheses, normalizer=NONE)
    scored = score(references, hypotheses, normalizer=NONE)
    counted = sum(
        one.count for kind in (errors.substituted, errors.deleted, errors.inserted) for one in kind
    )
    assert counted == scored.words.errors.sum()
    assert errors.wrong == (scored.words.errors > 0).sum()
    swapped = errors_by_type(hypotheses, references, normalizer=NONE)
    assert (swapped.utterances, swapped.wrong) == (errors.utterances, errors.wrong)


def test_bad_input_is_refused_as_in_a_score() -> None:
    with pytest.raises(MismatchedLengthsError):
        errors_by_type(["a"], [], normalizer=NONE)
    with pytest.raises(InvalidTranscriptError, match="Hypothesis 0: expected str, got NoneType"):
        errors_by_type(["a"], [None], normalizer=NONE)  # type: ignore[list-item]
