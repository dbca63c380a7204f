"""Is an artefact tried in a process of its own, and what is said of one that does not work?"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from misheard.blobs.directory import DirectoryBlobs
from misheard.gates.infrastructure import Infrastructure
from misheard.speech.whisper import DecodingOptions
from tests.conftest import Studio

pytestmark = pytest.mark.model


def infrastructure(studio: Studio, *, max_latency_s: float = 600.0) -> Infrastructure:
    return Infrastructure(
        studio.engine,
        DirectoryBlobs(studio.root / "blobs"),
        studio.registry,
        # What JSON has no word for must arrive in the other process as well.
        options=DecodingOptions(temperatures=(0.0, 0.2), prompt="Voicemail."),
        compute_type="int8",
        device="cpu",
        threads=1,
        max_latency_s=max_latency_s,
    )


def test_a_sound_model_is_loaded_and_transcribes_three_clips(studio: Studio) -> None:
    rows = studio.datasets.rows(studio.dataset)
    room = infrastructure(studio)
    made = room.check(studio.base.id, rows)
    assert made.passed, made.detail
    assert made.figures["load_s"] > 0
    clips: list[dict[str, Any]] = made.figures["clips"]
    lengths = sorted(row.duration_s for row in rows)
    wanted = [lengths[0], lengths[len(lengths) // 2], lengths[-1]]
    assert [clip["duration_s"] for clip in clips] == pytest.approx(wanted, abs=0.001)
    # Real words of real speech, so that really this model has listened.
    spoken = {row.reference.lower() for row in rows}
    assert any(clip["text"].strip(" .!").lower() in " ".join(spoken) for clip in clips)
    assert room.latest_of(studio.base.id) == made


def test_without_a_recording_silence_is_tried(studio: Studio) -> None:
    made = infrastructure(studio).check(studio.base.id, [])
    assert made.passed, made.detail
    assert [clip["duration_s"] for clip in made.figures["clips"]] == [1.0] * 3


def test_a_check_of_a_known_id_is_not_made_again(studio: Studio) -> None:
    room = infrastructure(studio)
    made = room.check(studio.base.id, [], check_id="check-of-a-cycle")
    assert room.check(studio.base.id, [], check_id="check-of-a-cycle") == made
    assert room.check(studio.base.id, []).id != made.id


def test_a_slow_artefact_is_refused(studio: Studio) -> None:
    made = infrastructure(studio, max_latency_s=0.001).check(studio.base.id, [])
    assert not made.passed
    assert "more than 0.001 s" in made.detail


@pytest.fixture
def damaged(studio: Studio, bundled: Path, tmp_path: Path) -> Callable[[str], str]:
    """A version whose file of this name is cut in half."""

    def make(name: str) -> str:
        folder = tmp_path / "damaged"
        shutil.copytree(bundled, folder)
        data = (folder / name).read_bytes()
        (folder / name).unlink()
        (folder / name).write_bytes(data[: len(data) // 2])
        made = studio.registry.register(folder, name="tiny", source="damaged", actor="ann")
        return made.id

    return make


@pytest.mark.parametrize("name", ["model.bin", "tokenizer.json"])
def test_an_artefact_that_does_not_load_is_refused_with_the_reason(
    studio: Studio, damaged: Callable[[str], str], name: str
) -> None:
    version_id = damaged(name)
    room = infrastructure(studio)
    made = room.check(version_id, [])
    assert not made.passed
    assert "does not work in a fresh process" in made.detail
    assert len(made.detail) > len("does not work in a fresh process (exit code 1): ")
    assert made.figures == {}
    assert room.latest_of(version_id) == made
