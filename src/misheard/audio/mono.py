"""What a model hears of a recording, mono at 16 kHz, and how much of it is taken."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from misheard.errors import (
    AudioTooLongError,
    AudioTooShortError,
    EmptyAudioError,
    InvalidSamplesError,
    UnsupportedAudioError,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLE_RATE_HZ = 16_000
"""Every model here listens at this rate."""


@dataclass(frozen=True, kw_only=True)
class AudioLimits:
    """What is taken from somebody else; of anything beyond it no more is decoded than shows it."""

    max_duration_s: float
    min_duration_s: float = 0.1
    """As OpenAI's API has it."""
    max_channels: int = 6
    """The sound of a film."""
    min_rate_hz: int = 4_000
    max_rate_hz: int = 192_000
    max_level: float = 65_536.0
    """Of a sample; it should be 1. Integers of 16 bits that were written as floats still pass."""


class Mono:
    """Takes the blocks of a file, makes them mono at 16 kHz, and holds the file to its limits."""

    def __init__(self, name: str, limits: AudioLimits | None) -> None:
        self.name = name
        self._limits = limits

    def begin(self, rate_hz: int, channels: int) -> None:
        """What was added is forgotten; blocks of this kind follow."""
        self.require(rate_hz, channels)
        self._rate_hz = rate_hz
        self._blocks: list[NDArray[np.float32]] = []
        self._frames = self._samples = self._not_finite = 0
        self._level = 0.0
        self._resampler: Any = None
        if rate_hz != SAMPLE_RATE_HZ:
            import soxr  # noqa: PLC0415 - only where there is something to resample

            self._resampler = soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32")

    def require(self, rate_hz: int, channels: int) -> None:
        """Refuse what has too many channels, or a rate that is no speech's."""
        limits = self._limits
        if limits is not None and channels > limits.max_channels:
            raise UnsupportedAudioError(
                f"'{self.name}' has {channels} channels; at most {limits.max_channels} are taken. "
                "Mix it down to one."
            )
        if limits is not None and not limits.min_rate_hz <= rate_hz <= limits.max_rate_hz:
            raise UnsupportedAudioError(
                f"'{self.name}' has {rate_hz} samples a second; from {limits.min_rate_hz} to "
                f"{limits.max_rate_hz} are taken. Resample it to {SAMPLE_RATE_HZ}."
            )

    def require_fits(self, frames: int) -> None:
        """Refuse a file of so many frames when that is too long."""
        limits = self._limits
        if limits is not None and frames > limits.max_duration_s * self._rate_hz:
            raise AudioTooLongError(
                f"'{self.name}' is longer than {limits.max_duration_s:g} s. Send it in pieces."
            )

    def add(self, block: NDArray[np.float32]) -> int:
        """Take a block of shape (n, channels); how many frames there are by now."""
        self.require_fits(self._frames + len(block))
        self._frames += len(block)
        self._samples += block.size
        level = float(np.abs(block).max(initial=0.0))
        if not math.isfinite(level):
            self._not_finite += int(np.count_nonzero(~np.isfinite(block)))
        self._level = max(self._level, level)
        mono = block.mean(axis=1, dtype=np.float32) if block.shape[1] > 1 else block[:, 0]
        self._blocks.append(self._resampler.resample_chunk(mono) if self._resampler else mono)
        return self._frames

    def finish(self) -> list[NDArray[np.float32]]:
        """All of it, in pieces; empty and non-finite samples are refused."""
        if self._samples == 0:
            raise EmptyAudioError(f"'{self.name}' has a header but no samples.")
        if self._not_finite:
            raise not_finite(self._not_finite, self._samples, self.name)
        limits = self._limits
        if limits is not None and self._level > limits.max_level:
            raise UnsupportedAudioError(
                f"'{self.name}' has samples of up to {self._level:.3g}. Scale them to ±1."
            )
        if limits is not None and self._frames < limits.min_duration_s * self._rate_hz:
            raise AudioTooShortError(
                f"'{self.name}' is {self._frames / self._rate_hz:.3f} s long; at least "
                f"{limits.min_duration_s:g} s are needed."
            )
        if self._resampler is not None:
            self._blocks.append(self._resampler.resample_chunk(np.zeros(0, np.float32), last=True))
        if not any(map(len, self._blocks)):
            raise EmptyAudioError(
                f"'{self.name}' is shorter than one sample at {SAMPLE_RATE_HZ} Hz."
            )
        return self._blocks


def not_finite(bad: int, count: int, name: str) -> InvalidSamplesError:
    """An error that counts the samples which are no numbers."""
    return InvalidSamplesError(
        f"'{name}': {bad} of {count} samples are NaN or infinite. "
        "Look at the step that wrote this file."
    )
