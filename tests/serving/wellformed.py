"""Recordings as clients send them: one second of the same sound in every kind of file."""

from __future__ import annotations

import io
from functools import cache

import av
import numpy as np
import soundfile

SECONDS = 1.0


@cache
def wellformed() -> dict[str, bytes]:
    """By name; each is taken by a server."""
    wav = written("WAV")
    return {
        "wav-pcm16": wav,
        "wav-pcm24": written("WAV", "PCM_24"),
        "wav-float": written("WAV", "FLOAT"),
        "wav-mulaw-8k": written("WAV", "ULAW", rate_hz=8_000),
        "wav-alaw-8k": written("WAV", "ALAW", rate_hz=8_000),
        "wav-gsm-8k": written("WAV", "GSM610", rate_hz=8_000),
        "wav-adpcm": written("WAV", "MS_ADPCM"),
        "wav-stereo-48k": written("WAV", rate_hz=48_000, channels=2),
        "wav-extensible": written("WAVEX", channels=6),
        "wav-piped": encoded("wav", "pcm_s16le", piped=True),
        "wav-unclosed": wav[:4] + bytes(4) + wav[8:40] + bytes(4) + wav[44:],
        "wav-of-sox": wav[:4] + b"\x24\xf0\xff\x7f" + wav[8:40] + b"\x00\xf0\xff\x7f" + wav[44:],
        "wav-tagged": tagged(wav),
        "wav-g722": encoded("wav", "g722"),
        "aiff": written("AIFF"),
        "aiff-float": written("AIFF", "FLOAT"),
        "aiff-piped": encoded("aiff", "pcm_s16be", piped=True),
        "au": written("AU"),
        "au-mulaw-8k": written("AU", "ULAW", rate_hz=8_000),
        "au-piped": encoded("au", "pcm_s16be", piped=True),
        "caf": written("CAF"),
        "caf-of-ffmpeg": encoded("caf", "pcm_s16be"),
        "flac": written("FLAC"),
        "flac-24": written("FLAC", "PCM_24", rate_hz=48_000, channels=2),
        "flac-piped": encoded("flac", "flac", piped=True),
        "ogg-vorbis": written("OGG"),
        "ogg-opus": written("OGG", "OPUS", rate_hz=48_000),
        "ogg-opus-of-ffmpeg": encoded("ogg", "libopus", rate_hz=48_000),
        "mp3": written("MP3"),
        "mp3-stereo-44k": written("MP3", rate_hz=44_100, channels=2),
        "mp3-with-id3": encoded("mp3", "libmp3lame"),
        "mp3-piped": encoded("mp3", "libmp3lame", piped=True),
        "mp4-aac": encoded("mp4", "aac"),
        "mp4-aac-in-fragments": encoded("mp4", "aac", movflags="frag_keyframe+empty_moov"),
        "m4a-alac": encoded("ipod", "alac"),
        "webm-opus": encoded("webm", "libopus", rate_hz=48_000),
        "webm-opus-live": encoded("webm", "libopus", rate_hz=48_000, piped=True),
        "mkv-pcm": encoded("matroska", "pcm_s16le"),
        "aac": encoded("adts", "aac"),
        "amr": encoded("amr", "libopencore_amrnb", rate_hz=8_000),
        "mp4-film": film("mp4", "mpeg4", "aac"),
        "webm-film": film("webm", "libvpx", "libopus"),
        "gsm-8k": written("RAW", "GSM610", rate_hz=8_000),
    }


def sound(rate_hz: int, *, channels: int = 1, seconds: float = SECONDS) -> np.ndarray:
    """A chord that swells and a little noise, shape (n,) or (n, channels)."""
    times = np.arange(round(rate_hz * seconds)) / rate_hz
    chord = sum(np.sin(2 * np.pi * hertz * times) for hertz in (220.0, 370.0, 610.0))
    noise = np.random.default_rng(0).standard_normal(times.size)
    mono = 0.1 * (1 + np.sin(7 * times)) * chord + 0.01 * noise
    return mono if channels == 1 else np.stack([mono] * channels, axis=1)


def written(
    kind: str, coding: str | None = None, *, rate_hz: int = 16_000, channels: int = 1
) -> bytes:
    """As libsndfile writes it."""
    return written_of(sound(rate_hz, channels=channels), kind, coding, rate_hz=rate_hz)


def written_of(
    samples: np.ndarray, kind: str, coding: str | None = None, *, rate_hz: int = 16_000
) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format=kind, subtype=coding)
    return buffer.getvalue()


class Pipe(io.RawIOBase):
    """What a muxer writes into it stays as it is: there is no going back to the head."""

    def __init__(self) -> None:
        self.written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:
        self.written += data
        return len(data)


def encoded(
    muxer: str, codec: str, *, rate_hz: int = 16_000, piped: bool = False, **options: str
) -> bytes:
    """As FFmpeg writes it."""
    target = Pipe() if piped else io.BytesIO()
    options = {"fflags": "+bitexact"} | options
    with av.open(target, "w", format=muxer, options=options) as container:
        write_sound(container, container.add_stream(codec, rate=rate_hz, layout="mono"))
    return bytes(target.written) if isinstance(target, Pipe) else target.getvalue()


def film(muxer: str, video_codec: str, codec: str) -> bytes:
    """With black pictures."""
    target = io.BytesIO()
    with av.open(target, "w", format=muxer, options={"fflags": "+bitexact"}) as container:
        pictures = container.add_stream(video_codec, rate=10)
        pictures.width = pictures.height = 32
        stream = container.add_stream(codec, rate=48_000, layout="mono")
        for _ in range(10):
            picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))
            container.mux(pictures.encode(picture))
        container.mux(pictures.encode(None))
        write_sound(container, stream)
    return target.getvalue()


def write_sound(container: av.container.OutputContainer, stream: av.AudioStream) -> None:
    context, rate_hz = stream.codec_context, stream.rate
    samples = (sound(rate_hz)[None] * 32_767).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
    frame.sample_rate = rate_hz
    resampler = av.AudioResampler(
        format=context.format, layout="mono", rate=rate_hz, frame_size=context.frame_size
    )
    for piece in [*resampler.resample(frame), *resampler.resample(None), None]:
        container.mux(stream.encode(piece))


def tagged(wav: bytes) -> bytes:
    """With a chunk behind the sound, and one of odd length before it."""
    note = b"LIST\x05\x00\x00\x00hello\x00"
    size = int.from_bytes(wav[4:8], "little") + 2 * len(note)
    return wav[:4] + size.to_bytes(4, "little") + wav[8:36] + note + wav[36:] + note
