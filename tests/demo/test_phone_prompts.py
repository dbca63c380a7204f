"""The shipped recordings: built again from the archive's own audio and transcripts."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from misheard import audio
from misheard.scoring.normalize import normalizer

ROOT = Path(__file__).parents[2]
ARCHIVE = ROOT / "src/misheard/demo/phone_prompts.zip"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = ROOT / "scripts/build_phone_prompts.py"
    spec = importlib.util.spec_from_file_location("build_phone_prompts", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def archive() -> Iterator[zipfile.ZipFile]:
    with zipfile.ZipFile(ARCHIVE) as opened:
        yield opened


@pytest.fixture(scope="module")
def manifest(archive: zipfile.ZipFile) -> list[dict[str, Any]]:
    return [json.loads(line) for line in archive.read("manifest.jsonl").decode().splitlines()]


@pytest.fixture(scope="module")
def by_id(manifest: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in manifest}


def test_the_manifest_is_what_the_script_builds(
    script: ModuleType, archive: zipfile.ZipFile, manifest: list[dict[str, Any]]
) -> None:
    clips = {
        name.removeprefix("audio/").removesuffix(".gsm"): archive.read(name)
        for name in archive.namelist()
        if name.startswith("audio/")
    }
    transcripts = script.parse_transcripts(archive.read("core-sounds-en.txt").decode())
    assert script.build_manifest(transcripts, clips) == manifest


def test_the_whole_archive_is_built_byte_for_byte(
    script: ModuleType, archive: zipfile.ZipFile, tmp_path: Path
) -> None:
    clips = {
        name.removeprefix("audio/").removesuffix(".gsm"): archive.read(name)
        for name in archive.namelist()
        if name.startswith("audio/")
    }
    text, terms = (archive.read(name).decode() for name in ("core-sounds-en.txt", "LICENSE.txt"))
    script.write_zip(tmp_path / "again.zip", text, terms, clips)
    with zipfile.ZipFile(tmp_path / "again.zip") as again:
        assert again.namelist() == archive.namelist()
        # Deflate may differ between zlib versions; the contents may not.
        for name in archive.namelist():
            assert again.read(name) == archive.read(name), name


def test_there_are_568_clips_of_25_minutes(manifest: list[dict[str, Any]]) -> None:
    assert len(manifest) == 568
    assert sum(row["duration_s"] for row in manifest) / 60 == pytest.approx(25, abs=1)
    assert ARCHIVE.stat().st_size < 3_000_000


def test_every_clip_has_its_hash_and_its_length(
    archive: zipfile.ZipFile, manifest: list[dict[str, Any]]
) -> None:
    for row in manifest:
        data = archive.read(row["file"])
        assert hashlib.sha256(data).hexdigest() == row["sha256"]
        # GSM 06.10: a frame of 33 bytes is 20 ms.
        assert row["duration_s"] == pytest.approx(len(data) / 33 * 0.02, abs=0.001)
    assert len({row["id"] for row in manifest}) == 568


def test_clips_decode_to_their_length(
    archive: zipfile.ZipFile, manifest: list[dict[str, Any]]
) -> None:
    for row in manifest[::40]:
        clip = audio.decode(archive.read(row["file"]))
        assert clip.duration_s == pytest.approx(row["duration_s"], abs=0.001)


def test_no_sentence_stands_in_two_splits(manifest: list[dict[str, Any]]) -> None:
    normalize = normalizer("whisper-english")
    splits: dict[str, set[str]] = {}
    for row in manifest:
        if sentence := normalize(row["reference"]):
            splits.setdefault(sentence, set()).add(row["split"])
    assert {sentence: found for sentence, found in splits.items() if len(found) > 1} == {}


def test_the_test_split_is_large(manifest: list[dict[str, Any]]) -> None:
    counts = Counter(row["split"] for row in manifest)
    assert counts["train"] / 568 == pytest.approx(0.5, abs=0.05)
    assert counts["validation"] / 568 == pytest.approx(0.1, abs=0.03)
    assert counts["test"] / 568 == pytest.approx(0.4, abs=0.05)


@pytest.mark.parametrize(
    ("clip", "reference"),
    [
        (
            "dictate/both_help",
            "press star to toggle pause, press pound to enter a new dictation filename",
        ),
        ("letters/at", "at"),
        ("letters/dot", "dot"),
        ("letters/space", "space"),
        ("letters/exclaimation-point", "exclaimation-point"),
        ("spy-iax2", "IAX"),
        ("silence/3", ""),
        ("beep", ""),
        ("ascending-2tone", ""),
        ("confbridge-join", ""),
        ("tt-monkeys", ""),
        (
            "vm-intro",
            "Please leave your message after the tone. When done hang up or press the pound key.",
        ),
    ],
)
def test_references_are_what_is_said(
    by_id: dict[str, dict[str, Any]], clip: str, reference: str
) -> None:
    row = by_id[clip]
    assert row["reference"] == reference
    assert row["kind"] == ("speech" if reference else "non_speech")


@pytest.mark.parametrize(
    ("transcript", "reference"),
    [
        ("press * or #", "press star or pound"),
        ("at [@]", "at"),
        ("[ascending tones]", ""),
        ("(2 seconds of silence)", ""),
        ("<beep ascending>", ""),
        ("please hold .", "please hold"),
        ("then , press", "then, press"),
        ("Press ...", "Press ..."),
    ],
)
def test_the_rules_for_transcripts(script: ModuleType, transcript: str, reference: str) -> None:
    assert script.reference_of(transcript) == reference


def test_clips_without_speech_are_kept(manifest: list[dict[str, Any]]) -> None:
    silent = [row["id"] for row in manifest if row["kind"] == "non_speech"]
    assert len(silent) == 17
    assert {f"silence/{number}" for number in range(1, 11)} <= set(silent)
    assert all((row["reference"] == "") == (row["kind"] == "non_speech") for row in manifest)


def test_the_three_clips_over_30_s_are_kept(manifest: list[dict[str, Any]]) -> None:
    long = {row["id"]: round(row["duration_s"]) for row in manifest if row["duration_s"] > 30}
    assert long == {"demo-congrats": 30, "priv-callee-options": 31, "demo-instruct": 73}


def test_a_clip_without_a_transcript_stops_the_build(script: ModuleType) -> None:
    with pytest.raises(SystemExit, match="surprise"):
        script.build_manifest({}, {"surprise": b""})


def test_attribution_and_licence_lie_inside_and_beside_the_archive(
    archive: zipfile.ZipFile,
) -> None:
    beside = ARCHIVE.with_name("PHONE_PROMPTS_LICENSE.txt").read_text(encoding="utf-8")
    for text in (beside, archive.read("ATTRIBUTION.txt").decode()):
        assert "Allison Smith" in text
        assert "Digium" in text
        assert "ShareAlike 3.0" in text
    assert archive.read("LICENSE.txt").decode() in beside
