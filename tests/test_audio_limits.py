"""Files of somebody else: what is taken comes out as it does without limits, the rest is refused
for a reason that says what to do."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import soxr

from misheard import audio
from misheard.errors import (
    AudioDamagedError,
    AudioTooLongError,
    AudioTooShortError,
    MisheardError,
    NotAudioError,
    UnsupportedAudioError,
)
from tests.serving.malformed import playlists_of
from tests.serving.wellformed import encoded, sound, wellformed, written, written_of

LIMITS = audio.AudioLimits(max_duration_s=10)


@pytest.mark.parametrize("name", wellformed())
def test_a_recording_comes_out_as_it_does_without_limits(name: str) -> None:
    data = wellformed()[name]
    taken = audio.decode(data, limits=LIMITS)
    assert taken == audio.decode(data)
    assert np.array_equal(taken.samples, audio.decode(data).samples)
    assert taken.duration_s == pytest.approx(1.0, abs=0.1)
    assert taken.samples.std() == pytest.approx(0.15, abs=0.03)


LONG = {
    kind: written_of(sound(48_000, channels=2, seconds=9.3), kind, rate_hz=48_000)
    for kind in ("WAV", "FLAC", "OGG", "MP3")
}
OGG = {name: data for name, data in wellformed().items() if name.startswith("ogg")}


@pytest.mark.parametrize("data", [*LONG.values(), *OGG.values()], ids=[*LONG, *OGG])
def test_block_by_block_is_the_same_as_in_one_go(data: bytes) -> None:
    samples, rate_hz = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    mono = samples.mean(axis=1)
    at_once = soxr.resample(mono, rate_hz, 16_000) if rate_hz != 16_000 else mono
    assert np.array_equal(audio.decode(data, limits=LIMITS).samples, at_once)
    assert np.array_equal(audio.decode(data).samples, at_once)


@pytest.mark.parametrize(
    ("data", "kind", "told"),
    [
        (written_of(sound(8_000, seconds=10.1), "WAV", rate_hz=8_000), AudioTooLongError, "pieces"),
        (written_of(np.zeros(1_599), "WAV"), AudioTooShortError, r"0\.100 s long; at least 0\.1 s"),
        (written("WAV", channels=7), UnsupportedAudioError, "7 channels.*Mix it down"),
        (written("WAV", rate_hz=3_999), UnsupportedAudioError, "3999.*Resample it to 16000"),
        (written("WAV", rate_hz=192_001), UnsupportedAudioError, "192001.*Resample"),
        (
            written_of(sound(16_000) * 1e6, "WAV", "FLOAT"),
            UnsupportedAudioError,
            "Scale them to ±1",
        ),
        (written("WAV")[:-1_000], AudioDamagedError, "31000 are there. Send the whole file"),
        (written("OGG")[:-1_000], AudioDamagedError, "Send the whole file"),
        (written("NIST"), NotAudioError, "Convert it to WAV or FLAC"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_what_is_beyond_a_limit_is_refused_with_what_to_do(
    data: bytes, kind: type[MisheardError], told: str
) -> None:
    with pytest.raises(kind, match=rf"(?s)'call\.wav'.*{told}"):
        audio.decode(data, name="call.wav", limits=LIMITS)


def test_limits_themselves_are_taken() -> None:
    for samples, rate_hz in (
        (sound(8_000, seconds=10.0), 8_000),
        (np.zeros(1_600), 16_000),
        (sound(16_000, channels=6), 16_000),
        (sound(4_000), 4_000),
        (sound(192_000), 192_000),
    ):
        audio.decode(written_of(samples, "WAV", rate_hz=rate_hz), limits=LIMITS)


def test_no_file_that_a_playlist_names_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("speech.aac").write_bytes(wellformed()["aac"])
    lists = playlists_of("speech.aac")
    # FFmpeg itself would: these are no empty threats.
    for name, demuxer in (("ffconcat", None), ("hls", "hls")):
        with av.open(io.BytesIO(lists[name]), format=demuxer) as container:
            assert sum(frame.samples for frame in container.decode(audio=0)) > 16_000
    for path in ("speech.aac", str(tmp_path / "speech.aac")):
        for data in playlists_of(path).values():
            with pytest.raises(NotAudioError):
                audio.decode(data, limits=LIMITS)
            with pytest.raises(NotAudioError):
                audio.decode(data)


@pytest.mark.parametrize(
    "data",
    [
        wellformed()["mp3"] + b"TAG" + bytes(125),
        wellformed()["mp3"] + b"APETAGEX" + bytes(60),
        wellformed()["mp3"] + bytes(1_000),
        b"ID3\x04\x00\x00\x00\x00\x00\x0a" + bytes(10) + wellformed()["flac"],
        written_of(sound(16_000)[:15_999], "WAV", "ULAW").rstrip(b"\x00"),
        wellformed()["wav-pcm16"] + b"\r\n",
    ],
    ids=["id3v1", "ape", "padding", "flac-id3v2", "no-pad-byte", "line-end"],
)
def test_what_others_put_around_a_recording_does_no_harm(data: bytes) -> None:
    assert audio.decode(data, limits=LIMITS).duration_s == pytest.approx(1.0, abs=0.01)


def test_an_mp3_of_changing_bit_rate_needs_no_head_that_tells_its_length() -> None:
    samples = np.concatenate([np.zeros(32_000), sound(16_000, seconds=2)])
    buffer = io.BytesIO()
    soundfile.write(
        buffer, samples, 16_000, format="MP3", bitrate_mode="VARIABLE", compression_level=0.5
    )
    data = buffer.getvalue()
    first = data.index(data[:2], 4)
    assert b"Xing" in data[:first]
    clip = audio.decode(data[first:], limits=LIMITS)
    assert clip.duration_s == pytest.approx(4.0, abs=0.15)


def test_a_changed_bit_is_found_where_there_is_a_checksum() -> None:
    for name in ("flac", "flac-24", "ogg-vorbis", "ogg-opus", "ogg-opus-of-ffmpeg"):
        data = bytearray(wellformed()[name])
        data[len(data) * 2 // 3] ^= 1
        with pytest.raises(AudioDamagedError):
            audio.decode(bytes(data), limits=LIMITS)


def test_a_codec_that_is_not_listed_is_named() -> None:
    with pytest.raises(UnsupportedAudioError, match=r"mp2.*Convert it"):
        audio.decode(encoded("matroska", "mp2"), limits=LIMITS)
