from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from misheard import audio
from misheard.errors import EmptyAudioError, InvalidSamplesError, NotAudioError

Wav = Callable[..., bytes]


def test_a_wav_is_decoded_to_16_khz_mono_and_named_by_its_bytes(tone: Wav) -> None:
    data = tone(seconds=0.5)
    clip = audio.decode(data)
    assert clip.samples.dtype == np.float32
    assert clip.samples.shape == (8_000,)
    assert clip.duration_s == 0.5
    assert clip.sha256 == audio.sha256_of(data)
    assert np.abs(clip.samples).max() == pytest.approx(0.4, abs=0.001)


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 44_100, 48_000])
def test_other_rates_are_resampled_and_keep_pitch_and_length(tone: Wav, rate_hz: int) -> None:
    clip = audio.decode(tone(seconds=1.0, hertz=1_000, rate_hz=rate_hz))
    assert clip.duration_s == pytest.approx(1.0, abs=0.002)
    spectrum = np.abs(np.fft.rfft(clip.samples))
    assert np.argmax(spectrum) / clip.duration_s == pytest.approx(1_000, abs=3)


def test_channels_are_averaged(wav: Wav) -> None:
    left, right = np.full(1_600, 0.5), np.full(1_600, -0.25)
    clip = audio.decode(wav(np.stack([left, right], axis=1)))
    assert clip.samples.shape == (1_600,)
    assert clip.samples == pytest.approx(0.125, abs=0.001)


def test_headerless_gsm_is_recognised_by_its_content(phone_prompts: list) -> None:
    prompt = next(p for p in phone_prompts if p.id == "vm-goodbye")
    assert audio.is_gsm(prompt.data)
    clip = audio.decode(prompt.data)
    assert clip.duration_s == pytest.approx(len(prompt.data) / 33 * 0.02)
    assert np.abs(clip.samples).max() > 0.1


def test_a_wav_is_not_taken_for_gsm(tone: Wav) -> None:
    assert not audio.is_gsm(tone())


def test_compressed_formats_decode_as_well(tone: Wav) -> None:
    import io  # noqa: PLC0415

    import soundfile  # noqa: PLC0415

    samples = audio.decode(tone(seconds=0.5)).samples
    for kind in ("FLAC", "OGG", "MP3"):
        buffer = io.BytesIO()
        soundfile.write(buffer, samples, 16_000, format=kind)
        assert audio.decode(buffer.getvalue()).duration_s == pytest.approx(0.5, abs=0.1), kind


def test_what_libsndfile_cannot_read_goes_through_ffmpeg(tone: Wav) -> None:
    import io  # noqa: PLC0415

    import av  # noqa: PLC0415

    samples = audio.decode(tone(seconds=0.5)).samples
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as container:
        stream = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray((samples[None] * 32_767).astype(np.int16), layout="mono")
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame) + stream.encode(None))
    clip = audio.decode(buffer.getvalue())
    assert clip.duration_s == pytest.approx(0.5, abs=0.01)
    assert np.abs(clip.samples).max() == pytest.approx(0.4, abs=0.01)


@pytest.mark.parametrize(
    "data",
    [
        b"this is no audio at all\n" * 20,
        b"<html><body>404 not found</body></html>",
        b"1\n00:00:01,000 --> 00:00:02,000\nhello\n\n",
        b"\x00",
        bytes(range(256)) * 40,
    ],
)
def test_what_is_no_audio_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(NotAudioError, match=r"'call\.wav'"):
        audio.decode(data, name="call.wav")


def test_random_bytes_are_refused() -> None:
    random = np.random.default_rng(0)
    for size in (1, 10, 44, 1_000, 100_000):
        with pytest.raises(NotAudioError):
            audio.decode(random.bytes(size))


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(EmptyAudioError, match="empty file"):
        audio.decode(b"")


def test_a_header_without_samples_is_refused(wav: Wav) -> None:
    with pytest.raises(EmptyAudioError, match="no samples"):
        audio.decode(wav(np.zeros(0)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_refused_and_counted(wav: Wav, bad: float) -> None:
    with pytest.raises(InvalidSamplesError, match="1 of 3 samples"):
        audio.decode(wav(np.array([0.0, bad, 0.0]), subtype="FLOAT"))


@pytest.mark.parametrize("size", [4, 20, 40])
def test_a_file_cut_inside_its_header_is_refused(tone: Wav, size: int) -> None:
    with pytest.raises(NotAudioError):
        audio.decode(tone()[:size])


def test_a_file_cut_after_its_header_gives_what_is_there(tone: Wav) -> None:
    data = tone(seconds=1.0)
    assert audio.decode(data[: 44 + 16_000]).duration_s == pytest.approx(0.5)


def test_a_header_with_a_rate_of_zero_is_refused(tone: Wav) -> None:
    data = bytearray(tone())
    data[24:28] = struct.pack("<I", 0)
    with pytest.raises(NotAudioError):
        audio.decode(bytes(data))


def test_a_clip_that_resampling_leaves_nothing_of_is_refused(wav: Wav) -> None:
    with pytest.raises(EmptyAudioError):
        audio.decode(wav(np.zeros(1), rate_hz=192_000))


def test_a_missing_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotAudioError, match="There is no file"):
        audio.read(tmp_path / "nothing.wav")


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotAudioError, match="cannot be read"):
        audio.read(tmp_path)


def test_arrays_become_audio_whose_hash_is_that_of_the_wav() -> None:
    samples = np.linspace(-1, 1, 1_600, dtype=np.float32)
    clip = audio.from_samples(samples, 16_000)
    assert clip.samples == pytest.approx(samples, abs=1e-4)
    assert clip.sha256 == audio.sha256_of(audio.encode_wav(samples, 16_000))


def test_16_bit_integers_are_taken_as_they_are() -> None:
    clip = audio.from_samples(np.array([0, 16_384, -16_384], np.int16), 16_000)
    assert clip.samples == pytest.approx([0.0, 0.5, -0.5])


def test_floats_beyond_one_are_clipped_not_wrapped() -> None:
    clip = audio.from_samples(np.array([0.0, 3.0, -3.0]), 16_000)
    assert clip.samples == pytest.approx([0.0, 1.0, -1.0], abs=1e-4)


@pytest.mark.parametrize(
    "samples",
    [
        ["a", "b"],
        [[1.0], [1.0, 2.0]],
        None,
        np.zeros(10, complex),
        np.zeros(10, bool),
        np.zeros(10, np.int32),
        np.zeros((2, 2, 2)),
        np.float32(0.0),
    ],
    ids=["text", "ragged", "none", "complex", "bool", "int32", "three-dimensional", "scalar"],
)
def test_arrays_of_the_wrong_kind_are_refused(samples: object) -> None:
    with pytest.raises(NotAudioError):
        audio.from_samples(samples, 16_000)


@pytest.mark.parametrize("dtype", [np.float16, np.longdouble])
def test_every_width_of_float_is_taken(dtype: type) -> None:
    clip = audio.from_samples(np.array([0.0, 0.5, -0.5], dtype), 16_000)
    assert clip.samples == pytest.approx([0.0, 0.5, -0.5], abs=1e-3)


@pytest.mark.parametrize("rate_hz", [0, -1])
def test_a_rate_that_cannot_be_is_refused(rate_hz: int) -> None:
    with pytest.raises(NotAudioError):
        audio.from_samples(np.zeros(100), rate_hz)


def test_channels_before_samples_are_refused() -> None:
    with pytest.raises(NotAudioError):
        audio.from_samples(np.zeros((2, 16_000)), 16_000)


def test_empty_and_nan_arrays_are_refused() -> None:
    with pytest.raises(EmptyAudioError):
        audio.from_samples(np.zeros((10, 0)), 16_000)
    with pytest.raises(InvalidSamplesError):
        audio.from_samples(np.array([np.nan]), 16_000)


def test_decoded_samples_cannot_be_changed_by_accident(tone: Wav) -> None:
    clip = audio.decode(tone())
    with pytest.raises(ValueError, match="read-only"):
        clip.samples[0] = 1.0
