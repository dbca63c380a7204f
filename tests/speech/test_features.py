from __future__ import annotations

import numpy as np
import pytest

from misheard import audio
from misheard.speech.features import log_mel

POSITIONS = 192


@pytest.mark.parametrize("bins", [80, 128])
def test_the_shape_is_that_of_the_window(bins: int) -> None:
    features = log_mel(np.zeros(16_000, np.float32), POSITIONS, bins=bins)
    assert features.shape == (bins, 2 * POSITIONS)
    assert features.dtype == np.float32


def test_a_clip_is_padded_with_silence_and_cut_to_the_window() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, POSITIONS * 320).astype(np.float32)
    half = log_mel(noise[: POSITIONS * 160], POSITIONS)
    padded = np.concatenate([noise[: POSITIONS * 160], np.zeros(POSITIONS * 160, np.float32)])
    assert np.array_equal(half, log_mel(padded, POSITIONS))
    longer = np.concatenate([noise, noise])
    assert np.array_equal(log_mel(longer, POSITIONS), log_mel(noise, POSITIONS))


@pytest.mark.model
def test_they_are_those_of_transformers_in_the_full_window(short_prompts: list) -> None:
    from transformers import WhisperFeatureExtractor  # noqa: PLC0415

    extractor = WhisperFeatureExtractor()
    for prompt in short_prompts[:5]:
        samples = audio.decode(prompt.data).samples
        expected = extractor(samples, sampling_rate=16_000, return_tensors="np").input_features[0]
        assert log_mel(samples, 1_500) == pytest.approx(expected, abs=2e-3)
