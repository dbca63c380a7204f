"""Decode, resample, hash and measure audio; what is no audio is refused here and nowhere else."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from misheard.errors import EmptyAudioError, InvalidSamplesError, NotAudioError

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLE_RATE_HZ = 16_000
"""Every model here listens at this rate."""

# GSM 06.10 full rate: 33 bytes a 20-ms frame at 8 kHz, the first four bits of each are 0xD
# (`GSM_MAGIC` in libgsm). Telephone systems store it without any header.
_GSM_FRAME_BYTES = 33
_GSM_MAGIC = 0xD
_GSM_RATE_HZ = 8_000


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


def decode(data: bytes, *, name: str = "audio") -> Audio:
    """Decode a file's bytes: WAV, FLAC, Ogg, MP3, raw GSM 06.10, and whatever FFmpeg reads.

    `name` stands in error messages only; the format is told from the content.

    Raises `NotAudioError`, `EmptyAudioError` or `InvalidSamplesError`.
    """
    if not data:
        raise EmptyAudioError(f"'{name}' is an empty file.")
    samples, rate_hz = _decode_samples(data, name)
    return Audio(samples=_prepare(samples, rate_hz, name), sha256=sha256_of(data))


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


def is_gsm(data: bytes) -> bool:
    """Whether these bytes are headerless GSM 06.10 frames."""
    head = np.frombuffer(data, np.uint8)[::_GSM_FRAME_BYTES]
    return len(data) % _GSM_FRAME_BYTES == 0 and bool(np.all(head >> 4 == _GSM_MAGIC))


def _decode_samples(data: bytes, name: str) -> tuple[NDArray[np.float32], int]:
    """Samples of shape (n, channels) and their rate in hertz."""
    import soundfile  # noqa: PLC0415 - libsndfile loads slowly, and most commands decode nothing

    options: dict[str, Any] = {}
    if is_gsm(data):
        options = {"format": "RAW", "subtype": "GSM610", "samplerate": _GSM_RATE_HZ, "channels": 1}
    try:
        samples, rate_hz = soundfile.read(
            io.BytesIO(data), dtype="float32", always_2d=True, **options
        )
    except soundfile.LibsndfileError:
        return _decode_with_ffmpeg(data, name)
    return samples, rate_hz


def _decode_with_ffmpeg(data: bytes, name: str) -> tuple[NDArray[np.float32], int]:
    """Containers that libsndfile does not know (m4a, webm, amr), through PyAV's FFmpeg."""
    import av  # noqa: PLC0415 - 100 ms, and only for unusual containers

    chunks: list[NDArray[np.float32]] = []
    try:
        with av.open(io.BytesIO(data), mode="r", metadata_errors="ignore") as container:
            resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE_HZ)
            for frame in container.decode(audio=0):
                chunks += [piece.to_ndarray()[0] for piece in resampler.resample(frame)]
            chunks += [piece.to_ndarray()[0] for piece in resampler.resample(None)]
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise NotAudioError(
            f"'{name}' ({len(data)} bytes) is in no format that libsndfile or FFmpeg reads. "
            "Convert it to WAV or FLAC first."
        ) from error
    samples = np.concatenate(chunks) if chunks else np.zeros(0, np.float32)
    return samples[:, None], SAMPLE_RATE_HZ


def _prepare(samples: NDArray[np.float32], rate_hz: int, name: str) -> NDArray[np.float32]:
    """Mono at 16 kHz; empty and non-finite samples are refused."""
    if samples.size == 0:
        raise EmptyAudioError(f"'{name}' has a header but no samples.")
    _require_finite(samples, name)
    mono: NDArray[np.float32] = samples.mean(axis=1, dtype=np.float32)
    if rate_hz != SAMPLE_RATE_HZ:
        import soxr  # noqa: PLC0415 - only where there is something to resample

        mono = np.asarray(soxr.resample(mono, rate_hz, SAMPLE_RATE_HZ), np.float32)
    if mono.size == 0:
        raise EmptyAudioError(f"'{name}' is shorter than one sample at {SAMPLE_RATE_HZ} Hz.")
    mono.flags.writeable = False
    return mono


def _require_finite(samples: NDArray[Any], name: str) -> None:
    bad = int(np.count_nonzero(~np.isfinite(samples)))
    if bad:
        raise InvalidSamplesError(
            f"'{name}': {bad} of {samples.size} samples are NaN or infinite. "
            "Look at the step that wrote this file."
        )
