"""From the bytes of a file to samples, by libsndfile and FFmpeg."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from misheard.audio.containers import Recognised, damaged, recognise
from misheard.audio.mono import SAMPLE_RATE_HZ, AudioLimits, Mono
from misheard.errors import EmptyAudioError, NotAudioError, UnsupportedAudioError

if TYPE_CHECKING:
    from numpy.typing import NDArray

# GSM 06.10 full rate: 33 bytes a 20-ms frame at 8 kHz, the first four bits of each are 0xD
# (`GSM_MAGIC` in libgsm). Telephone systems store it without any header.
_GSM_FRAME_BYTES = 33
_GSM_MAGIC = 0xD
_GSM_RATE_HZ = 8_000

_BLOCK_FRAMES = 1 << 16
"""Read at a time: memory depends on what is kept, not on what a header or a codec claims."""
_CODECS = (
    "aac,ac3,alac,adpcm_ima_wav,adpcm_ms,amrnb,amrwb,eac3,flac,g722,gsm,gsm_ms,libopencore_amrnb,"
    "libopencore_amrwb,libopus,libspeex,mp3,mp3float,opus,pcm_alaw,pcm_f32be,pcm_f32le,pcm_f64be,"
    "pcm_f64le,pcm_mulaw,pcm_s16be,pcm_s16le,pcm_s24be,pcm_s24le,pcm_s32be,pcm_s32le,pcm_s8,pcm_u8,"
    "speex,vorbis"
)
"""What FFmpeg may decode for somebody else: sound as recorders, films and telephones write it."""


def pieces_of(
    data: bytes, *, name: str = "audio", limits: AudioLimits | None = None
) -> list[NDArray[np.float32]]:
    """The samples of `decode` in pieces: to join them takes the memory of all of them again."""
    if not data:
        raise EmptyAudioError(f"'{name}' is an empty file.")
    mono = Mono(name, limits)
    careful = limits is not None and not is_gsm(data)
    told = recognise(data, name=name) if careful else None
    if not _with_libsndfile(data, mono, told):
        _with_ffmpeg(data, mono, told)
    return mono.finish()


def is_gsm(data: bytes) -> bool:
    """Whether these bytes are headerless GSM 06.10 frames."""
    head = np.frombuffer(data, np.uint8)[::_GSM_FRAME_BYTES]
    return len(data) % _GSM_FRAME_BYTES == 0 and bool(np.all(head >> 4 == _GSM_MAGIC))


def _with_libsndfile(data: bytes, mono: Mono, told: Recognised | None) -> bool:
    """Whether libsndfile finds samples in it. Only in a file of this kind, when one is given."""
    import soundfile  # noqa: PLC0415 - libsndfile loads slowly, and most commands decode nothing

    class Forward(soundfile.SoundFile):
        # After every block, soundfile would seek to where it is: that changes the samples of MP3.
        def seekable(self) -> bool:
            return False

    if told is not None and not told.container.libsndfile:
        return False
    options: dict[str, Any] = {}
    if is_gsm(data):
        options = {"format": "RAW", "subtype": "GSM610", "samplerate": _GSM_RATE_HZ, "channels": 1}
    flac = told.flac if told is not None else None
    md5 = hashlib.md5(usedforsecurity=False)
    opened, frames = False, 0
    try:
        with Forward(io.BytesIO(data), **options) as file:
            if told is not None and file.format not in told.container.libsndfile:
                return False
            opened = True
            if soundfile.SoundFile.seekable(file):
                # Only then libsndfile leaves out what an encoder of Opus puts before the sound.
                file.seek(0)
            mono.begin(file.samplerate, file.channels)
            if told is not None:
                tells_length = told.container.tells_length
                mono.require_fits(file.frames if tells_length else told.least_frames)
            while len(block := file.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)):
                frames = mono.add(block)
                if flac is not None:
                    md5.update(_as_integers(block, flac.bits))
    except soundfile.LibsndfileError as error:
        if told is not None and opened:
            raise damaged(mono.name, f"it cannot be decoded beyond sample {frames}") from error
        return False
    if told is not None and frames < told.least_frames:
        raise damaged(mono.name, f"of {told.least_frames} samples only {frames} can be decoded")
    if flac is not None and md5.digest() != flac.md5:
        raise damaged(mono.name, "its samples are not those that it was made of")
    return frames > 0


def _as_integers(block: NDArray[np.float32], bits: int) -> bytes:
    """As FLAC's MD5 has them. libsndfile divided them by a power of two, so that no bit is lost."""
    integers = (block * 2.0 ** (bits - 1)).astype("<i4")
    return integers.view(np.uint8).reshape(-1, 4)[:, : bits // 8].tobytes()


def _with_ffmpeg(data: bytes, mono: Mono, told: Recognised | None) -> None:
    """Containers that libsndfile does not know (m4a, webm, amr), through PyAV's FFmpeg."""
    import av  # noqa: PLC0415 - 50 ms, and only for unusual containers

    listening: AbstractContextManager[list[Any]]
    listening = _complaints() if told is not None else nullcontext([])
    # A playlist's own files are opened by a protocol; these bytes are not.
    options = {"protocol_whitelist": ""}
    if told is not None:
        options["codec_whitelist"] = _CODECS
    try:
        with av.open(
            io.BytesIO(data),
            mode="r",
            format=told.container.demuxer if told is not None else None,
            options=options,
            metadata_errors="ignore",
        ) as container:
            if told is not None:
                _require_known_codec(container, mono.name)
            mono.begin(SAMPLE_RATE_HZ, 1)
            if told is not None and told.container.tells_length:
                mono.require_fits((container.duration or 0) * SAMPLE_RATE_HZ // av.time_base)
            resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE_HZ)
            # A frame is 20 ms or so: resampled one by one they would take longer than to decode.
            waiting = av.AudioFifo()
            with listening as complaints:
                for frame in container.decode(audio=0):
                    if complaints:
                        break
                    mono.require(frame.sample_rate, frame.layout.nb_channels)
                    frame.pts = None
                    waiting.write(frame)
                    if waiting.samples >= _BLOCK_FRAMES:
                        _resample(waiting.read(), resampler, mono)
                if waiting.samples:
                    _resample(waiting.read(), resampler, mono)
                _resample(None, resampler, mono)
    except MemoryError:
        raise
    except (av.FFmpegError, IndexError, ValueError) as error:
        if told is not None:
            raise damaged(mono.name, "it cannot be decoded") from error
        raise NotAudioError(
            f"'{mono.name}' ({len(data)} bytes) is in no format that libsndfile or FFmpeg reads. "
            "Convert it to WAV or FLAC first."
        ) from error
    if complaints:
        raise damaged(mono.name, "parts of it cannot be decoded")


def _resample(frame: Any, resampler: Any, mono: Mono) -> None:
    for piece in resampler.resample(frame):
        mono.add(piece.to_ndarray().T)


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


def _require_known_codec(container: Any, name: str) -> None:
    if not container.streams.audio:
        raise NotAudioError(f"'{name}' has no track of sound.")
    context = container.streams.audio[0].codec_context
    codec = context.name if context is not None else "an unknown codec"
    if codec not in _CODECS.split(","):
        raise UnsupportedAudioError(f"'{name}' is encoded with {codec}. Convert it to WAV or FLAC.")
