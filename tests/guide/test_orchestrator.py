from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from misheard.cli.group import cli
from misheard.errors import (
    BadInputError,
    IllegalTransitionError,
    InvalidSettingError,
    ModelNotFoundError,
    TrainingCallbackError,
    UnknownIdError,
)
from src.data.data_manager import DataManager
from src.data.finetuning_orchestrator import (
    FinetuningConfig,
    FinetuningJob,
    FinetuningOrchestrator,
)
from src.data.metadata_tracker import MetadataTracker
from tests.guide.conftest import EASY, rows

Fill = Callable[..., list[str]]
Model = Callable[[str], Path]
Config = Callable[..., FinetuningOrchestrator]

JOB = {
    "job_id",
    "status",
    "dataset_id",
    "version_id",
    "trigger_reason",
    "trigger_metrics",
    "created_at",
    "started_at",
    "completed_at",
    "error_message",
    "config",
}


@pytest.fixture
def orchestrate(data: DataManager) -> Config:
    """An orchestrator that is easily moved, but for what is given."""

    def make(**changed: Any) -> FinetuningOrchestrator:
        return FinetuningOrchestrator(data, dataclasses.replace(EASY, **changed))

    return make


def ready(orchestrator: FinetuningOrchestrator) -> str:
    job = orchestrator.trigger_finetuning()
    assert job is not None
    assert job.status == "ready"
    return job.job_id


def status_of(orchestrator: FinetuningOrchestrator, job_id: str) -> str:
    found = orchestrator.get_job_info(job_id)
    assert found is not None
    return str(found["status"])


def test_the_defaults_are_those_of_the_guide() -> None:
    assert FinetuningConfig().to_dict() == {
        "min_error_cases": 100,
        "min_corrected_cases": 50,
        "trigger_on_error_rate": True,
        "error_rate_threshold": 0.15,
        "min_error_score": 0.5,
        "train_ratio": 0.8,
        "val_ratio": 0.1,
        "test_ratio": 0.1,
        "balance_error_types": True,
        "min_dataset_quality": 0.9,
        "auto_approve_finetuning": False,
    }


def test_without_a_config_the_defaults_hold(data: DataManager) -> None:
    assert FinetuningOrchestrator(data).config == FinetuningConfig()


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        ({"min_error_cases": 0}, "min_error_cases"),
        ({"min_corrected_cases": "many"}, "min_corrected_cases"),
        ({"error_rate_threshold": 1.5}, "error_rate_threshold"),
        ({"min_error_score": float("nan")}, "min_error_score"),
        ({"min_dataset_quality": 90}, "min_quality"),
        ({"train_ratio": 0.5}, "must sum to 100"),
        ({"train_ratio": 1.2, "val_ratio": -0.2, "test_ratio": 0.0}, "validation_percent"),
    ],
)
def test_a_config_that_cannot_be_is_refused_with_the_name_of_its_field(
    orchestrate: Config, changed: dict[str, Any], names: str
) -> None:
    with pytest.raises(InvalidSettingError, match=names):
        orchestrate(**changed)


def test_conditions_of_an_empty_store_have_every_figure(data: DataManager) -> None:
    found = FinetuningOrchestrator(data).check_trigger_conditions()
    assert set(found) == {"should_trigger", "reasons", "metrics", "timestamp"}
    assert found["should_trigger"] is False
    assert all(isinstance(reason, str) for reason in found["reasons"])
    metrics = found["metrics"]
    assert math.isnan(metrics.pop("estimated_error_rate"))
    assert metrics == {
        "total_error_cases": 0,
        "corrected_cases": 0,
        "uncorrected_cases": 0,
        "error_type_distribution": {},
        "new_error_cases": 0,
        "new_corrected_cases": 0,
        "new_inferences": 0,
    }
    assert datetime.fromisoformat(found["timestamp"]).tzinfo is not None


def test_conditions_count_what_is_there(orchestrate: Config, fill: Fill) -> None:
    fill([1, 2, 3])
    fill([4], corrected=False, error_score=0.9, error_types=["noise"])
    found = orchestrate().check_trigger_conditions()
    assert found["should_trigger"] is True
    metrics = found["metrics"]
    assert (metrics["total_error_cases"], metrics["corrected_cases"]) == (4, 3)
    assert metrics["uncorrected_cases"] == 1
    assert metrics["error_type_distribution"] == {"deletion": 3, "noise": 1}


def test_enough_errors_trigger_and_one_less_does_not(orchestrate: Config, fill: Fill) -> None:
    fill(range(3))
    assert orchestrate(min_error_cases=3).check_trigger_conditions()["should_trigger"] is True
    found = orchestrate(min_error_cases=4).check_trigger_conditions()
    assert found["should_trigger"] is False
    assert "not yet: 3 error cases of 4 wanted" in found["reasons"]


def test_enough_corrections_trigger_and_one_less_does_not(orchestrate: Config, fill: Fill) -> None:
    fill(range(3))
    fill(range(3, 9), corrected=False)
    assert orchestrate(min_corrected_cases=3).check_trigger_conditions()["should_trigger"] is True
    found = orchestrate(min_corrected_cases=4).check_trigger_conditions()
    assert found["should_trigger"] is False
    assert "not yet: 3 corrected cases of 4 wanted" in found["reasons"]


def record(data: DataManager, *, errors: int, of: int) -> None:
    tracker = MetadataTracker(data.workspace.root)
    for number in range(of):
        tracker.record_inference_stats(f"{number}.wav", 0.1, error_detected=number < errors)


@pytest.mark.parametrize(
    ("changed", "triggers"),
    [
        ({}, True),
        ({"trigger_on_error_rate": False}, False),
        ({"error_rate_threshold": 0.21}, False),
    ],
)
def test_a_high_error_rate_triggers_where_it_is_to(
    data: DataManager, orchestrate: Config, fill: Fill, changed: dict[str, Any], triggers: bool
) -> None:
    fill([1])
    record(data, errors=4, of=20)
    found = orchestrate(min_error_cases=1000, **changed).check_trigger_conditions()
    assert found["metrics"]["estimated_error_rate"] == 0.2
    assert found["should_trigger"] is triggers


def test_with_no_inference_recorded_there_is_no_rate_and_it_does_not_trigger(
    orchestrate: Config, fill: Fill
) -> None:
    fill(range(5))
    found = orchestrate(min_error_cases=1000, error_rate_threshold=0.0).check_trigger_conditions()
    assert math.isnan(found["metrics"]["estimated_error_rate"])
    assert found["should_trigger"] is False


def test_cases_that_were_reported_do_not_enter_the_rate(
    data: DataManager, orchestrate: Config, fill: Fill
) -> None:
    record(data, errors=0, of=10)
    fill(range(10))
    metrics = orchestrate().check_trigger_conditions()["metrics"]
    assert (metrics["estimated_error_rate"], metrics["new_inferences"]) == (0.0, 10)


@pytest.mark.parametrize(("least", "triggers"), [(0.3, True), (0.5, False)])
def test_an_uncorrected_case_counts_only_with_the_score_that_is_wanted(
    orchestrate: Config, fill: Fill, least: float, triggers: bool
) -> None:
    fill([1])
    fill([2, 3], corrected=False, error_score=0.3)
    found = orchestrate(min_error_cases=3, min_error_score=least).check_trigger_conditions()
    assert found["should_trigger"] is triggers


def test_a_corrected_case_counts_whatever_its_score_was(orchestrate: Config, fill: Fill) -> None:
    fill([1, 2], error_score=0.1)
    orchestrator = orchestrate(min_error_cases=2, min_error_score=0.9)
    assert orchestrator.check_trigger_conditions()["should_trigger"] is True


def test_what_one_job_began_with_does_not_trigger_the_next(orchestrate: Config, fill: Fill) -> None:
    fill(range(3))
    orchestrator = orchestrate(min_error_cases=2, min_corrected_cases=2)
    ready(orchestrator)
    assert orchestrator.trigger_finetuning() is None
    fill([7, 8])
    assert orchestrator.trigger_finetuning() is not None


def test_a_job_that_was_triggered_has_its_dataset_and_reasons(
    orchestrate: Config, fill: Fill
) -> None:
    fill(range(10))
    orchestrator = orchestrate()
    job = orchestrator.trigger_finetuning()
    assert job is not None
    assert set(job.to_dict()) == JOB
    assert (job.status, job.version_id, job.error_message) == ("ready", None, None)
    assert orchestrator.workspace.datasets.get(str(job.dataset_id)).counts["error"] == 10
    assert "10 error cases of 1 wanted" in job.trigger_reason
    assert job.trigger_metrics["error_cases"] == 10
    assert datetime.fromisoformat(str(job.created_at)).tzinfo is not None
    assert job.config == orchestrator.config.to_dict()
    assert orchestrator.get_job_info(job.job_id) == job.to_dict()


def test_conditions_that_are_not_met_give_no_job_and_the_reason_is_logged(
    data: DataManager, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "misheard.guide")
    orchestrator = FinetuningOrchestrator(data)
    assert orchestrator.trigger_finetuning() is None
    assert "0 error cases of 100 wanted" in caplog.text
    assert orchestrator.list_jobs() == []


def test_force_overrides_the_conditions_and_the_approval(data: DataManager, fill: Fill) -> None:
    fill(range(3))
    job = FinetuningOrchestrator(data).trigger_finetuning(force=True)
    assert job is not None
    assert job.status == "ready"


def test_with_nothing_to_train_on_the_forced_job_fails_with_the_reason(data: DataManager) -> None:
    job = FinetuningOrchestrator(data).trigger_finetuning(force=True)
    assert job is not None
    assert job.status == "failed"
    assert "no utterance" in str(job.error_message)


def test_without_auto_approval_one_job_waits_for_a_person(
    orchestrate: Config, fill: Fill, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "misheard.guide")
    fill(range(3))
    orchestrator = orchestrate(auto_approve_finetuning=False)
    assert orchestrator.trigger_finetuning() is None
    assert orchestrator.trigger_finetuning() is None
    (waiting,) = orchestrator.list_jobs()
    assert (waiting.status, waiting.dataset_id) == ("pending", None)
    assert f"approve_job('{waiting.job_id}')" in caplog.text
    assert orchestrator.prepare_dataset_for_job(waiting.job_id) is False
    assert orchestrator.start_training(waiting.job_id) is False
    approved = orchestrator.approve_job(waiting.job_id)
    assert (approved.job_id, approved.status) == (waiting.job_id, "ready")
    assert next(entry.action for entry in orchestrator.workspace.audit.entries()) == "approve"


def test_manual_approval_is_a_yes_to_the_job_that_waits(orchestrate: Config, fill: Fill) -> None:
    fill(range(3))
    orchestrator = orchestrate(auto_approve_finetuning=False)
    orchestrator.trigger_finetuning()
    (waiting,) = orchestrator.list_jobs()
    job = orchestrator.trigger_finetuning(manual_approval=True)
    assert job is not None
    assert (job.job_id, job.status) == (waiting.job_id, "ready")


def test_manual_approval_does_not_make_up_for_conditions(orchestrate: Config, fill: Fill) -> None:
    fill([1])
    orchestrator = orchestrate(auto_approve_finetuning=False, min_error_cases=9)
    assert orchestrator.trigger_finetuning(manual_approval=True) is None
    assert orchestrator.list_jobs() == []


@pytest.mark.parametrize("force", [True, False])
def test_approval_that_is_withheld_makes_any_job_wait(
    orchestrate: Config, fill: Fill, force: bool
) -> None:
    fill([1])
    orchestrator = orchestrate(auto_approve_finetuning=True)
    assert orchestrator.trigger_finetuning(force=force, manual_approval=False) is None
    assert [job.status for job in orchestrator.list_jobs()] == ["pending"]


def test_a_job_is_approved_on_the_command_line_too(
    root: Path, orchestrate: Config, fill: Fill
) -> None:
    fill(range(3))
    orchestrator = orchestrate(auto_approve_finetuning=False)
    orchestrator.trigger_finetuning()
    (waiting,) = orchestrator.list_jobs()
    command = ["-w", str(root), "cycle", "approve", waiting.job_id, "--as", "ann"]
    assert CliRunner().invoke(cli, command).exit_code == 0
    assert orchestrator.prepare_dataset_for_job(waiting.job_id) is True
    assert status_of(orchestrator, waiting.job_id) == "ready"


def test_a_rejected_job_has_failed_with_the_reason_and_stays_so(
    orchestrate: Config, fill: Fill
) -> None:
    fill(range(3))
    orchestrator = orchestrate(auto_approve_finetuning=False)
    orchestrator.trigger_finetuning()
    (waiting,) = orchestrator.list_jobs()
    rejected = orchestrator.reject_job(waiting.job_id, "the labels are not checked")
    assert rejected.status == "failed"
    assert "the labels are not checked" in str(rejected.error_message)
    with pytest.raises(IllegalTransitionError):
        orchestrator.approve_job(waiting.job_id)
    assert orchestrator.trigger_finetuning(manual_approval=True) is None


def test_a_job_may_be_created_by_hand_with_reason_and_metrics(data: DataManager) -> None:
    orchestrator = FinetuningOrchestrator(data)
    job = orchestrator.create_finetuning_job("new microphones", {"complaints": 12})
    assert (job.status, job.trigger_reason) == ("pending", "new microphones")
    assert job.trigger_metrics["complaints"] == 12
    assert orchestrator.create_finetuning_job().trigger_reason == "manual"


def test_a_dataset_is_prepared_once(orchestrate: Config, fill: Fill) -> None:
    fill(range(3))
    orchestrator = orchestrate()
    job_id = orchestrator.create_finetuning_job().job_id
    assert orchestrator.prepare_dataset_for_job(job_id) is True
    before = orchestrator.get_job_info(job_id)
    assert orchestrator.prepare_dataset_for_job(job_id) is True
    assert orchestrator.get_job_info(job_id) == before


def test_a_training_that_was_started_is_not_started_again_or_waited_for(
    orchestrate: Config, fill: Fill
) -> None:
    calls = []
    fill(range(3))
    orchestrator = orchestrate()
    orchestrator.set_training_callback(lambda job, params: calls.append(job.job_id) or True)
    job_id = ready(orchestrator)
    assert orchestrator.start_training(job_id) is True
    assert orchestrator.start_training(job_id) is False
    orchestrator.set_training_callback(None)
    assert orchestrator.start_training(job_id) is False
    assert orchestrator.prepare_dataset_for_job(job_id) is False
    assert (calls, status_of(orchestrator, job_id)) == ([job_id], "training")


def test_a_callback_is_given_the_job_and_the_parameters_as_they_are(
    orchestrate: Config, fill: Fill
) -> None:
    given: list[tuple[FinetuningJob, dict[str, Any]]] = []
    fill(range(3))
    orchestrator = orchestrate()
    orchestrator.set_training_callback(lambda job, params: given.append((job, params)) or True)
    job_id = ready(orchestrator)
    assert orchestrator.start_training(job_id, {"anything": [1, 2]}) is True
    ((job, params),) = given
    assert (job.job_id, job.status, params) == (job_id, "training", {"anything": [1, 2]})
    assert job.dataset_id is not None
    assert job.started_at is not None


def test_a_callback_that_starts_nothing_fails_the_job(orchestrate: Config, fill: Fill) -> None:
    fill(range(3))
    orchestrator = orchestrate()
    orchestrator.set_training_callback(lambda job, params: False)
    job_id = ready(orchestrator)
    assert orchestrator.start_training(job_id) is False
    info = orchestrator.get_job_info(job_id)
    assert info is not None
    assert info["status"] == "failed"
    assert "did not start" in info["error_message"]


def test_a_callback_that_raises_fails_the_job_and_is_heard_of(
    orchestrate: Config, fill: Fill
) -> None:
    def callback(job: FinetuningJob, params: dict[str, Any]) -> bool:
        raise RuntimeError("no GPU is free")

    fill(range(3))
    orchestrator = orchestrate()
    orchestrator.set_training_callback(callback)
    job_id = ready(orchestrator)
    with pytest.raises(TrainingCallbackError, match="no GPU") as caught:
        orchestrator.start_training(job_id)
    assert isinstance(caught.value.__cause__, RuntimeError)
    info = orchestrator.get_job_info(job_id)
    assert info is not None
    assert (info["status"], "no GPU is free" in info["error_message"]) == ("failed", True)


def test_an_unknown_training_parameter_is_refused_and_the_job_stays_ready(
    orchestrate: Config, fill: Fill
) -> None:
    fill(range(3))
    orchestrator = orchestrate()
    job_id = ready(orchestrator)
    with pytest.raises(InvalidSettingError, match="num_epochs"):
        orchestrator.start_training(job_id, {"num_epochs": 3})
    assert status_of(orchestrator, job_id) == "ready"


def test_a_finished_training_makes_a_version(
    root: Path, orchestrate: Config, fill: Fill, model: Model
) -> None:
    fill(range(3))
    orchestrator = orchestrate()
    job_id = ready(orchestrator)
    assert orchestrator.complete_training(job_id, model("tuned"), {"loss": 0.2}) is True
    info = orchestrator.get_job_info(job_id)
    assert info is not None
    assert (info["status"], info["error_message"]) == ("completed", None)
    assert info["created_at"] <= info["started_at"] <= info["completed_at"]
    version = orchestrator.workspace.registry.get(info["version_id"])
    assert (version.figures, version.dataset_id) == ({"loss": 0.2}, info["dataset_id"])


def test_a_second_model_for_a_finished_job_is_turned_away(
    root: Path, orchestrate: Config, fill: Fill, model: Model
) -> None:
    fill(range(3))
    orchestrator = orchestrate()
    job_id = ready(orchestrator)
    assert orchestrator.complete_training(job_id, model("tuned")) is True
    before = rows(root, "SELECT * FROM versions")
    assert orchestrator.complete_training(job_id, model("tuned")) is False
    assert orchestrator.complete_training(job_id, model("other")) is False
    assert rows(root, "SELECT * FROM versions") == before


@pytest.mark.parametrize(
    ("path", "metrics", "error"),
    [("gone", {}, ModelNotFoundError), (None, {"loss": float("nan")}, BadInputError)],
)
def test_a_model_that_is_not_there_and_metrics_that_are_none_leave_the_job_ready(
    root: Path,
    orchestrate: Config,
    fill: Fill,
    model: Model,
    path: str | None,
    metrics: dict[str, float],
    error: type[Exception],
) -> None:
    fill(range(3))
    orchestrator = orchestrate()
    job_id = ready(orchestrator)
    before = rows(root, "SELECT * FROM cycles"), rows(root, "SELECT * FROM versions")
    with pytest.raises(error):
        orchestrator.complete_training(job_id, path or model("tuned"), metrics)
    assert (rows(root, "SELECT * FROM cycles"), rows(root, "SELECT * FROM versions")) == before


def test_an_unknown_job_is_none_or_false(
    data: DataManager, model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    orchestrator = FinetuningOrchestrator(data)
    assert orchestrator.get_job_info("cycle-x") is None
    assert orchestrator.prepare_dataset_for_job("cycle-x") is False
    assert orchestrator.start_training("cycle-x") is False
    orchestrator.set_training_callback(lambda job, params: True)
    assert orchestrator.start_training("cycle-x") is False
    assert orchestrator.complete_training("cycle-x", model("tuned")) is False
    assert caplog.text.count("cycle-x") == 4
    with pytest.raises(UnknownIdError):
        orchestrator.approve_job("cycle-x")
    with pytest.raises(UnknownIdError):
        orchestrator.reject_job("cycle-x", "no")


def test_jobs_are_listed_newest_first_and_by_status(
    orchestrate: Config, fill: Fill, model: Model
) -> None:
    fill(range(3))
    orchestrator = orchestrate()
    first = ready(orchestrator)
    pending = [orchestrator.create_finetuning_job().job_id for _ in range(3)]
    assert [job.job_id for job in orchestrator.list_jobs()] == [*reversed(pending), first]
    assert [job.job_id for job in orchestrator.list_jobs(limit=1)] == [pending[-1]]
    assert [job.job_id for job in orchestrator.list_jobs(status="ready")] == [first]
    found = orchestrator.list_jobs(status="pending", limit=2)
    assert [job.job_id for job in found] == [pending[2], pending[1]]
    orchestrator.complete_training(first, model("tuned"))
    assert [job.job_id for job in orchestrator.list_jobs(status="completed")] == [first]
    assert orchestrator.list_jobs(status="ready") == orchestrator.list_jobs(status="x") == []


def test_ten_jobs_are_listed_where_no_limit_is_given(data: DataManager) -> None:
    orchestrator = FinetuningOrchestrator(data)
    for _ in range(12):
        orchestrator.create_finetuning_job()
    assert len(orchestrator.list_jobs()) == 10


def test_the_status_tells_of_conditions_and_jobs(orchestrate: Config, fill: Fill) -> None:
    fill(range(3))
    orchestrator = orchestrate()
    ready(orchestrator)
    pending = orchestrator.create_finetuning_job()
    found = orchestrator.get_orchestration_status()
    assert set(found) == {
        "trigger_conditions",
        "config",
        "total_jobs",
        "jobs_by_status",
        "latest_jobs",
        "timestamp",
    }
    assert (found["total_jobs"], found["jobs_by_status"]) == (2, {"ready": 1, "pending": 1})
    assert found["latest_jobs"][0] == pending.to_dict()
    assert found["config"] == orchestrator.config.to_dict()
    assert found["trigger_conditions"]["metrics"]["total_error_cases"] == 3


def test_the_monitoring_loop_starts_what_is_worth_it_and_no_more(
    orchestrate: Config, fill: Fill
) -> None:
    started = []
    orchestrator = orchestrate()
    orchestrator.set_training_callback(lambda job, params: started.append(job.job_id) or True)
    orchestrator.run_monitoring_loop(max_iterations=1)
    assert orchestrator.list_jobs() == []
    fill(range(3))
    orchestrator.run_monitoring_loop(check_interval_seconds=0.01, max_iterations=3)
    assert [(job.job_id, job.status) for job in orchestrator.list_jobs()] == [
        (started[0], "training")
    ]
    assert len(started) == 1


def test_the_monitoring_loop_waits_for_approval_and_then_goes_on(
    orchestrate: Config, fill: Fill
) -> None:
    started = []
    fill(range(3))
    orchestrator = orchestrate(auto_approve_finetuning=False)
    orchestrator.set_training_callback(lambda job, params: started.append(job.job_id) or True)
    orchestrator.run_monitoring_loop(check_interval_seconds=0.01, max_iterations=2)
    (waiting,) = orchestrator.list_jobs()
    assert (waiting.status, started) == ("pending", [])
    orchestrator.approve_job(waiting.job_id)
    orchestrator.run_monitoring_loop(max_iterations=1)
    assert started == [waiting.job_id]


def test_a_callback_that_raises_does_not_end_the_monitoring_loop(
    orchestrate: Config, fill: Fill
) -> None:
    def callback(job: FinetuningJob, params: dict[str, Any]) -> bool:
        raise RuntimeError("no GPU is free")

    fill(range(3))
    orchestrator = orchestrate(auto_approve_finetuning=True)
    orchestrator.set_training_callback(callback)
    orchestrator.run_monitoring_loop(check_interval_seconds=0.01, max_iterations=2)
    (job,) = orchestrator.list_jobs()
    assert job.status == "failed"


def test_thirds_are_shares_too() -> None:
    third = FinetuningConfig(train_ratio=1 / 3, val_ratio=1 / 3, test_ratio=1 / 3)
    shares = third.sections["datasets"]
    assert [shares[f"{name}_percent"] for name in ("train", "validation", "test")] == [33, 33, 34]
