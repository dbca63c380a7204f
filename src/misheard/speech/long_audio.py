"""Audio of any length as stretches that fit Whisper's window, and the way back to its own clock."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from misheard.audio import SAMPLE_RATE_HZ
from misheard.speech.context import FULL_POSITIONS, POSITIONS_PER_S, SAMPLES_PER_POSITION

if TYPE_CHECKING:
    from numpy.typing import NDArray

WINDOW_S = FULL_POSITIONS / POSITIONS_PER_S
_WINDOW_SAMPLES = int(WINDOW_S * SAMPLE_RATE_HZ)


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """A stretch of a clip that fits the window: one part of it, or several with silence left out.

    >>> spoken = Stretch(samples=np.zeros(32_000, np.float32), cuts=(0, 16_000), at=(8_000, 80_000))
    >>> spoken.on_clip_s(0.5), spoken.on_clip_s(1.5)
    (1.0, 5.5)
    """

    samples: NDArray[np.float32]
    cuts: tuple[int, ...] = (0,)
    """Where each part begins in the stretch, in samples."""
    at: tuple[int, ...] = (0,)
    """Where each part begins in the clip, in samples."""

    @property
    def duration_s(self) -> float:
        """Seconds of audio."""
        return len(self.samples) / SAMPLE_RATE_HZ

    @property
    def frames(self) -> int:
        """Frames of the spectrogram that hold audio, 10 ms each; at least the two of a position."""
        return max(2, len(self.samples) * 2 // SAMPLES_PER_POSITION)

    def part_at(self, time_s: float, *, is_end: bool = False) -> int:
        """Which part a moment of the stretch lies in.

        Where two parts meet, what ends does so in the first, and what begins in the second.
        """
        bisect = bisect_left if is_end else bisect_right
        return max(0, bisect(self.cuts, round(time_s * SAMPLE_RATE_HZ)) - 1)

    def on_clip_s(self, time_s: float, *, part: int | None = None) -> float:
        """The same moment in seconds from the beginning of the clip.

        `part` keeps both ends of a word together, even where it reaches over a cut.
        """
        number = self.part_at(time_s) if part is None else part
        return round(time_s + (self.at[number] - self.cuts[number]) / SAMPLE_RATE_HZ, 3)


def stretches(samples: NDArray[np.float32]) -> list[Stretch]:
    """The clip itself, or its speech in order when it is longer than the window.

    Speech is found by Silero's voice-activity detection, through faster-whisper, and filled into
    windows as its `collect_chunks` does; that one loses the first part of each window from its
    record of where they were (1.2.1), so it is not used.
    """
    if len(samples) <= _WINDOW_SAMPLES:
        return [Stretch(samples=samples)]
    from faster_whisper.vad import (  # noqa: PLC0415 - onnxruntime, for long audio only
        VadOptions,
        get_speech_timestamps,
    )

    options = VadOptions(max_speech_duration_s=WINDOW_S, min_silence_duration_ms=160)
    found = get_speech_timestamps(samples, options)
    spoken = [(int(part["start"]), int(part["end"])) for part in found]
    return [_joined(samples, parts) for parts in _windows(spoken)]


def _windows(spoken: Sequence[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """As many parts together as fit the window."""
    window: list[tuple[int, int]] = []
    for start, end in spoken:
        held = sum(last - first for first, last in window)
        if window and held + end - start > _WINDOW_SAMPLES:
            yield window
            window = []
        if end > start:
            window.append((start, end))
    if window:
        yield window


def _joined(samples: NDArray[np.float32], parts: list[tuple[int, int]]) -> Stretch:
    lengths = [end - start for start, end in parts]
    return Stretch(
        samples=np.concatenate([samples[start:end] for start, end in parts]),
        cuts=tuple(int(cut) for cut in np.cumsum([0, *lengths[:-1]])),
        at=tuple(start for start, _ in parts),
    )
