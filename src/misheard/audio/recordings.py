"""Recordings: encoded ones on their way in, and decoded ones that are ready for a model."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from misheard.audio.decoding import pieces_of
from misheard.audio.mono import SAMPLE_RATE_HZ, AudioLimits, not_finite
from misheard.errors import EmptyAudioError, NotAudioError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Audio:
    """One recording, ready for a model."""

    samples: NDArray[np.float32] = field(repr=False, compare=False)
    """Mono, 16 kHz, shape (n,), nominally within ±1."""
    sha256: str
    """Of the encoded bytes it was read from: its identity everywhere."""

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.samples) / SAMPLE_RATE_HZ


@dataclass(frozen=True, kw_only=True)
class Recording:
    """Encoded audio on its way in."""

    data: bytes = field(repr=False)
    speaker_group: str = ""
    """Who speaks, or which call: what moves together in statistics. By default, itself alone."""
    name: str = "audio"
    """For error messages."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """What gates may look at apart, such as channel or noise."""


def sha256_of(data: bytes) -> str:
    """The SHA-256 of `data` in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def decode(data: bytes, *, name: str = "audio", limits: AudioLimits | None = None) -> Audio:
    """Decode a file's bytes: WAV, FLAC, Ogg, MP3, raw GSM 06.10, and whatever FFmpeg reads.

    `name` stands in error messages only; the format is told from the content. Files of one's own
    give what can be read of them. With `limits`, for files of somebody else, only the formats of
    `containers.py` are opened, and what is cut short or damaged is refused.

    Raises `NotAudioError`, `EmptyAudioError` or `InvalidSamplesError`; with `limits` also
    `AudioDamagedError`, `AudioTooLongError`, `AudioTooShortError` or `UnsupportedAudioError`.
    """
    samples = np.concatenate(pieces_of(data, name=name, limits=limits))
    samples.flags.writeable = False
    return Audio(samples=samples, sha256=sha256_of(data))


def read(path: str | Path) -> Audio:
    """Decode the file at `path`; see `decode`."""
    return decode(read_bytes(path), name=str(path))


def read_bytes(path: str | Path) -> bytes:
    """The bytes of an audio file, or an error that says what is wrong with the path."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise NotAudioError(f"There is no file '{path}'.") from error
    except OSError as error:
        raise NotAudioError(f"'{path}' cannot be read: {error.strerror}.") from error


def from_samples(samples: Any, rate_hz: int, *, name: str = "samples") -> Audio:
    """Audio from an array, shape (n,) or (n, channels), float within ±1 or 16-bit integers."""
    return decode(encode_wav(samples, rate_hz, name=name), name=name)


def encode_wav(samples: Any, rate_hz: int, *, name: str = "samples") -> bytes:
    """A 16-bit WAV file of `samples`, shape (n,) or (n, channels); floats are clipped to ±1."""
    import soundfile  # noqa: PLC0415 - libsndfile loads slowly, and most commands decode nothing

    try:
        array = np.asarray(samples)
    except (TypeError, ValueError) as error:
        raise NotAudioError(f"{name}: {error}.") from error
    if array.dtype.kind not in "fi" or array.ndim not in (1, 2):
        raise NotAudioError(
            f"{name}: expected one or two dimensions of numbers, "
            f"got {array.dtype} with shape {array.shape}."
        )
    if array.size == 0:
        raise EmptyAudioError(f"{name}: shape {array.shape}.")
    if not isinstance(rate_hz, Real) or not rate_hz > 0:
        raise NotAudioError(f"{name}: a rate of {rate_hz} Hz.")
    if array.dtype.kind == "f":
        array = array.astype(np.float32)
        _require_finite(array, name)
    elif array.dtype != np.int16:
        raise NotAudioError(f"{name}: integer samples must be int16, got {array.dtype}.")
    buffer = io.BytesIO()
    try:
        soundfile.write(buffer, array, rate_hz, format="WAV", subtype="PCM_16")
    except (soundfile.LibsndfileError, TypeError, ValueError) as error:
        raise NotAudioError(
            f"{name}: shape {array.shape} at {rate_hz} Hz; the shape must be (samples,) or "
            f"(samples, channels). {error}"
        ) from error
    return buffer.getvalue()


def _require_finite(samples: NDArray[Any], name: str) -> None:
    bad = int(np.count_nonzero(~np.isfinite(samples)))
    if bad:
        raise not_finite(bad, samples.size, name)
