from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from misheard.errors import (
    BadInputError,
    EmptyDatasetError,
    InvalidManifestError,
    InvalidSettingError,
    MisheardError,
)
from src.data.model_validator import ModelValidator, ValidationConfig, ValidationResult
from tests.guide.conftest import LENIENT, Hear, hears, misses, rows, sentence, tone_of

Samples = Callable[..., list[dict[str, Any]]]
Judge = Callable[..., ValidationResult]

RESULT = {
    "model_id",
    "baseline_id",
    "model_wer",
    "model_cer",
    "baseline_wer",
    "baseline_cer",
    "wer_improvement",
    "cer_improvement",
    "is_significant",
    "p_value",
    "num_samples",
    "per_sample_results",
    "validation_set",
    "timestamp",
    "passed",
    "failure_reason",
    "failed_samples",
}


@pytest.fixture
def judge(root: Path, samples: Samples) -> Judge:
    """Compare on ten clips of two words, by lenient rules but for what is given."""

    def make(model: Hear, baseline: Hear, **changed: Any) -> ValidationResult:
        found = changed.pop("evaluation_set", None) or samples()
        validator = ModelValidator(dataclasses.replace(LENIENT, **changed), storage_dir=root)
        return validator.validate_model("new", model, "old", baseline, evaluation_set=found)

    return make


def test_the_defaults_are_those_of_the_guide() -> None:
    assert ValidationConfig().to_dict() == {
        "min_wer_improvement": 0.0,
        "min_cer_improvement": 0.0,
        "require_significance": True,
        "significance_alpha": 0.05,
        "max_wer_degradation_rate": 0.1,
        "require_no_major_degradation": True,
    }


@pytest.mark.parametrize(
    "changed",
    [
        {"significance_alpha": 0.0},
        {"significance_alpha": float("nan")},
        {"max_wer_degradation_rate": 2.0},
        {"min_wer_improvement": "much"},
    ],
)
def test_a_config_that_cannot_be_is_refused(root: Path, changed: dict[str, Any]) -> None:
    with pytest.raises(InvalidSettingError):
        ModelValidator(dataclasses.replace(LENIENT, **changed), storage_dir=root)


def test_a_result_has_both_sides_and_every_sample(judge: Judge) -> None:
    found = judge(misses([9]), misses(range(4)))
    assert set(found.to_dict()) == RESULT
    assert (found.model_id, found.baseline_id, found.num_samples) == ("new", "old", 10)
    assert (found.model_wer, found.baseline_wer) == (0.05, 0.2)
    assert found.wer_improvement == pytest.approx(0.15)
    assert found.cer_improvement == pytest.approx(found.baseline_cer - found.model_cer)
    assert found.baseline_cer > found.model_cer > 0
    assert 0 < found.p_value < 1
    assert (found.passed, found.failure_reason) == (True, None)
    assert len(found.per_sample_results) == 10
    assert [one["reference"] for one in found.failed_samples] == [sentence(9)]
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize(("least", "passes"), [(0.0, True), (0.15, True), (0.2, False)])
def test_the_wer_must_improve_by_more_than_is_wanted(
    judge: Judge, least: float, passes: bool
) -> None:
    found = judge(hears(), misses(range(4)), min_wer_improvement=least)
    assert found.passed is passes
    assert (found.failure_reason is None) is passes


def test_a_model_that_is_only_as_good_is_refused(judge: Judge) -> None:
    found = judge(misses([1]), misses([2]))
    assert found.passed is False
    assert "no improvement" in str(found.failure_reason)


@pytest.mark.parametrize(("least", "passes"), [(-1.0, True), (0.0, False)])
def test_the_cer_must_not_improve_by_less_than_is_wanted(
    judge: Judge, least: float, passes: bool
) -> None:
    """Four words with a letter too many, against a single one that is all wrong."""
    baseline = hears({number: sentence(number) + "s" for number in range(4)})
    found = judge(hears({9: "stay " + "x" * 40}), baseline, min_cer_improvement=least)
    assert found.wer_improvement > 0 > found.cer_improvement
    assert found.passed is passes
    assert ("CER" in str(found.failure_reason)) is not passes


@pytest.mark.parametrize(("required", "passes"), [(False, True), (True, False)])
def test_an_improvement_by_chance_counts_only_where_chance_may_decide(
    judge: Judge, required: bool, passes: bool
) -> None:
    found = judge(hears(), misses([1, 2, 3]), require_significance=required)
    assert (found.passed, found.is_significant) == (passes, False)
    # Three coins that fall the same way.
    assert found.p_value == pytest.approx(0.25)
    assert ("more test words would settle it" in str(found.failure_reason)) is not passes


@pytest.mark.parametrize(("alpha", "passes"), [(0.05, False), (0.5, True)])
def test_what_chance_is_follows_alpha(judge: Judge, alpha: float, passes: bool) -> None:
    found = judge(hears(), misses([1, 2, 3]), require_significance=True, significance_alpha=alpha)
    assert (found.passed, found.is_significant) == (passes, passes)


@pytest.mark.parametrize(("rate", "passes"), [(0.2, True), (0.1, False)])
def test_only_so_many_samples_may_get_worse(judge: Judge, rate: float, passes: bool) -> None:
    found = judge(misses([8, 9]), misses(range(5)), max_wer_degradation_rate=rate)
    assert found.passed is passes
    assert ("2 of 10 utterances" in str(found.failure_reason)) is not passes


@pytest.mark.parametrize(("required", "passes"), [(False, True), (True, False)])
def test_no_group_may_get_worse_where_that_is_asked_for(
    judge: Judge, samples: Samples, required: bool, passes: bool
) -> None:
    """Ann loses a word in each of 16 clips; Bob gains one in each of 30."""
    sets = samples(range(16), speaker_group="ann") + samples(range(20, 50), speaker_group="bob")
    found = judge(
        misses(range(16)),
        misses(range(20, 50)),
        evaluation_set=sets,
        require_no_major_degradation=required,
    )
    assert found.wer_improvement > 0
    assert found.passed is passes
    assert ("worse by more than chance on ann" in str(found.failure_reason)) is not passes


def refuses() -> str:
    raise ValueError("this engine is down")


@pytest.mark.parametrize("answer", [refuses, None, 17, {"text": "stay here"}])
def test_a_sample_that_a_model_fails_on_counts_against_it(judge: Judge, answer: Any) -> None:
    found = judge(hears({1: answer}), hears())
    assert (found.num_samples, found.model_wer, found.baseline_wer) == (10, 0.1, 0.0)
    (failed,) = found.failed_samples
    assert (failed["reference"], failed["candidate"]) == (sentence(1), "")
    assert failed["candidate_error"]
    if answer is refuses:
        assert "this engine is down" in failed["candidate_error"]


def test_a_baseline_that_fails_has_its_failures_held_against_itself(judge: Judge) -> None:
    found = judge(hears(), hears({1: refuses}))
    assert (found.baseline_wer, found.model_wer, found.failed_samples) == (0.1, 0.0, [])


def test_a_model_that_answers_in_dicts_is_heard_as_well(judge: Judge) -> None:
    def transcribe(source: Any) -> dict[str, Any]:
        return {"transcript": sentence(tone_of(source)), "confidence": 0.9}

    assert judge(transcribe, misses([1])).model_wer == 0.0


def test_a_model_is_given_the_paths_of_the_set_itself(
    judge: Judge, samples: Samples, clip: Callable[[int], str]
) -> None:
    given = []

    def transcribe(source: Any) -> str:
        given.append(source)
        return "stay here"

    judge(transcribe, hears(), evaluation_set=samples([1, 2]))
    assert given == [clip(1), clip(2)]


def test_samples_may_be_arrays_and_are_given_as_arrays(
    judge: Judge, clip: Callable[[int], str]
) -> None:
    arrays = [soundfile.read(clip(number), dtype="float32")[0] for number in (1, 2)]
    given = []

    def transcribe(source: Any) -> str:
        given.append(source)
        return sentence(tone_of(source))

    sets = [
        {"audio": array, "reference": sentence(number)}
        for number, array in enumerate(arrays, start=1)
    ]
    assert judge(transcribe, misses([1]), evaluation_set=sets).model_wer == 0.0
    assert all(np.array_equal(one, array) for one, array in zip(given, arrays, strict=True))


@pytest.mark.parametrize("key", ["reference", "text", "target_text"])
@pytest.mark.parametrize("source", ["audio_path", "audio"])
def test_a_sample_may_call_its_parts_by_any_of_the_names(
    judge: Judge, clip: Callable[[int], str], key: str, source: str
) -> None:
    found = judge(hears(), hears(), evaluation_set=[{source: clip(1), key: sentence(1)}])
    assert (found.num_samples, found.model_wer) == (1, 0.0)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("test.jsonl", lambda found: "\n".join(map(json.dumps, found))),
        ("test.json", json.dumps),
        ("test.json", lambda found: json.dumps({"samples": found})),
    ],
)
def test_a_set_may_be_a_file(
    root: Path, tmp_path: Path, samples: Samples, name: str, write: Callable[[Any], str]
) -> None:
    path = tmp_path / name
    path.write_text(write(samples(range(4))), encoding="utf-8")
    for validator, told in (
        (ModelValidator(LENIENT, storage_dir=root), {"evaluation_set_path": path}),
        (ModelValidator(LENIENT, evaluation_data_path=str(path), storage_dir=root), {}),
    ):
        found = validator.validate_model("new", hears(), "old", misses([1]), **told)
        assert (found.num_samples, found.passed) == (4, True)


def test_the_set_of_a_call_wins_over_that_of_the_validator(
    root: Path, tmp_path: Path, samples: Samples
) -> None:
    path = tmp_path / "test.json"
    path.write_text(json.dumps(samples(range(4))), encoding="utf-8")
    validator = ModelValidator(LENIENT, evaluation_data_path=path, storage_dir=root)
    found = validator.validate_model("n", hears(), "o", hears(), evaluation_set=samples([7]))
    assert found.num_samples == 1


def test_with_no_set_given_what_is_held_out_decides(
    coordinate: Callable[..., Any],
) -> None:
    validator = coordinate().validator
    found = validator.validate_model("new", hears(), "old", misses(range(50, 55)))
    assert (found.num_samples, found.baseline_wer, found.passed) == (10, 0.25, True)


def test_with_nothing_held_out_an_error_says_what_to_do(root: Path) -> None:
    with pytest.raises(EmptyDatasetError, match="hold-out"):
        ModelValidator(storage_dir=root).validate_model("new", hears(), "old", hears())
    assert rows(root, "SELECT count(*) FROM validations") == [(0,)]


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"evaluation_set": []}, EmptyDatasetError),
        ({"evaluation_set": ["a.wav"]}, InvalidManifestError),
        ({"evaluation_set": [{"audio_path": "gone.wav", "text": "a"}]}, MisheardError),
        ({"evaluation_set": [{"text": "a"}]}, InvalidManifestError),
        ({"evaluation_set_path": "gone.jsonl"}, InvalidManifestError),
    ],
)
def test_a_set_that_cannot_be_read_is_an_error_and_keeps_no_verdict(
    root: Path, given: dict[str, Any], error: type[Exception]
) -> None:
    validator = ModelValidator(LENIENT, storage_dir=root)
    with pytest.raises(error):
        validator.validate_model("new", hears(), "old", hears(), **given)
    assert rows(root, "SELECT count(*) FROM validations") == [(0,)]


def test_the_set_has_the_name_that_it_is_given(root: Path, samples: Samples) -> None:
    validator = ModelValidator(LENIENT, storage_dir=root)
    given = ("new", hears(), "old", hears(), samples())
    assert validator.validate_model(*given).validation_set == "default"
    named = validator.validate_model(*given, validation_set_name="menus")
    assert named.validation_set == "menus"


def test_several_models_are_compared_with_one_baseline(root: Path, samples: Samples) -> None:
    validator = ModelValidator(LENIENT, storage_dir=root)
    models = [
        {"model_id": "better", "transcribe_fn": hears()},
        {"model_id": "worse", "transcribe_fn": misses(range(9))},
    ]
    baseline = {"model_id": "old", "transcribe_fn": misses(range(3))}
    found = validator.compare_multiple_models(models, baseline, samples())
    assert [(one.model_id, one.baseline_id, one.passed) for one in found] == [
        ("better", "old", True),
        ("worse", "old", False),
    ]


def test_the_best_model_is_the_one_with_the_lowest_rate(root: Path, samples: Samples) -> None:
    validator = ModelValidator(
        dataclasses.replace(LENIENT, min_cer_improvement=-1.0), storage_dir=root
    )
    assert validator.get_best_model() is None
    longer = hears({1: "stay " + "x" * 40})
    for name, model, baseline in (
        ("few words", longer, misses(range(5))),
        ("few letters", misses([1, 2]), misses(range(5))),
        ("refused", hears(), hears()),
    ):
        validator.validate_model(name, model, "old", baseline, samples())
    assert validator.get_best_model().model_id == "few words"
    assert validator.get_best_model(metric="cer").model_id == "few letters"
    assert validator.get_best_model(only_passed=False).model_id == "refused"
    with pytest.raises(BadInputError, match="ser"):
        validator.get_best_model("ser")


def test_a_verdict_is_there_after_a_reopen(root: Path, judge: Judge) -> None:
    found = judge(hears(), misses([1]))
    assert ModelValidator(LENIENT, storage_dir=root).get_best_model() == found


def test_a_set_without_a_word_has_no_rates_and_does_not_pass(
    judge: Judge, clip: Callable[[int], str]
) -> None:
    found = judge(hears({1: ""}), hears(), evaluation_set=[{"audio_path": clip(1), "text": ""}])
    assert math.isnan(found.model_wer)
    assert (found.passed, found.num_samples) == (False, 1)


def test_the_report_of_an_empty_store_has_every_key(root: Path) -> None:
    found = ModelValidator(storage_dir=root).generate_validation_report()
    assert isinstance(found.pop("generated_at"), str)
    assert "min_wer_improvement" in found.pop("config")
    assert found == {
        "total_validations": 0,
        "passed_validations": 0,
        "failed_validations": 0,
        "recent_validations": [],
        "best_wer_model": None,
        "best_cer_model": None,
    }


def test_the_report_tells_of_verdicts_in_a_file_and_on_a_page(
    root: Path, tmp_path: Path, judge: Judge
) -> None:
    judge(hears(), misses([1]))
    judge(misses([1]), hears())
    path = tmp_path / "reports" / "validation.json"
    found = ModelValidator(LENIENT, storage_dir=root).generate_validation_report(path)
    assert found["total_validations"] == 2
    assert (found["passed_validations"], found["failed_validations"]) == (1, 1)
    assert [one["passed"] for one in found["recent_validations"]] == [False, True]
    assert (found["best_wer_model"]["model_id"], found["best_wer_model"]["wer"]) == ("new", 0.0)
    assert json.loads(path.read_text())["total_validations"] == 2
    page = path.with_suffix(".html").read_text()
    assert "<svg" in page
    assert "new" in page
