"""What training changes in a clip, seen in its spectrum and its length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from misheard import audio
from misheard.finetune import augment

RATE_HZ = audio.SAMPLE_RATE_HZ


def tone(hertz: float, seconds: float = 1.0) -> np.ndarray:
    at_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return (0.3 * np.sin(2 * np.pi * hertz * at_s)).astype(np.float32)


def pitch_hz(samples: np.ndarray) -> float:
    loudest = np.argmax(np.abs(np.fft.rfft(samples * np.hanning(len(samples)))))
    return float(np.fft.rfftfreq(len(samples), 1 / RATE_HZ)[loudest])


def power_db(samples: np.ndarray, low_hz: float, high_hz: float) -> float:
    """Of the samples between two frequencies, relative to a full-scale sine's 0 dB."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) / len(samples) * 4
    hertz = np.fft.rfftfreq(len(samples), 1 / RATE_HZ)
    inside = (hertz >= low_hz) & (hertz <= high_hz)
    return float(10 * np.log10(np.sum(spectrum[inside] ** 2) + 1e-20))


def seeded(number: int = 0) -> np.random.Generator:
    return np.random.default_rng(number)


@pytest.mark.parametrize("factor", [0.9, 1.1, 1.07])
def test_speed_changes_length_and_pitch_together(factor: float) -> None:
    made = augment.change_speed(tone(440.0), factor)
    assert made.dtype == np.float32
    assert len(made) == pytest.approx(RATE_HZ / factor, abs=2)
    assert pitch_hz(made) == pytest.approx(440.0 * factor, rel=0.005)


@pytest.mark.parametrize("number", range(4))
def test_a_telephone_keeps_its_band_and_nothing_else(number: int) -> None:
    inside, below, above = tone(1_000.0), tone(150.0), tone(5_000.0)
    made = augment.through_telephone(inside + below + above, seeded(number))
    assert made.shape == inside.shape
    assert made.dtype == np.float32
    assert power_db(made, 900, 1_100) == pytest.approx(power_db(inside, 900, 1_100), abs=1.5)
    # What is left there is noise of the codec, which has no tone in it.
    assert power_db(made, 140, 160) < power_db(below, 140, 160) - 35
    assert power_db(made, 4_100, 7_900) < power_db(above, 4_100, 7_900) - 50


def test_both_codecs_of_the_telephone_are_heard() -> None:
    made = [augment.through_telephone(tone(700.0), seeded(number)) for number in range(12)]
    assert len({samples.tobytes() for samples in made}) == 2


@pytest.mark.parametrize("count", [1, 2, 159, 160, 161, 12_345])
def test_a_telephone_keeps_the_length_of_any_clip(count: int) -> None:
    for number in range(4):
        made = augment.through_telephone(np.full(count, 0.1, np.float32), seeded(number))
        assert made.shape == (count,)
        assert np.isfinite(made).all()


def test_a_loud_clip_is_clipped_by_the_line_and_not_wrapped_round() -> None:
    for number in range(4):
        assert np.abs(augment.through_telephone(3 * tone(1_000.0), seeded(number))).max() < 1.5


def test_clips_are_joined_with_silence_between_them() -> None:
    made = augment.joined(tone(440.0, 0.5), tone(880.0, 0.25), 0.1)
    assert len(made) == round(0.85 * RATE_HZ)
    assert not made[round(0.5 * RATE_HZ) : round(0.6 * RATE_HZ)].any()
    assert pitch_hz(made[: round(0.5 * RATE_HZ)]) == pytest.approx(440.0, abs=3)
    assert pitch_hz(made[round(0.6 * RATE_HZ) :]) == pytest.approx(880.0, abs=5)


def test_non_speech_is_silence_noise_and_tones_of_the_length_asked_for() -> None:
    made = [augment.non_speech(1.0, seeded(number)) for number in range(40)]
    assert {samples.shape for samples in made} == {(RATE_HZ,)}
    assert all(np.abs(samples).max() <= 1 for samples in made)
    silent = [samples for samples in made if not samples.any()]
    loud = [samples for samples in made if power_db(samples, 150, 2_100) > -40]
    quiet = [samples for samples in made if samples.any() and np.abs(samples).max() < 0.2]
    assert silent and loud and quiet
    assert augment.non_speech(0.0, seeded()).shape == (1,)


def test_nobody_speaks_in_non_speech() -> None:
    """As Silero's detector hears it, which also finds where speech is in what we train on."""
    from misheard.finetune.examples import speech_times  # noqa: PLC0415 - onnxruntime

    found = [speech_times(augment.non_speech(2.0, seeded(number))) for number in range(20)]
    assert found == [None] * 20


@pytest.mark.parametrize(
    "change",
    [
        lambda generator: augment.through_telephone(tone(500.0), generator),
        lambda generator: augment.non_speech(0.7, generator),
    ],
)
def test_the_same_seed_gives_the_same_samples(change: Callable[[Any], np.ndarray]) -> None:
    first = change(seeded(5))
    np.random.default_rng().random()
    assert np.array_equal(first, change(seeded(5)))
    assert any(not np.array_equal(first, change(seeded(number))) for number in range(6, 12))
