from __future__ import annotations

import math

import numpy as np
import pytest

from misheard.scoring.score import score


def test_both_sides_go_through_the_same_normaliser() -> None:
    scored = score(["Press one."], ["press 1"], normalizer_name="whisper-english")
    assert (scored.wer, scored.cer) == (0.0, 0.0)
    assert scored.normalizer == "whisper-english"
    assert score(["Press one."], ["press 1"], normalizer_name="none").wer == 1.0


def test_the_rates_are_those_of_the_whole_set() -> None:
    scored = score(["a", "b c d"], ["x", "b c d"], normalizer_name="none")
    assert scored.wer == pytest.approx(1 / 4)
    assert scored.cer == pytest.approx(1 / 6)


def test_silence_is_told_apart() -> None:
    scored = score(["", "...", "yes"], ["", "thanks", "yes"], normalizer_name="whisper-english")
    assert scored.silent.tolist() == [True, True, False]
    assert scored.hallucination_rate == 0.5
    assert scored.wer == 1.0


def test_without_silence_there_is_no_hallucination_rate_and_without_words_no_wer() -> None:
    assert math.isnan(score(["a"], ["a"], normalizer_name="none").hallucination_rate)
    assert math.isnan(score([""], [""], normalizer_name="none").wer)


def test_a_subset_is_scored_on_its_own() -> None:
    scored = score(["a", "b"], ["a", "c"], normalizer_name="none")
    assert scored.subset(np.array([False, True])).wer == 1.0
    assert scored.subset(np.array([True, False])).cer == 0.0
