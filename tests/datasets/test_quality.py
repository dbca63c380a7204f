"""What makes a label doubtful, each at its boundary, and the share of what is sound."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misheard.cases.records import Labelled
from misheard.datasets.quality import Quality, assess, flaws_of
from misheard.scoring.normalize import normalizer

basic = normalizer("basic")
SOUND = Labelled(
    inference_id="inf-1",
    audio_sha256="a" * 64,
    duration_s=1.0,
    speaker_group="g",
    hypothesis="press pond",
    reference="press pound",
    is_error=True,
)


def flaws(*, same_recording: tuple[str, ...] = (), **changed: object) -> list[str]:
    return flaws_of(
        replace(SOUND, **changed),  # type: ignore[arg-type]
        normalize=basic,
        same_recording=same_recording,
    )


def test_a_sound_utterance_has_no_flaw() -> None:
    assert flaws() == []
    assert flaws(reference="", is_error=False) == []


@pytest.mark.parametrize(
    ("duration_s", "expected"),
    [
        (0.0, ["too short"]),
        (0.0999, ["too short"]),
        (0.1, []),
        (30.0, []),
        (30.001, ["too long to train on"]),
    ],
)
def test_a_clip_may_be_neither_too_short_nor_too_long(
    duration_s: float, expected: list[str]
) -> None:
    assert flaws(duration_s=duration_s, reference="yes") == expected


@pytest.mark.parametrize(
    ("text", "duration_s", "is_flawed"),
    [
        ("a" * 40, 1.0, False),
        ("a" * 41, 1.0, True),
        ("a" * 12, 0.1, False),
        ("a" * 13, 0.1, True),
        ("a" * 13, 0.325, False),
        # Punctuation is not spoken.
        ("a" * 40 + "." * 9, 1.0, False),
    ],
)
def test_a_text_that_cannot_be_said_in_that_time_is_a_flaw_unless_it_is_short(
    text: str, duration_s: float, is_flawed: bool
) -> None:
    expected = ["text too long for its audio"] if is_flawed else []
    assert flaws(reference=text, duration_s=duration_s) == expected


@pytest.mark.parametrize("text", ["...", "?!", " — "])
def test_a_text_without_a_word_is_a_flaw(text: str) -> None:
    assert flaws(reference=text) == ["no words in the text"]


@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_no_text_at_all_says_that_nobody_speaks(text: str) -> None:
    assert flaws(reference=text) == []


def test_people_disagree_when_their_words_differ_and_not_when_only_the_spelling_does() -> None:
    assert flaws(other_references=("Press POUND!",)) == []
    assert flaws(other_references=("press bond",)) == ["people disagree"]
    assert flaws(other_references=("press pound", "")) == ["people disagree"]


def test_one_recording_with_two_texts_is_a_flaw() -> None:
    assert flaws(same_recording=("Press pound.",)) == []
    assert flaws(same_recording=("press pound", "goodbye")) == ["same recording, other text"]


def test_one_utterance_may_have_several_flaws() -> None:
    found = flaws(
        duration_s=0.05,
        reference="a" * 50,
        other_references=("b",),
        same_recording=("c",),
    )
    assert found == [
        "too short",
        "text too long for its audio",
        "people disagree",
        "same recording, other text",
    ]


@given(st.lists(st.lists(st.sampled_from(["too short", "people disagree"]), unique=True)))
def test_the_score_is_the_share_without_a_flaw(listed: list[list[str]]) -> None:
    quality = assess(listed)
    assert 0.0 <= quality.score <= 1.0
    if listed:
        assert quality.score == pytest.approx(sum(not one for one in listed) / len(listed))
    assert sum(quality.flaws.values()) == sum(map(len, listed))
    assert quality.to_dict() == {"score": quality.score, "flaws": quality.flaws}


def test_it_says_what_it_found() -> None:
    assert str(assess([[], ["too short"], ["too short", "people disagree"]])) == (
        "quality 33.3% (1 people disagree, 2 too short)"
    )
    assert str(Quality(score=1.0, flaws={})) == "quality 100.0%"
    # Of nothing, nothing is sound.
    assert assess([]).score == 0.0
