"""What a recording is tagged with, so that gates can look at parts of a set: channel, noise, …"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from misheard.audio import SAMPLE_RATE_HZ, Audio
from misheard.errors import BadInputError
from misheard.scoring.normalize import require_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

NOISE = "noise"
"""The tag that is measured where it is not given."""
MUST_PASS = "must_pass"
"""Tagged `true`: a candidate has to get every word of it right."""
ROLLOUT = "rollout"
"""Which rollout a transcript belongs to, and which step of it: no matter of the recording."""

_FRAME = SAMPLE_RATE_HZ * 30 // 1000
_MIN_FRAMES = 10
# Below what 16 bits can hold; digital silence has no level of its own.
_FLOOR_DB = -96.0


def tagged(clip: Audio, given: Mapping[str, str]) -> dict[str, str]:
    """The tags of a recording: those given, and how noisy it is where nobody said."""
    measured = {} if NOISE in given else noise_band(clip.samples)
    return dict(sorted({**measured, **given}.items()))


def of_recording(tags: Mapping[str, str]) -> dict[str, str]:
    """Those that say something of the recording, whoever heard it."""
    return {name: value for name, value in tags.items() if name != ROLLOUT}


def noise_band(samples: NDArray[np.float32]) -> dict[str, str]:
    """The `noise` tag of samples, shape (n,), at 16 kHz; empty for less than 0.3 s.

    How far the loud frames of 30 ms (90th percentile) stand above the quiet ones (10th), in
    decibels. It is coarse, as no reference signal is at hand, and good enough to tell a quiet room
    from a street. A clip without a pause counts as noisy.
    """
    frames = len(samples) // _FRAME
    if frames < _MIN_FRAMES:
        return {}
    power = np.square(samples[: frames * _FRAME].reshape(frames, _FRAME), dtype=np.float64).mean(1)
    level_db = 10 * np.log10(np.maximum(power, 10 ** (_FLOOR_DB / 10)))
    quiet, loud = np.percentile(level_db, [10, 90])
    above_db = float(loud - quiet)
    if above_db < 15:
        return {NOISE: "under 15 dB"}
    return {NOISE: "15–30 dB" if above_db < 30 else "over 30 dB"}


def require_tags(tags: Mapping[str, str], *, what: str) -> None:
    """Raises `BadInputError` unless names and values are texts that can be stored."""
    if not isinstance(tags, Mapping):
        raise BadInputError(f"{what}: expected names and values, got {type(tags).__name__}.")
    for key, value in tags.items():
        require_text(key, what=what)
        require_text(value, what=f"{what}, '{key}'")
