from __future__ import annotations

import numpy as np
import pytest

from misheard.audio import SAMPLE_RATE_HZ, Audio
from misheard.errors import BadInputError
from misheard.tags import NOISE, noise_band, of_recording, require_tags, tagged


def speech(noise: float, *, seconds: float = 4.0) -> np.ndarray:
    """Half a second of tone, half a second of pause, and so on, in white noise of this level."""
    time_s = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    voice = np.sin(2 * np.pi * 300 * time_s) * (time_s % 1.0 < 0.5)
    hiss = np.random.default_rng(0).normal(0, 1, len(time_s))
    return (0.3 * voice + noise * hiss).astype(np.float32)


@pytest.mark.parametrize(
    ("noise", "band"),
    [(0.0, "over 30 dB"), (0.001, "over 30 dB"), (0.02, "15–30 dB"), (0.2, "under 15 dB")],
)
def test_noise_is_told_by_how_far_speech_stands_above_it(noise: float, band: str) -> None:
    assert noise_band(speech(noise)) == {NOISE: band}


def test_the_level_of_the_recording_plays_no_part() -> None:
    assert noise_band(speech(0.02) / 20) == noise_band(speech(0.02))


def test_a_clip_that_is_too_short_has_no_noise_of_its_own() -> None:
    assert noise_band(speech(0.02, seconds=0.2)) == {}
    assert noise_band(np.zeros(0, np.float32)) == {}


def test_what_is_given_wins_over_what_is_measured() -> None:
    clip = Audio(samples=speech(0.2), sha256="0" * 64)
    assert tagged(clip, {"noise": "street", "channel": "mobile"}) == {
        "channel": "mobile",
        "noise": "street",
    }
    assert tagged(clip, {"channel": "mobile"})[NOISE] == "under 15 dB"


@pytest.mark.parametrize("bad", [{"a": 1}, {1: "a"}, {"a": None}, {"a": "\0"}, ["a"], "a"])
def test_tags_that_cannot_be_stored_are_refused(bad: object) -> None:
    with pytest.raises(BadInputError):
        require_tags(bad, what="the tags")  # type: ignore[arg-type]


def test_what_a_transcript_is_tagged_with_that_is_no_matter_of_the_recording() -> None:
    tags = {"channel": "mobile", "rollout": "rollout-1/0"}
    assert of_recording(tags) == {"channel": "mobile"}
