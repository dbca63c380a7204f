from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from misheard import audio
from misheard.blobs.directory import DirectoryBlobs
from misheard.datasets.datasets import Datasets, Purpose
from misheard.datasets.manifest import Row
from misheard.datasets.quality import Quality
from misheard.datasets.samples import Sample, read_samples
from misheard.datasets.split import Split
from misheard.errors import (
    EmptyDatasetError,
    InvalidManifestError,
    InvalidTranscriptError,
    NotAudioError,
    UnknownIdError,
)

ON_BOTH_DATABASES = True

Tone = Callable[..., bytes]


@pytest.fixture
def rows(blobs: DirectoryBlobs, tone: Tone) -> list[Row]:
    made = []
    for number, split in enumerate([Split.TRAIN, Split.TRAIN, Split.VALIDATION, Split.TEST]):
        made.append(
            Row(
                audio_sha256=blobs.put_bytes(tone(hertz=300 + number)),
                reference=f"sentence {number} – “quoted”",
                split=split,
                kind="error" if number else "replay",
                speaker_group=f"call {number}",
                duration_s=0.1,
            )
        )
    return made


def test_a_version_is_kept_with_its_counts_and_found_again(
    datasets: Datasets, rows: list[Row]
) -> None:
    made = datasets.add("prompts", Purpose.TRAINING, rows)
    assert datasets.get(made.id) == made
    assert datasets.rows(made) == sorted(rows)
    assert made.counts == {"error": 3, "replay": 1, "test": 1, "train": 2, "validation": 1}
    assert made.duration_s == pytest.approx(0.4)


def test_the_same_rows_in_any_order_are_the_same_version(
    datasets: Datasets, rows: list[Row]
) -> None:
    first = datasets.add("prompts", Purpose.TRAINING, rows)
    again = datasets.add("prompts", Purpose.TRAINING, reversed(rows))
    assert again == first
    assert datasets.listed() == [first]


def test_one_changed_word_is_another_version_and_the_newest_is_the_latest(
    datasets: Datasets, rows: list[Row]
) -> None:
    first = datasets.add("prompts", Purpose.TRAINING, rows)
    changed = [replace(rows[0], reference="other"), *rows[1:]]
    second = datasets.add("prompts", Purpose.TRAINING, changed)
    assert second.id != first.id
    assert datasets.latest("prompts") == second
    assert datasets.latest("nothing") is None
    assert datasets.rows(first) == sorted(rows)


def test_an_empty_version_is_refused(datasets: Datasets) -> None:
    with pytest.raises(EmptyDatasetError, match="'prompts'"):
        datasets.add("prompts", Purpose.TRAINING, [])


def test_an_unknown_version_is_an_error(datasets: Datasets) -> None:
    with pytest.raises(UnknownIdError, match="ds-x"):
        datasets.get("ds-x")


def test_evaluation_rows_are_held_out_and_keep_their_audio(
    datasets: Datasets, blobs: DirectoryBlobs, rows: list[Row], tone: Tone
) -> None:
    datasets.add("prompts", Purpose.TRAINING, rows)
    data = tone(hertz=700)
    made = datasets.add_evaluation("held-out", [Sample(data=data, reference="press one")])
    (row,) = datasets.held_out_rows()
    assert (row.split, row.kind, row.reference) == (Split.TEST, "evaluation", "press one")
    assert row.speaker_group == row.audio_sha256
    assert blobs.get_bytes(row.audio_sha256) == data
    assert datasets.listed(purpose=Purpose.EVALUATION) == [made]


def test_one_bad_sample_and_no_evaluation_set_is_kept(
    datasets: Datasets, blobs: DirectoryBlobs, tone: Tone
) -> None:
    good = Sample(data=tone(), reference="press one")
    with pytest.raises(NotAudioError, match=r"bad\.wav"):
        datasets.add_evaluation("x", [good, Sample(data=b"x" * 99, reference="a", name="bad.wav")])
    with pytest.raises(InvalidTranscriptError):
        datasets.add_evaluation("x", [good, Sample(data=tone(), reference=None)])  # type: ignore[arg-type]
    assert datasets.listed() == []
    assert list(blobs) == []


def test_an_export_holds_every_split_and_its_audio(
    datasets: Datasets, rows: list[Row], tmp_path: Path
) -> None:
    target = tmp_path / "export"
    datasets.export(datasets.add("prompts", Purpose.TRAINING, rows), target)
    for split in Split:
        lines = (target / f"{split}.jsonl").read_text(encoding="utf-8").split("\n")
        found = [json.loads(line) for line in lines if line]
        expected = [row for row in sorted(rows) if row.split is split]
        assert [line["reference"] for line in found] == [row.reference for row in expected]
        assert [line["kind"] for line in found] == [row.kind for row in expected]
        for line, row in zip(found, expected, strict=True):
            assert audio.read(target / line["audio_path"]).sha256 == row.audio_sha256


def test_a_recording_that_stands_twice_can_be_exported(
    datasets: Datasets, tone: Tone, tmp_path: Path
) -> None:
    twice = [Sample(data=tone(), reference="one"), Sample(data=tone(), reference="one or two")]
    datasets.export(datasets.add_evaluation("held-out", twice), tmp_path / "export")
    lines = (tmp_path / "export" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2


def test_a_weight_stands_in_the_manifest_and_in_the_export(
    datasets: Datasets, rows: list[Row], tmp_path: Path
) -> None:
    weighted = [replace(rows[0], weight=2.236), *rows[1:]]
    made = datasets.add("prompts", Purpose.TRAINING, weighted)
    assert made.id != datasets.add("prompts", Purpose.TRAINING, rows).id
    assert datasets.rows(made) == sorted(weighted)
    datasets.export(made, tmp_path / "export")
    lines = [
        json.loads(line)
        for split in Split
        for line in (tmp_path / f"export/{split}.jsonl").read_text("utf-8").split("\n")
        if line
    ]
    weights = {line["reference"]: line["weight"] for line in lines}
    assert weights == {row.reference: row.weight for row in weighted}
    assert sorted(weights.values()) == [1.0, 1.0, 1.0, 2.236]


def test_only_the_test_split_of_a_training_set_tests_and_all_of_an_evaluation_set(
    datasets: Datasets, rows: list[Row], tone: Tone
) -> None:
    made = datasets.add("prompts", Purpose.TRAINING, rows)
    assert datasets.test_rows(made) == [row for row in rows if row.split is Split.TEST]
    samples = [Sample(data=tone(hertz=700 + n), reference=f"press {n}") for n in range(3)]
    held_out = datasets.add_evaluation("held-out", samples)
    assert datasets.test_rows(held_out) == datasets.rows(held_out)
    assert len(datasets.test_rows(held_out)) == 3


def test_the_quality_is_kept_with_a_training_set_and_an_evaluation_set_has_none(
    datasets: Datasets, rows: list[Row], tone: Tone
) -> None:
    quality = Quality(score=0.75, flaws={"too short": 1})
    made = datasets.add("prompts", Purpose.TRAINING, rows, quality=quality)
    assert datasets.get(made.id).quality == {"score": 0.75, "flaws": {"too short": 1}}
    held_out = datasets.add_evaluation("held-out", [Sample(data=tone(), reference="a")])
    assert datasets.get(held_out.id).quality == {}


@pytest.fixture
def clip(tmp_path: Path, tone: Tone) -> Path:
    path = tmp_path / "audio" / "one.wav"
    path.parent.mkdir()
    path.write_bytes(tone())
    return path


@pytest.mark.parametrize("key", ["reference", "text", "target_text"])
@pytest.mark.parametrize("shape", ["list", "samples", "jsonl"])
def test_samples_are_read_from_lists_objects_and_lines(
    tmp_path: Path, clip: Path, key: str, shape: str
) -> None:
    item = {"audio_path": "audio/one.wav", key: "press one", "speaker_group": "call 7"}
    path = tmp_path / ("list.jsonl" if shape == "jsonl" else "list.json")
    content = {"list": [item], "samples": {"samples": [item]}, "jsonl": item}[shape]
    path.write_text(json.dumps(content) + "\n", encoding="utf-8")
    (sample,) = read_samples(path)
    assert sample.data == clip.read_bytes()
    assert (sample.reference, sample.speaker_group) == ("press one", "call 7")


@pytest.mark.parametrize("separator", ["\u2028", "\x85"])
def test_a_line_may_hold_a_separator_that_is_no_line_break_in_json(
    tmp_path: Path, clip: Path, separator: str
) -> None:
    item = {"audio_path": "audio/one.wav", "reference": f"one{separator}two"}
    path = tmp_path / "list.jsonl"
    path.write_text(json.dumps(item, ensure_ascii=False) + "\n", encoding="utf-8")
    assert read_samples(path)[0].reference == f"one{separator}two"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no json", "list.json"),
        ("5", "no list of samples"),
        ('{"rows": []}', "no list of samples"),
        ("[5]", "sample 1"),
        ('[{"audio_path": 7}]', "sample 1"),
        ('[{"audio_path": "audio/one.wav"}]', "no 'reference'"),
    ],
)
def test_what_is_no_list_of_samples_is_refused(
    tmp_path: Path, clip: Path, content: str, message: str
) -> None:
    path = tmp_path / "list.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InvalidManifestError, match=message):
        read_samples(path)


def test_a_reference_of_the_wrong_type_and_a_missing_clip_are_refused(
    tmp_path: Path, clip: Path
) -> None:
    path = tmp_path / "list.json"
    path.write_text('[{"audio_path": "audio/one.wav", "text": 5}]', encoding="utf-8")
    with pytest.raises(InvalidTranscriptError, match="sample 1"):
        read_samples(path)
    path.write_text('[{"audio_path": "audio/two.wav", "text": "x"}]', encoding="utf-8")
    with pytest.raises(NotAudioError, match=r"two\.wav"):
        read_samples(path)


def test_a_missing_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidManifestError, match=r"nothing\.json"):
        read_samples(tmp_path / "nothing.json")
