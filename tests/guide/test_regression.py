from __future__ import annotations

import dataclasses
import json
import logging
import math
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from misheard.errors import (
    EmptyDatasetError,
    InvalidManifestError,
    InvalidSettingError,
    InvalidSuiteError,
    UnknownIdError,
)
from src.data.finetuning_coordinator import FinetuningCoordinator
from src.data.model_deployer import DeploymentConfig
from src.data.regression_tester import RegressionConfig, RegressionResult, RegressionTester
from tests.guide.conftest import LOOSE, Hear, hears, misses, rows, sentence

Samples = Callable[..., list[dict[str, Any]]]
Coordinate = Callable[..., FinetuningCoordinator]
Model = Callable[[str], Path]
Register = Callable[..., str]
Run = Callable[..., RegressionResult]

RESULT = {
    "test_id",
    "model_version",
    "model_wer",
    "model_cer",
    "baseline_wer",
    "baseline_cer",
    "wer_degradation",
    "cer_degradation",
    "passed",
    "failure_reason",
    "num_samples",
    "failed_samples",
    "timestamp",
}
ANYTHING = {"max_wer_degradation": 9.0, "max_cer_degradation": 9.0}
"""Limits of a test that keep nothing from passing."""


@pytest.fixture
def test_data(tmp_path: Path, samples: Samples) -> Path:
    """Ten clips of two words, which the baseline hears right."""
    path = tmp_path / "test.jsonl"
    path.write_text("\n".join(map(json.dumps, samples())), encoding="utf-8")
    return path


@pytest.fixture
def register(test_data: Path) -> Register:
    """Register a test whose given baseline makes no error."""

    def make(tester: RegressionTester, name: str = "menus", **given: Any) -> str:
        values = {
            "test_type": "benchmark",
            "test_data_path": test_data,
            "baseline_wer": 0.0,
            "baseline_cer": 0.0,
            "baseline_version": "baseline_v1",
        }
        return tester.register_test(test_name=name, **values | given)

    return make


@pytest.fixture
def run(coordinate: Coordinate, register: Register) -> Run:
    """A model on one test with loose limits, but for the settings that are given."""

    def make(model: Hear, limits: dict[str, Any] | None = None, **changed: Any) -> RegressionResult:
        config = dataclasses.replace(LOOSE, **changed)
        tester = coordinate(regression_config=config).regression_tester
        test_id = register(tester, **{**ANYTHING, **(limits or {})})
        return tester.run_test(test_id, "new", model)

    return make


def test_the_defaults_are_those_of_the_guide() -> None:
    assert RegressionConfig().to_dict() == {
        "run_on_deploy": True,
        "run_on_schedule": False,
        "schedule_interval_hours": 24,
        "fail_on_any_degradation": False,
        "fail_on_critical_degradation": True,
        "critical_degradation_threshold": 0.1,
        "max_failed_samples_rate": 0.05,
        "sample_degradation_threshold": 0.2,
        "alert_on_failure": True,
        "alert_on_warning": False,
    }


@pytest.mark.parametrize(
    "changed",
    [
        {"schedule_interval_hours": 0},
        {"critical_degradation_threshold": -0.1},
        {"max_failed_samples_rate": 5},
        {"sample_degradation_threshold": float("nan")},
    ],
)
def test_a_config_that_cannot_be_is_refused(root: Path, changed: dict[str, Any]) -> None:
    with pytest.raises(InvalidSettingError, match=next(iter(changed))):
        RegressionTester(RegressionConfig(**changed), storage_dir=root)


def test_a_result_has_both_rates_and_the_samples_that_failed(run: Run) -> None:
    found = run(misses([3]))
    assert set(found.to_dict()) == RESULT
    assert (found.model_version, found.num_samples, found.passed) == ("new", 10, True)
    assert (found.model_wer, found.baseline_wer, found.wer_degradation) == (0.05, 0.0, 0.05)
    assert found.model_cer == found.cer_degradation > 0 == found.baseline_cer
    assert [one["reference"] for one in found.failed_samples] == [sentence(3)]
    assert datetime.fromisoformat(str(found.timestamp)).tzinfo is not None


def test_a_model_is_held_to_the_figures_that_were_given(run: Run) -> None:
    found = run(misses(range(4)), {"baseline_wer": 0.15, "baseline_cer": 0.08})
    assert (found.baseline_wer, found.baseline_cer) == (0.15, 0.08)
    assert found.wer_degradation == pytest.approx(0.05)


@pytest.mark.parametrize(("most", "passes"), [(0.1, True), (0.09, False)])
def test_the_wer_may_rise_as_far_as_the_test_allows(run: Run, most: float, passes: bool) -> None:
    found = run(misses([1, 2]), {"max_wer_degradation": most})
    assert found.passed is passes
    assert ("WER rises by 10.00%" in str(found.failure_reason)) is not passes


@pytest.mark.parametrize(("most", "passes"), [(0.2, True), (0.02, False)])
def test_the_cer_may_rise_as_far_as_the_test_allows(run: Run, most: float, passes: bool) -> None:
    found = run(misses([1, 2]), {"max_cer_degradation": most})
    assert found.passed is passes
    assert ("CER rises by" in str(found.failure_reason)) is not passes


def test_a_test_allows_five_percent_where_it_does_not_say(
    coordinate: Coordinate, register: Register
) -> None:
    tester = coordinate(regression_config=LOOSE).regression_tester
    test_id = register(tester, baseline_cer=1.0)
    assert tester.run_test(test_id, "new", misses([1])).passed is True
    assert tester.run_test(test_id, "newer", misses([1, 2])).passed is False


@pytest.mark.parametrize(("fails", "passes"), [(False, True), (True, False)])
def test_any_degradation_fails_where_that_is_wanted(run: Run, fails: bool, passes: bool) -> None:
    assert run(misses([1]), fail_on_any_degradation=fails).passed is passes
    assert run(hears(), fail_on_any_degradation=fails).passed is True


@pytest.mark.parametrize(
    ("changed", "passes"),
    [
        ({"fail_on_critical_degradation": True}, False),
        ({"fail_on_critical_degradation": False}, True),
        (
            {"fail_on_critical_degradation": True, "critical_degradation_threshold": 0.25},
            True,
        ),
    ],
)
def test_a_critical_degradation_fails_whatever_the_test_allows(
    run: Run, changed: dict[str, Any], passes: bool
) -> None:
    found = run(misses(range(4)), **changed)
    assert found.wer_degradation == pytest.approx(0.2)
    assert found.passed is passes
    assert ("is critical" in str(found.failure_reason)) is not passes


@pytest.mark.parametrize(("rate", "passes"), [(0.4, True), (0.3, False)])
def test_only_so_many_samples_may_fail(run: Run, rate: float, passes: bool) -> None:
    found = run(misses(range(4)), max_failed_samples_rate=rate)
    assert len(found.failed_samples) == 4
    assert found.passed is passes
    assert ("4 of 10 utterances fail" in str(found.failure_reason)) is not passes


@pytest.mark.parametrize(("threshold", "failed"), [(0.2, 4), (0.5, 0)])
def test_a_sample_fails_when_its_own_wer_rises_by_more_than_the_threshold(
    run: Run, threshold: float, failed: int
) -> None:
    found = run(
        misses(range(4)), sample_degradation_threshold=threshold, max_failed_samples_rate=0.05
    )
    assert (len(found.failed_samples), found.passed) == (failed, failed == 0)


def test_a_sample_that_a_model_fails_on_counts_against_it(run: Run) -> None:
    assert run(hears({3: None})).model_wer == 0.1


def alerts(tester: RegressionTester) -> list[str]:
    found = tester.workspace.audit.entries()
    return [entry.reason for entry in found if entry.action == "alert"]


@pytest.mark.parametrize("wanted", [True, False])
def test_a_failure_is_alerted_where_that_is_wanted(
    coordinate: Coordinate, register: Register, caplog: pytest.LogCaptureFixture, wanted: bool
) -> None:
    config = RegressionConfig(alert_on_failure=wanted)
    tester = coordinate(regression_config=config).regression_tester
    assert tester.run_test(register(tester), "new", misses(range(8))).passed is False
    said = [one.getMessage() for one in caplog.records if one.name == "misheard.alerts"]
    assert (len(said), len(alerts(tester))) == (wanted, wanted)
    if wanted:
        assert "'menus', candidate new" in said[0]
        assert "WER rises" in alerts(tester)[0]
        assert caplog.records[-1].levelno == logging.WARNING


@pytest.mark.parametrize("wanted", [True, False])
def test_a_rise_that_is_tolerated_is_alerted_where_that_is_wanted(
    coordinate: Coordinate, register: Register, caplog: pytest.LogCaptureFixture, wanted: bool
) -> None:
    config = dataclasses.replace(LOOSE, alert_on_warning=wanted)
    tester = coordinate(regression_config=config).regression_tester
    test_id = register(tester, **ANYTHING)
    assert tester.run_test(test_id, "same", hears()).passed is True
    assert alerts(tester) == []
    assert tester.run_test(test_id, "worse", misses([1])).passed is True
    assert [one.startswith("passed, but worse") for one in alerts(tester)] == [True] * wanted
    assert ("misheard.alerts" in {one.name for one in caplog.records}) is wanted


def test_a_suite_of_tests_is_summed_up(coordinate: Coordinate, register: Register) -> None:
    tester = coordinate(regression_config=LOOSE).regression_tester
    good, bad = register(tester, "good", **ANYTHING), register(tester, "bad", baseline_cer=1.0)
    found = tester.run_test_suite("new", misses([1, 2]))
    results = found.pop("results")
    assert datetime.fromisoformat(found.pop("timestamp")).tzinfo is not None
    cer = results[0]["model_cer"]
    assert found.pop("avg_cer_degradation") == pytest.approx((cer + cer - 1) / 2)
    assert found == {
        "model_version": "new",
        "total_tests": 2,
        "passed": 1,
        "failed": 1,
        "pass_rate": 0.5,
        "all_passed": False,
        "avg_wer_degradation": pytest.approx(0.1),
    }
    assert [(one["test_id"], one["passed"]) for one in results] == [(good, True), (bad, False)]
    assert set(results[0]) == RESULT


def test_with_every_test_passed_all_is_passed(coordinate: Coordinate, register: Register) -> None:
    tester = coordinate(regression_config=LOOSE).regression_tester
    register(tester)
    found = tester.run_test_suite("new", hears())
    assert (found["all_passed"], found["pass_rate"]) == (True, 1.0)


def test_with_no_test_registered_nothing_is_passed(root: Path) -> None:
    found = RegressionTester(storage_dir=root).run_test_suite("new", hears())
    assert (found["total_tests"], found["all_passed"], found["results"]) == (0, False, [])
    assert (found["passed"], found["failed"]) == (0, 0)
    assert math.isnan(found["pass_rate"])
    assert math.isnan(found["avg_wer_degradation"])
    assert math.isnan(found["avg_cer_degradation"])


def test_only_tests_of_the_types_named_are_run(coordinate: Coordinate, register: Register) -> None:
    tester = coordinate(regression_config=LOOSE).regression_tester
    ids = {
        name: register(tester, name, test_type=name)
        for name in ("benchmark", "critical_samples", "edge_cases")
    }
    for name, test_id in ids.items():
        found = tester.run_test_suite("new", hears(), test_types=[name])
        assert [one["test_id"] for one in found["results"]] == [test_id]
    assert tester.run_test_suite("new", hears(), test_types=list(ids))["total_tests"] == 3


def test_a_type_that_does_not_exist_is_named_with_those_that_do(
    root: Path, coordinate: Coordinate, register: Register
) -> None:
    tester = coordinate().regression_tester
    with pytest.raises(UnknownIdError, match=r"'smoke'.*critical_samples"):
        register(tester, test_type="smoke")
    with pytest.raises(UnknownIdError, match=r"'smoke'.*critical_samples"):
        tester.run_test_suite("new", hears(), test_types=["benchmark", "smoke"])
    assert rows(root, "SELECT count(*) FROM suites") == [(0,)]


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"baseline_wer": float("nan")}, InvalidSuiteError),
        ({"baseline_cer": -0.1}, InvalidSuiteError),
        ({"max_wer_degradation": float("inf")}, InvalidSuiteError),
        ({"test_data_path": "gone.jsonl"}, InvalidManifestError),
    ],
)
def test_a_test_that_cannot_be_is_an_error_and_not_kept(
    root: Path,
    coordinate: Coordinate,
    register: Register,
    given: dict[str, Any],
    error: type[Exception],
) -> None:
    with pytest.raises(error):
        register(coordinate().regression_tester, **given)
    assert rows(root, "SELECT count(*) FROM suites") == [(0,)]


def test_a_test_without_a_sample_is_an_error(
    coordinate: Coordinate, register: Register, tmp_path: Path
) -> None:
    (tmp_path / "empty.jsonl").write_text("\n", encoding="utf-8")
    with pytest.raises(EmptyDatasetError):
        register(coordinate().regression_tester, test_data_path=tmp_path / "empty.jsonl")


def test_an_unknown_test_is_an_error(root: Path) -> None:
    with pytest.raises(UnknownIdError, match="suite-x"):
        RegressionTester(storage_dir=root).run_test("suite-x", "new", hears())


def test_the_samples_are_held_to_the_baseline_version_where_it_is_here(
    coordinate: Coordinate, register: Register, model: Model
) -> None:
    coordinator = coordinate(regression_config=LOOSE)
    coordinator.set_model_transcribe_function_factory(lambda path: misses([1, 2]))
    version = coordinator.deployer.register_model("mine", model("old"))
    tester = coordinator.regression_tester
    here = register(tester, "here", baseline_version=version, **ANYTHING)
    elsewhere = register(tester, "elsewhere", **ANYTHING)
    failed = [
        len(tester.run_test(test_id, "new", misses([1, 2])).failed_samples)
        for test_id in (here, elsewhere)
    ]
    assert failed == [0, 2]


def test_a_test_outlives_the_files_of_its_baseline_version(
    coordinate: Coordinate, register: Register, model: Model
) -> None:
    coordinator = coordinate(
        regression_config=LOOSE, deployment_config=DeploymentConfig(keep_previous_versions=0)
    )
    versions = [coordinator.deployer.register_model("mine", model(name)) for name in "abc"]
    for version_id in versions:
        assert coordinator.deployer.deploy_model(version_id, force=True)
    assert coordinator.workspace.registry.get(versions[0]).pruned_at is not None
    tester = coordinator.regression_tester
    test_id = register(tester, baseline_version=versions[0], **ANYTHING)
    assert tester.run_test(test_id, "new", hears()).passed is True


def test_history_is_found_by_test_by_model_and_by_time(
    root: Path, coordinate: Coordinate, register: Register
) -> None:
    tester = coordinate(regression_config=LOOSE).regression_tester
    first, second = register(tester, "a", **ANYTHING), register(tester, "b", **ANYTHING)
    assert tester.get_test_history() == []
    old = tester.run_test(first, "v1", hears())
    rows(root, "UPDATE suite_runs SET created_at = '2020-01-01 00:00:00.000000'")
    new = [tester.run_test(second, name, hears()) for name in ("v1", "v2")]
    every = [one["model_version"] for one in tester.get_test_history()]
    assert every == ["v2", "v1", "v1"]
    assert tester.get_test_history(test_id=second) == [one.to_dict() for one in reversed(new)]
    (only,) = tester.get_test_history(test_id=first, model_version="v1")
    assert only == {**old.to_dict(), "timestamp": "2020-01-01T00:00:00+00:00"}
    assert len(tester.get_test_history(model_version="v1")) == 2
    assert len(tester.get_test_history(time_window_days=7)) == 2
    assert tester.get_test_history(model_version="v3") == []


def test_the_report_of_an_empty_store_has_every_key(root: Path) -> None:
    found = RegressionTester(storage_dir=root).generate_regression_report()
    assert set(found) == {
        "generated_at",
        "config",
        "registered_tests",
        "total_test_runs",
        "passed_runs",
        "failed_runs",
        "pass_rate",
        "degradation_stats",
        "recent_results_7days",
        "recent_pass_rate",
    }
    assert (found["registered_tests"], found["total_test_runs"]) == (0, 0)
    assert math.isnan(found["pass_rate"])
    assert math.isnan(found["recent_pass_rate"])
    for metric in ("wer", "cer"):
        stats = found["degradation_stats"][metric]
        assert set(stats) == {"mean", "std", "min", "max"}
        assert all(math.isnan(value) for value in stats.values())


def test_the_report_tells_of_runs_in_a_file_and_on_a_page(
    root: Path, coordinate: Coordinate, register: Register, tmp_path: Path
) -> None:
    tester = coordinate(regression_config=LOOSE).regression_tester
    test_id = register(tester, baseline_cer=1.0)
    tester.run_test(test_id, "v0", misses([1, 2]))
    rows(root, "UPDATE suite_runs SET created_at = '2020-01-01 00:00:00.000000'")
    tester.run_test(test_id, "v1", hears())
    path = tmp_path / "regression.json"
    found = tester.generate_regression_report(path)
    assert (found["registered_tests"], found["total_test_runs"]) == (1, 2)
    assert (found["passed_runs"], found["failed_runs"], found["pass_rate"]) == (1, 1, 0.5)
    assert (found["recent_results_7days"], found["recent_pass_rate"]) == (1, 1.0)
    assert found["degradation_stats"]["wer"] == {
        "mean": 0.05,
        "std": 0.05,
        "min": 0.0,
        "max": 0.1,
    }
    assert json.loads(path.read_text())["total_test_runs"] == 2
    assert "menus" in path.with_suffix(".html").read_text()


@pytest.mark.parametrize(("runs", "status"), [(True, "regression_failed"), (False, "completed")])
def test_tests_are_run_before_a_deployment_where_that_is_wanted(
    coordinate: Coordinate, register: Register, model: Model, runs: bool, status: str
) -> None:
    coordinator = coordinate(regression_config=RegressionConfig(run_on_deploy=runs))
    coordinator.set_model_transcribe_function_factory(lambda path: misses(range(8)))
    register(coordinator.regression_tester)
    done = coordinator.run_complete_workflow(model_path=model("new"), auto_deploy=True)
    assert done["status"] == status
    assert done["stages"]["regression"]["total_tests"] == runs
    assert len(coordinator.regression_tester.get_test_history()) == runs


@pytest.mark.parametrize(
    ("changed", "runs"),
    [
        ({"run_on_schedule": True}, [1, 1, 2]),
        ({"run_on_schedule": True, "schedule_interval_hours": 72}, [1, 1, 1]),
        ({"run_on_schedule": False}, [0, 0, 0]),
    ],
)
def test_tests_are_run_by_the_clock_where_that_is_wanted(
    root: Path,
    coordinate: Coordinate,
    register: Register,
    changed: dict[str, Any],
    runs: list[int],
) -> None:
    """At once, then not before the interval is over; a day passes before the third look."""
    coordinator = coordinate(regression_config=RegressionConfig(**changed))
    register(coordinator.regression_tester)
    found = []
    for look in range(3):
        if look == 2:
            rows(root, "UPDATE suite_runs SET created_at = datetime('now', '-25 hours')")
        coordinator.orchestrator.run_monitoring_loop(max_iterations=1)
        found.append(len(coordinator.regression_tester.get_test_history()))
    assert found == runs
