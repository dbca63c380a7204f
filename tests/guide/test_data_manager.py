from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from misheard.errors import (
    BadInputError,
    InvalidTranscriptError,
    NoBucketError,
    NotAudioError,
)
from src.data.data_manager import DataManager, FailedCase
from tests.guide.conftest import sentence

Fill = Callable[..., list[str]]
Clip = Callable[[int], str]


def test_a_failed_case_is_kept_with_all_that_was_given(data: DataManager, clip: Clip) -> None:
    case_id = data.store_failed_case(
        audio_path=clip(1),
        original_transcript="stay hear",
        corrected_transcript="stay here",
        error_types=["homophone"],
        error_score=0.7,
        metadata={"call": 17},
    )
    case = data.get_failed_case(case_id)
    assert case is not None
    assert datetime.fromisoformat(case.timestamp).tzinfo is not None
    assert case == FailedCase(
        case_id=case_id,
        audio_path=clip(1),
        original_transcript="stay hear",
        corrected_transcript="stay here",
        error_types=["homophone", "substitution"],
        error_score=0.7,
        metadata={"call": 17},
        timestamp=case.timestamp,
    )


def test_a_case_needs_no_more_than_its_audio_and_transcript(data: DataManager, clip: Clip) -> None:
    case = data.get_failed_case(data.store_failed_case(clip(1), "stay"))
    assert case is not None
    assert (case.corrected_transcript, case.error_types) == (None, [])
    assert (case.error_score, case.metadata) == (None, {})


def test_a_score_that_was_not_given_is_measured_once_it_is_corrected(
    data: DataManager, clip: Clip
) -> None:
    case = data.get_failed_case(data.store_failed_case(clip(1), "stay", "stay here"))
    assert case is not None
    assert case.error_score == 0.5


def test_a_case_survives_the_way_through_a_dict(data: DataManager, fill: Fill) -> None:
    case = data.get_failed_case(fill([3], error_types=["noise"], metadata={"a": [1]})[0])
    assert case is not None
    values = case.to_dict()
    assert set(values) == {
        "case_id",
        "audio_path",
        "original_transcript",
        "corrected_transcript",
        "error_types",
        "error_score",
        "metadata",
        "timestamp",
    }
    assert FailedCase.from_dict(values) == case


def test_the_audio_is_copied_so_that_the_original_may_go(data: DataManager, clip: Clip) -> None:
    content = Path(clip(1)).read_bytes()
    data.store_failed_case(clip(1), "stay")
    Path(clip(1)).unlink()
    kept = [path for path in (data.workspace.root / "blobs").rglob("*") if path.is_file()]
    assert content in [path.read_bytes() for path in kept]


def test_a_correction_makes_an_open_case_a_corrected_one(data: DataManager, fill: Fill) -> None:
    first, second = fill([1, 2], corrected=False)
    assert data.store_correction(first, sentence(1), "expert", metadata={"by": "ann"}) is True
    assert [case.case_id for case in data.get_corrected_cases()] == [first]
    assert [case.case_id for case in data.get_uncorrected_cases()] == [second]
    corrected = data.get_failed_case(first)
    assert corrected is not None
    assert corrected.corrected_transcript == sentence(1)


def test_the_newest_correction_counts_and_the_earlier_one_stays(
    data: DataManager, fill: Fill
) -> None:
    (case_id,) = fill([1], corrected=False)
    for text in ("stay hear", "stay here"):
        data.store_correction(case_id, text)
    case = data.get_failed_case(case_id)
    assert case is not None
    assert case.corrected_transcript == "stay here"
    frame = data.export_corrections_to_dataframe()
    assert list(frame["corrected_transcript"]) == ["stay here", "stay hear"]


def test_an_unknown_case_is_none_and_cannot_be_corrected(
    data: DataManager, caplog: pytest.LogCaptureFixture
) -> None:
    assert data.get_failed_case("case-x") is None
    assert data.store_correction("case-x", "hello") is False
    assert "case-x" in caplog.text


def test_cases_are_found_by_their_type_of_error(data: DataManager, fill: Fill) -> None:
    (noisy,) = fill([1], corrected=False, error_types=["noise"])
    (accent,) = fill([2], error_types=["accent"])
    assert [case.case_id for case in data.get_failed_cases_by_error_type("noise")] == [noisy]
    assert [case.case_id for case in data.get_failed_cases_by_error_type("deletion")] == [accent]
    assert data.get_failed_cases_by_error_type("nothing") == []


def test_statistics_of_an_empty_store_are_zeros(data: DataManager) -> None:
    assert data.get_statistics() == {
        "total_failed_cases": 0,
        "corrected_cases": 0,
        "uncorrected_cases": 0,
        "correction_rate": 0.0,
        "error_type_distribution": {},
        "total_corrections": 0,
        "last_updated": None,
    }


def test_statistics_count_cases_and_corrections(data: DataManager, fill: Fill) -> None:
    (first, *_) = fill([1, 2, 3], error_types=["noise"])
    fill([4], corrected=False)
    data.store_correction(first, "stay there")
    found = data.get_statistics()
    assert datetime.fromisoformat(found.pop("last_updated")).tzinfo is not None
    assert found == {
        "total_failed_cases": 4,
        "corrected_cases": 3,
        "uncorrected_cases": 1,
        "correction_rate": 0.75,
        "error_type_distribution": {"noise": 3, "deletion": 3},
        "total_corrections": 4,
    }


def test_tables_have_a_row_for_each_case_and_each_correction(data: DataManager, fill: Fill) -> None:
    corrected, uncorrected = fill([1])[0], fill([2], corrected=False)[0]
    frame = data.export_to_dataframe()
    assert list(frame.columns) == list(FailedCase.__dataclass_fields__)
    assert set(frame["case_id"]) == {corrected, uncorrected}
    corrections = data.export_corrections_to_dataframe()
    assert list(corrections.columns) == [
        "case_id",
        "corrected_transcript",
        "correction_method",
        "author",
        "metadata",
        "timestamp",
    ]
    assert list(corrections["case_id"]) == [corrected]


def test_tables_of_an_empty_store_have_their_columns(data: DataManager) -> None:
    assert "case_id" in data.export_to_dataframe().columns
    assert "case_id" in data.export_corrections_to_dataframe().columns
    assert len(data.export_to_dataframe()) == 0


def test_everything_is_forgotten_only_when_it_is_confirmed(data: DataManager, fill: Fill) -> None:
    fill([1, 2])
    assert data.clear_all_data() is False
    assert data.get_statistics()["total_failed_cases"] == 2
    assert data.clear_all_data(confirm=True) is True
    assert data.get_statistics()["total_failed_cases"] == 0
    assert data.get_statistics()["total_corrections"] == 0


def test_there_is_nothing_to_fetch_from_a_bucket_without_one(data: DataManager) -> None:
    with pytest.raises(NoBucketError):
        data.sync_from_gcs()


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"audio_path": "/no/such.wav"}, NotAudioError, "such.wav"),
        ({"audio_path": __file__}, NotAudioError, "test_data_manager"),
        ({"original_transcript": None}, InvalidTranscriptError, "NoneType"),
        ({"original_transcript": 7}, InvalidTranscriptError, "int"),
        ({"corrected_transcript": ["a"]}, InvalidTranscriptError, "list"),
        ({"error_score": float("nan")}, BadInputError, "nan"),
        ({"error_score": 1.01}, BadInputError, "1.01"),
        ({"error_score": -0.1}, BadInputError, "-0.1"),
        ({"error_score": "high"}, BadInputError, "high"),
        ({"error_types": "noise"}, BadInputError, "noise"),
        ({"error_types": [3]}, InvalidTranscriptError, "int"),
        ({"metadata": ["a"]}, BadInputError, "mapping"),
        ({"metadata": {"at": object()}}, BadInputError, "JSON"),
        ({"metadata": {"at": float("nan")}}, BadInputError, "JSON"),
    ],
)
def test_a_bad_case_is_refused_with_its_reason_and_changes_no_row(
    data: DataManager,
    fill: Fill,
    clip: Clip,
    everything: Callable[[], Any],
    given: dict[str, Any],
    error: type[Exception],
    says: str,
) -> None:
    fill([1])
    before = everything()
    good = {"audio_path": clip(2), "original_transcript": "a", "error_score": 0.5}
    with pytest.raises(error, match=says):
        data.store_failed_case(**good | given)
    assert everything() == before


@pytest.mark.parametrize("text", [None, 3, "a\0b"])
def test_a_bad_correction_is_refused_and_changes_no_row(
    data: DataManager, fill: Fill, everything: Callable[[], Any], text: Any
) -> None:
    (case_id,) = fill([1])
    before = everything()
    with pytest.raises(InvalidTranscriptError):
        data.store_correction(case_id, text)
    assert everything() == before
