from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misheard.errors import InvalidSettingError, InvalidTranscriptError
from misheard.scoring.normalize import NORMALIZERS, normalizer, require_text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Press TWO, now!", "press 2 now"),
        ("I'm Dr. Smith.", "i am doctor smith"),
        ("the conference...", "the conference"),
        ("... for ...", "for"),
        ("um, hello", "hello"),
        ("", ""),
        ("[ tones ]", ""),
    ],
)
def test_the_english_normaliser(text: str, expected: str) -> None:
    assert normalizer("whisper-english")(text) == expected


def test_none_only_joins_white_space() -> None:
    assert normalizer("none")("  Press\n ONE. ") == "Press ONE."


@pytest.mark.parametrize("name", sorted(NORMALIZERS))
@given(text=st.text(max_size=40))
def test_no_normaliser_leaves_white_space_at_the_ends_or_double(name: str, text: str) -> None:
    made = normalizer(name)(text)
    assert made == " ".join(made.split())


def test_an_unknown_normaliser_is_an_error_that_names_the_known() -> None:
    with pytest.raises(InvalidSettingError, match=r"'whisper-dutch'.*basic, none, whisper-english"):
        normalizer("whisper-dutch")


@pytest.mark.parametrize("text", ["", "hello", "你好 🎤", "a\nb"])
def test_text_that_can_be_stored_is_given_back(text: str) -> None:
    assert require_text(text, what="it") is text


@pytest.mark.parametrize("text", [None, 1, 1.5, b"bytes", ["a"], {"a": 1}, True])
def test_what_is_no_text_is_refused_with_its_type(text: object) -> None:
    with pytest.raises(InvalidTranscriptError, match=f"call 7: .*{type(text).__name__}"):
        require_text(text, what="call 7")


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "nul \0"], ids=ascii)
def test_text_that_cannot_be_stored_is_refused(text: str) -> None:
    with pytest.raises(InvalidTranscriptError, match="call 7"):
        require_text(text, what="call 7")
