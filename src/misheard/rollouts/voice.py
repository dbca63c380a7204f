"""Whether there is a voice in a recording, told from its samples alone. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from misheard.audio import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FRAME = SAMPLE_RATE_HZ * 40 // 1000
_HOP = _FRAME // 2
_PITCHES_HZ = (70, 400)
_PERIODIC = 0.5
"""Autocorrelation at the pitch over that at 0: about 1 of a vowel, near 0 of noise."""
_LEAST_DB = -50.0
"""Below full scale: quieter frames are a far-off voice at best."""
_VOICED_S = 0.3
"""A short word has so much."""
_LOOKED_AT_S = 60


def has_voice(samples: NDArray[np.float32]) -> bool:
    """Whether there is something to hear in samples, shape (n,), at 16 kHz.

    That is 0.3 s of sound above -50 dB that repeats itself at a pitch of 70 to 400 Hz, as vowels
    do; silence, hiss and the noise of a street do not, music and tones may. It looks at the first
    minute. After P. Boersma, "Accurate short-term analysis of the fundamental
    frequency and the harmonics-to-noise ratio of a sampled sound", IFA Proceedings 17, 1993.
    """
    samples = samples[: _LOOKED_AT_S * SAMPLE_RATE_HZ]
    if len(samples) < _FRAME:
        return False
    frames = np.lib.stride_tricks.sliding_window_view(samples, _FRAME)[::_HOP].astype(np.float64)
    frames = frames - frames.mean(axis=1, keepdims=True)
    power = np.square(frames).mean(axis=1)
    frames = frames[power >= 10 ** (_LEAST_DB / 10)]
    window = np.hanning(_FRAME)
    size = 2 * _FRAME
    spectra = np.abs(np.fft.rfft(frames * window, size)) ** 2
    correlation = np.fft.irfft(spectra, size)[:, :_FRAME]
    of_window = np.fft.irfft(np.abs(np.fft.rfft(window, size)) ** 2, size)[:_FRAME]
    first, last = (SAMPLE_RATE_HZ // hertz for hertz in reversed(_PITCHES_HZ))
    at_zero = correlation[:, :1] / of_window[0]
    at_pitch = correlation[:, first : last + 1] / of_window[first : last + 1]
    # What only falls or rises over all these lags has its pitch elsewhere: rumble, or a hiss.
    best = at_pitch.argmax(axis=1)
    is_peak = (best > 0) & (best < at_pitch.shape[1] - 1)
    voiced = is_peak & ((at_pitch / at_zero).max(axis=1) >= _PERIODIC)
    return bool(voiced.sum() * _HOP / SAMPLE_RATE_HZ >= _VOICED_S)
