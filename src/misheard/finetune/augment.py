"""What training changes in a clip so that it is never heard twice alike. Pure.

Every function takes its own random generator: the same seed gives the same samples, whatever was
drawn elsewhere, in which process, and before or after a restart.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from misheard.audio import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

_LINE_RATE_HZ = 8_000
_BAND_HZ = (300.0, 3_400.0)
"""What a telephone line lets through (ITU-T G.712)."""
_TONE_HZ = (200.0, 2_000.0)


def change_speed(samples: NDArray[np.float32], factor: float) -> NDArray[np.float32]:
    """Play `samples` (n,) `factor` times as fast, pitch included; shape (n / factor,)."""
    import soxr  # noqa: PLC0415 - only where there is something to resample

    # As if they had been recorded at another rate; soxr takes any two.
    made = soxr.resample(samples, SAMPLE_RATE_HZ * factor, SAMPLE_RATE_HZ)
    return np.asarray(made, np.float32)


def through_telephone(samples: NDArray[np.float32], generator: Generator) -> NDArray[np.float32]:
    """`samples` (n,) as they come out of a telephone line: band, rate and codec; same shape."""
    import soundfile  # noqa: PLC0415 - libsndfile loads slowly
    import soxr  # noqa: PLC0415 - as in `change_speed`

    spectrum = np.fft.rfft(samples)
    hertz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE_HZ)
    spectrum[(hertz < _BAND_HZ[0]) | (hertz > _BAND_HZ[1])] = 0
    band = np.fft.irfft(spectrum, len(samples)).astype(np.float32)
    line = soxr.resample(band, SAMPLE_RATE_HZ, _LINE_RATE_HZ)
    codec = ("ULAW", "GSM610")[int(generator.integers(2))]
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(line, -1, 1), _LINE_RATE_HZ, format="WAV", subtype=codec)
    buffer.seek(0)
    heard, _ = soundfile.read(buffer, dtype="float32")
    wide = np.asarray(soxr.resample(heard, _LINE_RATE_HZ, SAMPLE_RATE_HZ), np.float32)
    made = np.zeros_like(samples)  # GSM works in whole frames, so the end may be off by some
    made[: len(wide)] = wide[: len(samples)]
    return made


def joined(
    one: NDArray[np.float32], other: NDArray[np.float32], gap_s: float
) -> NDArray[np.float32]:
    """Both clips, one after the other, with `gap_s` seconds of silence between them."""
    gap = np.zeros(round(SAMPLE_RATE_HZ * gap_s), np.float32)
    return np.concatenate([one, gap, other])


def non_speech(seconds: float, generator: Generator) -> NDArray[np.float32]:
    """A clip in which nobody speaks: silence, noise, a tone, two, or one that comes and goes."""
    count = max(1, round(SAMPLE_RATE_HZ * seconds))
    at_s = np.arange(count) / SAMPLE_RATE_HZ

    def tone() -> NDArray[np.float64]:
        level = _level(generator, 1e-2, 4e-1)
        made: NDArray[np.float64] = level * np.sin(2 * np.pi * generator.uniform(*_TONE_HZ) * at_s)
        return made

    noise = generator.standard_normal(count)
    kind = generator.choice(["silence", "noise", "tone", "two tones", "busy signal"])
    if kind == "silence":
        made = np.zeros(count)
    elif kind == "noise":
        made = noise * _level(generator, 1e-4, 3e-2)
    else:
        made = tone() + (tone() if kind == "two tones" else 0.0)
        if kind == "busy signal":
            made *= (at_s * generator.uniform(0.5, 8.0)) % 1 < 0.5
        made += noise * 1e-3
    return np.clip(made, -1, 1).astype(np.float32)


def _level(generator: Generator, low: float, high: float) -> float:
    """An amplitude between the two, every decibel as likely."""
    return float(np.exp(generator.uniform(np.log(low), np.log(high))))
