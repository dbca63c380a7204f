"""Recordings with their references, in every form in which they are handed over."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from misheard import audio
from misheard.datasets.datasets import Datasets
from misheard.datasets.samples import parse_samples, read_samples
from misheard.errors import BadInputError, InvalidManifestError, NotAudioError

Tone = Callable[..., bytes]


@pytest.fixture
def clip(tmp_path: Path, tone: Tone) -> Path:
    path = tmp_path / "audio" / "one.wav"
    path.parent.mkdir()
    path.write_bytes(tone())
    return path


@pytest.mark.parametrize("key", ["audio_path", "audio"])
@pytest.mark.parametrize("kind", [str, Path])
def test_a_recording_may_be_a_path(clip: Path, key: str, kind: type) -> None:
    (sample,) = parse_samples([{key: kind(clip), "text": "press one"}])
    assert sample.data == clip.read_bytes()
    assert (sample.path, sample.array, sample.name) == (clip, None, str(clip))
    assert (sample.reference, sample.speaker_group) == ("press one", "")


def test_a_recording_may_be_bytes(clip: Path) -> None:
    (sample,) = parse_samples([{"audio": clip.read_bytes(), "reference": ""}])
    assert sample.data == clip.read_bytes()
    assert (sample.path, sample.array) == (None, None)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
@pytest.mark.parametrize("key", ["sampling_rate", "sample_rate"])
def test_a_recording_may_be_samples_at_their_rate(dtype: type, key: str) -> None:
    array = (8_000 * np.sin(np.arange(8_000))).astype(np.int16)
    if dtype is not np.int16:
        array = (array / 32_768).astype(dtype)
    (sample,) = parse_samples([{"audio": array, key: 8_000, "reference": "x"}])
    heard = audio.decode(sample.data)
    assert heard.duration_s == pytest.approx(1.0)
    assert sample.array is array
    assert sample.path is None


def test_samples_without_a_rate_are_taken_at_16_khz_and_a_list_will_do() -> None:
    (sample,) = parse_samples([{"audio": [0.0, 0.5, -0.5] * 1600, "reference": "x"}])
    heard = audio.decode(sample.data)
    assert heard.duration_s == pytest.approx(0.3)
    assert heard.samples[1] == pytest.approx(0.5, abs=1e-4)


def test_the_first_of_reference_text_and_target_text_counts(clip: Path) -> None:
    item = {"audio": clip, "target_text": "c", "text": "b", "reference": "a"}
    assert parse_samples([item])[0].reference == "a"
    del item["reference"]
    assert parse_samples([item])[0].reference == "b"


@pytest.mark.parametrize(
    ("group", "expected"), [(None, ""), ("", ""), ("call 7", "call 7"), (7, "7"), (0, "0")]
)
def test_a_group_is_a_name_and_none_is_none(clip: Path, group: object, expected: str) -> None:
    (sample,) = parse_samples([{"audio": clip, "text": "a", "speaker_group": group}])
    assert sample.speaker_group == expected


def test_samples_without_a_group_are_groups_of_their_own(
    datasets: Datasets, tmp_path: Path, tone: Tone
) -> None:
    """In JSON that is null, and all of them in one group would leave nothing to resample."""
    lines = []
    for number in range(3):
        (tmp_path / f"{number}.wav").write_bytes(tone(hertz=300 + number))
        lines.append({"audio_path": f"{number}.wav", "text": "a", "speaker_group": None})
    (tmp_path / "test.json").write_text(json.dumps({"samples": lines}), encoding="utf-8")
    made = datasets.add_evaluation("test", read_samples(tmp_path / "test.json"))
    assert len({row.speaker_group for row in datasets.rows(made)}) == 3


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_a_relative_path_is_looked_for_beside_the_file_and_then_here(
    tmp_path: Path, clip: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside, here = tmp_path / "lists", tmp_path
    beside.mkdir()
    item = {"audio_path": "audio/one.wav", "text": "a"}
    text = json.dumps(item) if suffix == ".jsonl" else json.dumps([item])
    (beside / f"list{suffix}").write_text(text, encoding="utf-8")
    monkeypatch.chdir(here)
    assert read_samples(beside / f"list{suffix}")[0].data == clip.read_bytes()
    (beside / "audio").mkdir()
    (beside / "audio/one.wav").write_bytes(b"nearer")
    assert read_samples(beside / f"list{suffix}")[0].data == b"nearer"


def test_blank_lines_are_no_samples_and_an_empty_list_is_empty(tmp_path: Path, clip: Path) -> None:
    line = json.dumps({"audio_path": str(clip), "text": "a"})
    path = tmp_path / "list.jsonl"
    path.write_text(f"\n{line}\n\n  \n{line}", encoding="utf-8")
    assert len(read_samples(path)) == 2
    path.write_text("", encoding="utf-8")
    assert read_samples(path) == []
    assert parse_samples([]) == []


@pytest.mark.parametrize(
    "item",
    [
        None,
        "one.wav",
        ["one.wav", "text"],
        {},
        {"reference": "a"},
        {"audio": None, "text": "a"},
        {"audio": [0.0] * 99},
        {"audio": {"array": [0.0]}, "text": "a"},
        {"audio": [], "text": "a"},
        {"audio": ["a", "b"], "text": "a"},
        {"audio": [0.0, float("nan")], "text": "a"},
        {"audio": np.zeros((2, 2, 2)), "text": "a"},
        {"audio": np.zeros(99, np.int64), "text": "a"},
        {"audio": np.zeros(99), "sampling_rate": 0, "text": "a"},
        {"audio": np.zeros(99), "sampling_rate": -1, "text": "a"},
        {"audio": np.zeros(99), "sampling_rate": "16k", "text": "a"},
        {"audio": np.zeros(99), "sampling_rate": None, "text": "a"},
        {"audio_path": "", "text": "a"},
        {"audio_path": "nothing.wav", "text": "a"},
        {"audio_path": 7, "text": "a"},
        {"audio": [0.0] * 99, "text": None},
        {"audio": [0.0] * 99, "text": 7},
        {"audio": [0.0] * 99, "text": "lone \ud800"},
        {"audio": [0.0] * 99, "text": "a", "speaker_group": "lone \ud800"},
    ],
    ids=ascii,
)
def test_what_is_no_sample_is_refused(item: Any) -> None:
    good = {"audio": [0.0] * 99, "text": "a"}
    with pytest.raises(BadInputError):
        parse_samples([good, item])


def test_the_error_says_which_sample_of_which_list(tmp_path: Path, clip: Path) -> None:
    path = tmp_path / "list.json"
    path.write_text(json.dumps([{"audio": str(clip), "text": "a"}, {"text": "a"}]))
    with pytest.raises(InvalidManifestError, match=r"list\.json', sample 2"):
        read_samples(path)
    with pytest.raises(NotAudioError, match="the evaluation set, sample 1"):
        parse_samples([{"audio": ["a"], "text": "a"}])


@pytest.mark.parametrize("data", [b"\xff\xfe", b"{", b'{"audio": 1}\n{', b"[1, 2"])
def test_a_damaged_list_is_refused(tmp_path: Path, data: bytes) -> None:
    for suffix in (".json", ".jsonl"):
        path = tmp_path / f"list{suffix}"
        path.write_bytes(data)
        with pytest.raises(InvalidManifestError, match="list"):
            read_samples(path)


def test_a_directory_is_no_list(tmp_path: Path) -> None:
    with pytest.raises(InvalidManifestError, match="directory"):
        read_samples(tmp_path)


def test_a_path_that_is_no_unicode_is_read(tmp_path: Path, tone: Tone) -> None:
    path = os.fsdecode(bytes(tmp_path) + b"/caf\xe9.wav")
    try:
        Path(path).write_bytes(tone())
    except OSError:
        pytest.skip("this file system wants Unicode")
    assert parse_samples([{"audio": path, "text": "a"}])[0].data == tone()
