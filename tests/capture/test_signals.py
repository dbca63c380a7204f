"""Signals say what they promise, of any text."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from misheard.capture.signals import (
    DEFAULT_SPEED,
    DEFAULT_SPEED_SPREAD,
    Norm,
    Signals,
    Speeds,
    signals_of,
)
from misheard.scoring.normalize import normalizer

TEXTS = st.text(max_size=200) | st.lists(
    st.sampled_from(["press", "one", "now", "you", "thank", "ありがとう", "é"]), max_size=40
).map(" ".join)
NUMBERS = st.none() | st.floats(-50, 50)
NOT_NEGATIVE = st.none() | st.floats(0, 1e6)


@dataclass
class Row:
    text: str
    speaker: str | None = None
    second_text: str | None = None
    duration_s: float | None = None
    avg_logprob: float | None = None
    no_speech_prob: float | None = None
    compression_ratio: float | None = None


def of(text: str, **fields: object) -> Signals:
    return signals_of(Row(text, **fields), Speeds({}).deviation)  # type: ignore[arg-type]


@given(
    text=TEXTS,
    second=st.none() | TEXTS,
    duration_s=NOT_NEGATIVE,
    avg_logprob=NUMBERS,
    no_speech=NUMBERS,
    ratio=NOT_NEGATIVE,
)
def test_signals_of_anything_are_numbers_within_bounds_or_missing(
    text: str,
    second: str | None,
    duration_s: float | None,
    avg_logprob: float | None,
    no_speech: float | None,
    ratio: float | None,
) -> None:
    found = of(
        text,
        second_text=second,
        duration_s=duration_s,
        avg_logprob=avg_logprob,
        no_speech_prob=no_speech,
        compression_ratio=ratio,
    )
    assert not any(isinstance(value, float) and math.isnan(value) for value in found)
    for value in (found.repetition, found.phrase, found.empty, found.lone_word):
        assert value is None or 0 <= value <= 1
    assert (found.disagreement is None) == (second is None)
    assert found.disagreement is None or 0 <= found.disagreement <= 1
    assert (found.speed is None) == (not duration_s or not found.words)
    assert found.avg_logprob == avg_logprob
    assert found.no_speech_prob == no_speech


@given(text=TEXTS)
def test_a_second_model_that_heard_the_same_does_not_disagree(text: str) -> None:
    assert of(text, second_text=text).disagreement == 0
    assert of(text, second_text=f" {text} ").disagreement == 0


@given(one=TEXTS, other=TEXTS)
def test_disagreement_is_the_same_from_either_side(one: str, other: str) -> None:
    assert of(one, second_text=other).disagreement == of(other, second_text=one).disagreement


@given(words=st.lists(st.sampled_from("abcdefgh"), min_size=3, max_size=8), times=st.integers(3, 9))
def test_saying_it_again_is_repetition(words: list[str], times: int) -> None:
    once, again = of(" ".join(words)), of(" ".join(words * times))
    grams = len(words) * times - 2
    assert again.repetition >= max(once.repetition, 1 - len(words) / grams - 1e-9)
    assert of(" ".join(f"w{n}" for n in range(50))).repetition == 0


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("Thank you for watching!", 1.0),
        ("Press 1. Subtitles by the Amara.org community", 1.0),
        ("ご視聴ありがとうございました。", 1.0),
        ("Don't forget to subscribe.", 1.0),
        ("You", 0.5),
        ("Thank you.", 0.5),
        ("Thank you for calling.", 0.0),
        ("You have two messages", 0.0),
        ("I am watching", 0.0),
        ("", 0.0),
    ],
)
def test_known_hallucinations_are_found(text: str, phrase: float) -> None:
    assert of(text).phrase == phrase


@pytest.mark.parametrize(
    ("text", "duration_s", "empty", "lone_word"),
    [
        ("", 2.0, 1.0, 0.0),
        ("...", 30.0, 1.0, 0.0),
        ("", 0.5, 0.0, 0.0),
        ("", None, None, 0.0),
        ("Yes.", 0.7, 0.0, 0.0),
        ("Yes.", 9.0, 0.0, 1.0),
        ("Yes.", None, 0.0, None),
        ("Yes please.", 9.0, 0.0, 0.0),
        ("ありがとう", 9.0, 0.0, 0.0),
    ],
)
def test_little_text_on_long_audio_is_marked(
    text: str, duration_s: float | None, empty: float | None, lone_word: float | None
) -> None:
    found = of(text, duration_s=duration_s)
    assert (found.empty, found.lone_word) == (empty, lone_word)


def test_compression_is_as_given_else_of_long_texts() -> None:
    assert of("hold " * 3).compression is None
    assert of("hold " * 3, compression_ratio=0.8).compression == 0.8
    looped = of("hold the line " * 40).compression
    assert looped is not None and looped > 10


def test_formatting_is_no_disagreement_under_the_workspaces_normaliser() -> None:
    english = normalizer("whisper-english")
    row = Row("Press 2 now.", second_text="press two now")
    assert of(row.text, second_text=row.second_text).disagreement == pytest.approx(1 / 3)
    assert signals_of(row, Speeds({}).deviation, normalize=english).disagreement == 0


@given(values=st.lists(st.floats(0, 100), min_size=1, max_size=50))
def test_running_moments_are_those_of_all_values(values: list[float]) -> None:
    norm = Norm()
    for value in values:
        norm.add(value)
    assert norm.utterances == len(values)
    assert norm.mean == pytest.approx(np.mean(values))
    assert norm.squared_distance == pytest.approx(np.var(values) * len(values), abs=1e-6)


def test_a_speaker_is_measured_against_their_own_speed() -> None:
    speeds = Speeds({})
    fast = DEFAULT_SPEED + 2 * DEFAULT_SPEED_SPREAD
    assert speeds.deviation("ann", fast) == pytest.approx(2)
    for _ in range(100):
        speeds.heard("ann", fast)
    for _ in range(100):
        speeds.heard("bob", DEFAULT_SPEED)
    assert abs(speeds.deviation("ann", fast)) < 0.3
    assert speeds.deviation("bob", fast) > 3
    # Who has not been heard yet is measured against everybody.
    assert 0 < speeds.deviation("carl", fast) < speeds.deviation("bob", fast)
    assert speeds.deviation("carl", fast) == speeds.deviation(None, fast)


def test_what_somebody_made_up_hardly_moves_a_norm() -> None:
    norms: dict[str, Norm] = {}
    speeds = Speeds(norms)
    for _ in range(20):
        speeds.heard("ann", DEFAULT_SPEED)
    before = norms["ann"].mean
    assert speeds.heard("ann", 100 * DEFAULT_SPEED) > 100
    assert norms["ann"].mean - before < 0.5
