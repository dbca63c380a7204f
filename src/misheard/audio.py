"""Decode, resample, hash and measure audio; what is no audio is refused here and nowhere else."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from misheard.containers import Container, damaged, recognise
from misheard.errors import (
    AudioTooLongError,
    AudioTooShortError,
    EmptyAudioError,
    InvalidSamplesError,
    NotAudioError,
    UnsupportedAudioError,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLE_RATE_HZ = 16_000
"""Every model here listens at this rate."""

# GSM 06.10 full rate: 33 bytes a 20-ms frame at 8 kHz, the first four bits of each are 0xD
# (`GSM_MAGIC` in libgsm). Telephone systems store it without any header.
_GSM_FRAME_BYTES = 33
_GSM_MAGIC = 0xD
_GSM_RATE_HZ = 8_000

_BLOCK_FRAMES = 1 << 16
"""Read at a time: memory depends on what is kept, not on what a header or a codec claims."""
_UNKNOWN_FRAMES = 1 << 62
"""libsndfile gives more than this for a length that the file does not tell."""
_CODECS = (
    "aac,ac3,alac,adpcm_ima_wav,adpcm_ms,amrnb,amrwb,eac3,flac,g722,gsm,gsm_ms,libopencore_amrnb,"
    "libopencore_amrwb,libopus,libspeex,mp3,mp3float,opus,pcm_alaw,pcm_f32be,pcm_f32le,pcm_f64be,"
    "pcm_f64le,pcm_mulaw,pcm_s16be,pcm_s16le,pcm_s24be,pcm_s24le,pcm_s32be,pcm_s32le,pcm_s8,pcm_u8,"
    "speex,vorbis"
)
"""What FFmpeg may decode for somebody else: sound as recorders, films and telephones write it."""


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


@dataclass(frozen=True, kw_only=True)
class AudioLimits:
    """What is taken from somebody else; of anything beyond it no more is decoded than shows it."""

    min_duration_s: float = 0.1
    """As OpenAI's API has it."""
    max_duration_s: float = 3_600.0
    max_channels: int = 6
    """The sound of a film."""
    min_rate_hz: int = 4_000
    max_rate_hz: int = 192_000


def decode(data: bytes, *, name: str = "audio", limits: AudioLimits | None = None) -> Audio:
    """Decode a file's bytes: WAV, FLAC, Ogg, MP3, raw GSM 06.10, and whatever FFmpeg reads.

    `name` stands in error messages only; the format is told from the content. Files of one's own
    give what can be read of them. With `limits`, for files of somebody else, only the formats of
    `containers.py` are opened, and what is cut short or damaged is refused.

    Raises `NotAudioError`, `EmptyAudioError` or `InvalidSamplesError`; with `limits` also
    `AudioDamagedError`, `AudioTooLongError`, `AudioTooShortError` or `UnsupportedAudioError`.
    """
    return Audio(samples=samples_of(data, name=name, limits=limits), sha256=sha256_of(data))


def samples_of(
    data: bytes, *, name: str = "audio", limits: AudioLimits | None = None
) -> NDArray[np.float32]:
    """The samples of `decode`, for those who know the hash or need none."""
    if not data:
        raise EmptyAudioError(f"'{name}' is an empty file.")
    mono = _Mono(name, limits)
    careful = limits is not None and not is_gsm(data)
    kind = recognise(data, name=name) if careful else None
    if not _with_libsndfile(data, mono, kind):
        _with_ffmpeg(data, mono, kind)
    return mono.finish()


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


class _Mono:
    """Makes one array, mono at 16 kHz, of the blocks of a file, and holds it to its limits."""

    def __init__(self, name: str, limits: AudioLimits | None) -> None:
        self.name = name
        self._limits = limits

    def begin(self, rate_hz: int, channels: int) -> None:
        """What was added is forgotten; blocks of this kind follow."""
        self.require(rate_hz, channels)
        self._rate_hz = rate_hz
        self._blocks: list[NDArray[np.float32]] = []
        self._frames = self._samples = self._not_finite = 0
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
        self._not_finite += int(np.count_nonzero(~np.isfinite(block)))
        mono = block.mean(axis=1, dtype=np.float32) if block.shape[1] > 1 else block[:, 0]
        self._blocks.append(self._resampler.resample_chunk(mono) if self._resampler else mono)
        return self._frames

    def finish(self) -> NDArray[np.float32]:
        """All of it; empty and non-finite samples are refused."""
        if self._samples == 0:
            raise EmptyAudioError(f"'{self.name}' has a header but no samples.")
        if self._not_finite:
            raise _not_finite(self._not_finite, self._samples, self.name)
        limits = self._limits
        if limits is not None and self._frames < limits.min_duration_s * self._rate_hz:
            raise AudioTooShortError(
                f"'{self.name}' is {self._frames / self._rate_hz:.3f} s long; at least "
                f"{limits.min_duration_s:g} s are needed."
            )
        if self._resampler is not None:
            self._blocks.append(self._resampler.resample_chunk(np.zeros(0, np.float32), last=True))
        samples = np.concatenate(self._blocks)
        if samples.size == 0:
            raise EmptyAudioError(
                f"'{self.name}' is shorter than one sample at {SAMPLE_RATE_HZ} Hz."
            )
        samples.flags.writeable = False
        return samples


def _with_libsndfile(data: bytes, mono: _Mono, kind: Container | None) -> bool:
    """Whether libsndfile can read it. Only a file of this kind, when one is given."""
    import soundfile  # noqa: PLC0415 - libsndfile loads slowly, and most commands decode nothing

    class Forward(soundfile.SoundFile):
        # After every block, soundfile would seek to where it is: that changes the samples of MP3.
        def seekable(self) -> bool:
            return False

    if kind is not None and not kind.libsndfile:
        return False
    options: dict[str, Any] = {}
    if is_gsm(data):
        options = {"format": "RAW", "subtype": "GSM610", "samplerate": _GSM_RATE_HZ, "channels": 1}
    frames = 0
    try:
        with Forward(io.BytesIO(data), **options) as file:
            if kind is not None and file.format not in kind.libsndfile:
                return False
            mono.begin(file.samplerate, file.channels)
            while len(block := file.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)):
                frames = mono.add(block)
            if kind is not None and kind.counts_frames and frames < file.frames < _UNKNOWN_FRAMES:
                raise damaged(mono.name, f"of {file.frames} samples only {frames} can be decoded")
    except soundfile.LibsndfileError as error:
        if kind is not None and frames:
            raise damaged(mono.name, f"it cannot be decoded beyond sample {frames}") from error
        return False
    return True


def _with_ffmpeg(data: bytes, mono: _Mono, kind: Container | None) -> None:
    """Containers that libsndfile does not know (m4a, webm, amr), through PyAV's FFmpeg."""
    import av  # noqa: PLC0415 - 50 ms, and only for unusual containers

    careful = {"protocol_whitelist": "", "codec_whitelist": _CODECS}
    try:
        with (
            _complaints() as complaints,
            av.open(
                io.BytesIO(data),
                mode="r",
                format=kind.demuxer if kind is not None else None,
                options=careful if kind is not None else {},
                metadata_errors="ignore",
            ) as container,
        ):
            if kind is not None:
                _require_known_codec(container.streams.audio[0], mono.name)
            mono.begin(SAMPLE_RATE_HZ, 1)
            resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE_HZ)
            for frame in container.decode(audio=0):
                mono.require(frame.sample_rate, frame.layout.nb_channels)
                for piece in resampler.resample(frame):
                    mono.add(piece.to_ndarray().T)
            for piece in resampler.resample(None):
                mono.add(piece.to_ndarray().T)
    except MemoryError:
        raise
    except (av.FFmpegError, IndexError, ValueError) as error:
        if kind is not None:
            raise damaged(mono.name, "it cannot be decoded") from error
        raise NotAudioError(
            f"'{mono.name}' ({len(data)} bytes) is in no format that libsndfile or FFmpeg reads. "
            "Convert it to WAV or FLAC first."
        ) from error
    if kind is not None and complaints:
        raise damaged(mono.name, "parts of it cannot be decoded")


@contextmanager
def _complaints() -> Iterator[list[Any]]:
    """What FFmpeg reports as errors in the meantime: what it does not raise, it leaves out."""
    import av.logging  # noqa: PLC0415 - as above

    before = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture() as told:
            yield told
    finally:
        av.logging.set_level(before)


def _require_known_codec(stream: Any, name: str) -> None:
    codec = stream.codec_context.name if stream.codec_context is not None else "an unknown codec"
    if codec not in _CODECS.split(","):
        raise UnsupportedAudioError(f"'{name}' is encoded with {codec}. Convert it to WAV or FLAC.")


def _not_finite(bad: int, count: int, name: str) -> InvalidSamplesError:
    return InvalidSamplesError(
        f"'{name}': {bad} of {count} samples are NaN or infinite. "
        "Look at the step that wrote this file."
    )


def _require_finite(samples: NDArray[Any], name: str) -> None:
    bad = int(np.count_nonzero(~np.isfinite(samples)))
    if bad:
        raise _not_finite(bad, samples.size, name)
