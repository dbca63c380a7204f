from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from misheard.cycle.states import CycleState
from misheard.datasets.samples import parse_samples
from misheard.errors import InvalidSettingError, ModelNotFoundError
from src.data.data_manager import DataManager
from src.data.finetuning_coordinator import FinetuningCoordinator
from src.data.finetuning_orchestrator import FinetuningConfig, FinetuningJob, FinetuningOrchestrator
from src.data.metadata_tracker import MetadataTracker
from src.data.model_deployer import DeploymentConfig, ModelDeployer
from src.data.model_validator import ModelValidator, ValidationConfig
from src.data.regression_tester import RegressionConfig, RegressionTester
from tests.guide.conftest import EASY, hears, misses, sentence

Coordinate = Callable[..., FinetuningCoordinator]
Fill = Callable[..., list[str]]
Model = Callable[[str], Path]

WORKFLOW = {
    "workflow_id",
    "started_at",
    "completed_at",
    "status",
    "message",
    "job_id",
    "error",
    "stages",
}
STAGES = {"trigger", "training", "validation", "regression", "deployment"}


def live(coordinator: FinetuningCoordinator) -> str:
    active = coordinator.deployer.get_active_version()
    assert active is not None
    return active.version_id


def add_suite(coordinator: FinetuningCoordinator, tmp_path: Path, samples: Any) -> None:
    """A test that whoever misses clips 70 to 79 fails."""
    path = tmp_path / "suite.json"
    path.write_text(json.dumps(samples(range(70, 80))), encoding="utf-8")
    coordinator.regression_tester.register_test("menus", "benchmark", path, 0.0, 0.0, "v1")


def test_it_has_every_component_on_one_workspace(data: DataManager) -> None:
    made = FinetuningCoordinator(data_manager=data, use_gcs=False)
    components = {
        made.orchestrator: FinetuningOrchestrator,
        made.validator: ModelValidator,
        made.deployer: ModelDeployer,
        made.regression_tester: RegressionTester,
        made.metadata_tracker: MetadataTracker,
    }
    assert all(isinstance(one, cls) for one, cls in components.items())
    assert {one.workspace.root for one in components} == {data.workspace.root}


def test_without_configs_the_defaults_hold_and_given_ones_reach_their_component(
    root: Path,
) -> None:
    made = FinetuningCoordinator(storage_dir=root)
    assert made.orchestrator.config == FinetuningConfig()
    assert made.validator.config == ValidationConfig()
    assert made.deployer.config == DeploymentConfig()
    assert made.regression_tester.config == RegressionConfig()
    given = (
        FinetuningConfig(min_error_cases=7),
        ValidationConfig(min_wer_improvement=0.1),
        DeploymentConfig(keep_previous_versions=1),
        RegressionConfig(run_on_deploy=False),
    )
    made = FinetuningCoordinator(None, *given, storage_dir=root)
    assert made.orchestrator.config == given[0]
    assert made.validator.config == given[1]
    assert made.deployer.config == given[2]
    assert made.regression_tester.config == given[3]


def test_conditions_that_are_not_met_are_not_triggered(coordinate: Coordinate) -> None:
    done = coordinate().run_complete_workflow()
    assert set(done) == WORKFLOW
    assert (done["status"], done["workflow_id"], done["job_id"]) == ("not_triggered", None, None)
    assert "0 error cases of 1 wanted" in done["message"]
    assert done["stages"] == dict.fromkeys(STAGES)
    assert done["error"] is None
    assert done["started_at"] <= done["completed_at"]


def test_without_auto_approval_the_training_waits_for_a_person(
    coordinate: Coordinate, fill: Fill
) -> None:
    fill(range(5))
    coordinator = coordinate(
        finetuning_config=FinetuningConfig(min_error_cases=1, min_corrected_cases=1)
    )
    done = [coordinator.run_complete_workflow() for _ in range(2)]
    assert [one["status"] for one in done] == ["waiting_training"] * 2
    assert done[0]["job_id"] == done[1]["job_id"]
    assert coordinator.orchestrator.approve_job(done[0]["job_id"]).status == "ready"


def test_a_training_of_ones_own_is_pending_until_its_model_is_handed_in(
    coordinate: Coordinate, fill: Fill, model: Model
) -> None:
    given: list[dict[str, Any]] = []
    fill(range(20))
    coordinator = coordinate()
    coordinator.set_training_callback(lambda job, params: given.append(params) or True)
    done = coordinator.run_complete_workflow(training_params={"epochs": "any"})
    assert (done["status"], given) == ("training_pending", [{"epochs": "any"}])
    assert done["stages"]["training"]["dataset_id"]
    assert coordinator.run_complete_workflow()["status"] == "not_triggered"
    before = live(coordinator)
    assert coordinator.deploy_job_model(done["job_id"], model("tuned"), {"loss": 0.1}) is True
    assert live(coordinator) != before
    version = coordinator.workspace.registry.get(live(coordinator))
    assert version.figures == {"loss": 0.1}


def test_a_callback_that_hands_its_model_in_at_once_goes_all_the_way(
    coordinate: Coordinate, fill: Fill, model: Model
) -> None:
    fill(range(20))
    coordinator = coordinate()

    def train(job: FinetuningJob, params: dict[str, Any]) -> bool:
        return coordinator.orchestrator.complete_training(job.job_id, model("tuned"))

    coordinator.set_training_callback(train)
    done = coordinator.run_complete_workflow(auto_deploy=True)
    assert done["status"] == "completed"
    assert live(coordinator) == done["stages"]["deployment"]["version_id"]
    assert done["stages"]["deployment"]["deployed"] is True


def test_a_callback_that_starts_nothing_fails_the_workflow(
    coordinate: Coordinate, fill: Fill
) -> None:
    fill(range(20))
    coordinator = coordinate()
    coordinator.set_training_callback(lambda job, params: False)
    done = coordinator.run_complete_workflow()
    assert (done["status"], done["message"]) == ("failed", done["error"])
    assert "did not start" in done["error"]


def test_what_a_callback_raises_fails_the_job_and_the_workflow_says_why(
    coordinate: Coordinate, fill: Fill
) -> None:
    def train(job: FinetuningJob, params: dict[str, Any]) -> bool:
        raise RuntimeError("no GPU is free")

    fill(range(20))
    coordinator = coordinate()
    coordinator.set_training_callback(train)
    done = coordinator.run_complete_workflow()
    assert (done["status"], "no GPU is free" in done["error"]) == ("failed", True)
    (job,) = coordinator.orchestrator.list_jobs()
    assert (job.status, "no GPU is free" in str(job.error_message)) == ("failed", True)


def test_without_a_callback_misheards_own_program_trains(
    coordinate: Coordinate, fill: Fill
) -> None:
    """The model here is none that can be trained, which the program says."""
    fill(range(20))
    coordinator = coordinate()
    coordinator.set_training_callback(lambda job, params: True)
    coordinator.set_training_callback(None)
    done = coordinator.run_complete_workflow(training_params={"epochs": 1})
    assert done["status"] == "failed"
    assert done["stages"]["training"]["job_id"].startswith("job-")
    job = coordinator.workspace.jobs.get(done["stages"]["training"]["job_id"])
    assert job.recipe.epochs == 1


def test_an_unknown_training_parameter_is_refused_before_anything_begins(
    coordinate: Coordinate, fill: Fill
) -> None:
    fill(range(20))
    coordinator = coordinate()
    with pytest.raises(InvalidSettingError, match="num_epochs"):
        coordinator.run_complete_workflow(training_params={"num_epochs": 3})
    assert coordinator.orchestrator.list_jobs() == []


def test_a_forced_workflow_with_nothing_to_train_on_fails_with_the_reason(
    coordinate: Coordinate,
) -> None:
    done = coordinate().run_complete_workflow(force_trigger=True)
    assert (done["status"], "no utterance" in done["error"]) == ("failed", True)


def test_a_model_that_is_not_there_fails_the_workflow_and_deploys_nothing(
    coordinate: Coordinate, tmp_path: Path
) -> None:
    coordinator = coordinate()
    before = live(coordinator)
    done = coordinator.run_complete_workflow(model_path=tmp_path / "gone", auto_deploy=True)
    assert (done["status"], "gone" in done["error"]) == ("failed", True)
    assert live(coordinator) == before


def test_a_good_model_waits_for_approval_unless_it_may_go_live_by_itself(
    coordinate: Coordinate, model: Model
) -> None:
    coordinator = coordinate()
    before = live(coordinator)
    done = coordinator.run_complete_workflow(model_path=model("new"))
    assert set(done) == WORKFLOW
    assert set(done["stages"]) == STAGES
    assert (done["status"], live(coordinator)) == ("awaiting_approval", before)
    assert done["stages"]["validation"]["passed"] is True
    assert done["stages"]["validation"]["wer_improvement"] == 0.25
    approved = coordinator.orchestrator.approve_job(done["job_id"])
    assert (approved.status, approved.version_id) == ("completed", live(coordinator))
    assert live(coordinator) != before


def test_a_good_model_goes_live_by_itself_where_that_is_wanted(
    coordinate: Coordinate, model: Model
) -> None:
    coordinator = coordinate()
    done = coordinator.run_complete_workflow(model_path=str(model("new")), auto_deploy=True)
    assert (done["status"], done["error"]) == ("completed", None)
    version = coordinator.deployer.get_version(live(coordinator))
    assert version.model_path == str(model("new"))
    assert (version.wer, version.validation_passed) == (0.0, True)


def test_a_model_that_validation_refuses_is_never_deployed(
    coordinate: Coordinate, model: Model
) -> None:
    coordinator = coordinate()
    coordinator.set_model_transcribe_function_factory(lambda path: misses(range(50, 60)))
    before = live(coordinator)
    done = coordinator.run_complete_workflow(model_path=model("bad"), auto_deploy=True)
    assert (done["status"], done["error"]) == ("validation_failed", None)
    assert "no improvement" in done["stages"]["validation"]["failure_reason"]
    assert live(coordinator) == before
    assert coordinator.deployer.deploy_model(done["stages"]["training"]["version_id"]) is False


def test_a_model_that_a_test_refuses_is_never_deployed(
    coordinate: Coordinate, model: Model, tmp_path: Path, samples: Any
) -> None:
    coordinator = coordinate()
    add_suite(coordinator, tmp_path, samples)
    coordinator.set_model_transcribe_function_factory(lambda path: misses(range(70, 80)))
    before = live(coordinator)
    done = coordinator.run_complete_workflow(model_path=model("bad"), auto_deploy=True)
    assert done["status"] == "regression_failed"
    assert done["stages"]["validation"]["passed"] is True
    assert (done["stages"]["regression"]["total_tests"]) == 1
    assert done["stages"]["regression"]["passed"] == 0
    assert live(coordinator) == before
    version_id = done["stages"]["training"]["version_id"]
    assert coordinator.deployer.deploy_model(version_id) is False
    assert live(coordinator) == before
    assert coordinator.deployer.deploy_model(version_id, force=True) is True


def test_a_model_that_passes_its_tests_says_so(
    coordinate: Coordinate, model: Model, tmp_path: Path, samples: Any
) -> None:
    coordinator = coordinate()
    add_suite(coordinator, tmp_path, samples)
    done = coordinator.run_complete_workflow(model_path=model("good"), auto_deploy=True)
    assert done["status"] == "completed"
    assert done["stages"]["regression"]["total_tests"] == 1
    assert done["stages"]["regression"]["passed"] == 1


def test_each_gate_is_skipped_only_where_that_is_said(
    coordinate: Coordinate, model: Model, tmp_path: Path, samples: Any
) -> None:
    coordinator = coordinate()
    add_suite(coordinator, tmp_path, samples)
    coordinator.set_model_transcribe_function_factory(lambda path: misses(range(50, 80)))
    told = {"model_path": model("bad"), "auto_deploy": True}
    done = [
        coordinator.run_complete_workflow(**told, skip_validation=first, skip_regression=second)
        for first, second in ((False, True), (True, False), (True, True))
    ]
    assert [one["status"] for one in done] == [
        "validation_failed",
        "regression_failed",
        "completed",
    ]


def test_each_side_is_heard_through_the_function_that_was_set_for_it(
    coordinate: Coordinate, model: Model
) -> None:
    coordinator = coordinate()
    paths = []
    coordinator.set_model_transcribe_function_factory(lambda path: paths.append(path) or hears())
    coordinator.set_baseline_transcribe_function(misses(range(50, 52)))
    done = coordinator.run_complete_workflow(model_path=model("new"))
    validation = done["stages"]["validation"]
    assert (validation["model_wer"], validation["baseline_wer"]) == (0.0, 0.1)
    assert {(Path(path) / "weights.pt").read_text() for path in paths} == {"new"}


def test_with_nothing_held_out_the_test_split_of_the_corrections_decides(
    root: Path, fill: Fill, model: Model
) -> None:
    fill(range(30))
    coordinator = FinetuningCoordinator(
        storage_dir=root,
        finetuning_config=FinetuningConfig(train_ratio=0.5, val_ratio=0.0, test_ratio=0.5),
        validation_config=ValidationConfig(),
    )
    coordinator.set_baseline_transcribe_function(misses(range(30)))
    coordinator.set_model_transcribe_function_factory(lambda path: hears())
    done = coordinator.run_complete_workflow(model_path=model("new"), auto_deploy=True)
    assert done["status"] == "completed"
    assert 5 <= done["stages"]["validation"]["num_samples"] < 30


def test_with_nothing_to_test_on_a_model_is_refused_with_the_reason(
    root: Path, model: Model
) -> None:
    coordinator = FinetuningCoordinator(storage_dir=root)
    before = live(coordinator)
    done = coordinator.run_complete_workflow(model_path=model("new"), auto_deploy=True)
    assert (done["status"], "nothing to test on" in done["message"]) == ("validation_failed", True)
    assert live(coordinator) == before


@pytest.mark.parametrize("gates", [True, False])
def test_a_jobs_model_is_deployed_only_past_the_gates_that_are_run(
    coordinate: Coordinate, fill: Fill, model: Model, gates: bool
) -> None:
    fill(range(20))
    coordinator = coordinate()
    coordinator.set_model_transcribe_function_factory(lambda path: misses(range(50, 60)))
    job = coordinator.orchestrator.trigger_finetuning()
    assert job is not None
    before = live(coordinator)
    deployed = coordinator.deploy_job_model(
        job.job_id, model("bad"), run_validation=gates, run_regression=gates
    )
    assert deployed is not gates
    assert (live(coordinator) != before) is not gates


def test_a_job_between_the_gates_is_evaluating(
    coordinate: Coordinate, fill: Fill, model: Model
) -> None:
    fill(range(20))
    coordinator = coordinate()
    job = coordinator.orchestrator.trigger_finetuning()
    assert job is not None
    coordinator.orchestrator.complete_training(job.job_id, model("tuned"))
    coordinator.workspace.cycles.advance(job.job_id)
    (found,) = coordinator.orchestrator.list_jobs(status="evaluating")
    assert found.job_id == job.job_id


def test_a_jobs_model_is_held_to_regression_tests_unless_they_are_not_run(
    coordinate: Coordinate, fill: Fill, model: Model, tmp_path: Path, samples: Any
) -> None:
    coordinator = coordinate()
    add_suite(coordinator, tmp_path, samples)
    coordinator.set_model_transcribe_function_factory(lambda path: misses(range(70, 80)))
    done = []
    for run in (True, False):
        fill(range(20))
        job = coordinator.orchestrator.trigger_finetuning(force=True)
        assert job is not None
        done.append(
            coordinator.deploy_job_model(job.job_id, model(f"bad {run}"), run_regression=run)
        )
    assert done == [False, True]


def test_the_model_of_an_unknown_job_is_not_deployed(
    coordinate: Coordinate, model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    assert coordinate().deploy_job_model("cycle-x", model("new")) is False
    assert "cycle-x" in caplog.text


def test_a_missing_model_of_a_job_is_an_error_and_the_job_still_waits_for_one(
    coordinate: Coordinate, fill: Fill, model: Model, tmp_path: Path
) -> None:
    fill(range(20))
    coordinator = coordinate()
    job = coordinator.orchestrator.trigger_finetuning()
    assert job is not None
    with pytest.raises(ModelNotFoundError, match="gone"):
        coordinator.deploy_job_model(job.job_id, tmp_path / "gone")
    assert coordinator.deploy_job_model(job.job_id, model("there")) is True


def test_a_model_that_waits_for_approval_may_be_deployed_by_hand(
    coordinate: Coordinate, model: Model
) -> None:
    coordinator = coordinate()
    done = coordinator.run_complete_workflow(model_path=model("new"))
    version_id = done["stages"]["deployment"]["version_id"]
    assert coordinator.deployer.deploy_model(version_id) is True
    assert live(coordinator) == version_id
    assert coordinator.workspace.cycles.get(done["job_id"]).state is CycleState.DEPLOYED


def test_the_system_status_has_what_every_component_says(
    coordinate: Coordinate, model: Model
) -> None:
    coordinator = coordinate()
    done = coordinator.run_complete_workflow(model_path=model("new"), auto_deploy=True)
    found = coordinator.get_system_status()
    assert set(found) == {
        "timestamp",
        "orchestrator",
        "deployer",
        "validation",
        "regression",
        "workflows",
    }
    assert found["orchestrator"]["total_jobs"] == 1
    assert found["deployer"]["active_version"]["version_id"] == live(coordinator)
    assert found["validation"]["passed_validations"] == 1
    assert found["regression"]["total_test_runs"] == 0
    assert found["workflows"]["total"] == 1
    (recent,) = found["workflows"]["recent"]
    assert set(recent) == WORKFLOW
    assert (recent["workflow_id"], recent["status"]) == (done["workflow_id"], "completed")


def test_the_system_status_of_an_empty_workspace_is_there_too(root: Path) -> None:
    found = FinetuningCoordinator(storage_dir=root).get_system_status()
    assert found["workflows"] == {"total": 0, "recent": []}
    assert found["orchestrator"]["trigger_conditions"]["should_trigger"] is False


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.usefixtures("narrow")
def test_the_printed_status_reads_well_on_a_narrow_screen(
    coordinate: Coordinate, model: Model, fill: Fill, capsys: pytest.CaptureFixture[str]
) -> None:
    coordinator = coordinate()
    fill(range(3))
    fill([3, 4], corrected=False)
    done = coordinator.run_complete_workflow(model_path=model("new"))
    capsys.readouterr()
    coordinator.print_status()
    text = capsys.readouterr().out
    tables, _, following = text.partition("Next:")
    assert max(map(len, tables.splitlines())) <= 80
    assert live(coordinator) in tables
    assert "misheard cases --status open" in tables
    assert done["job_id"] in following
    assert "misheard cycle approve" in following


@pytest.mark.usefixtures("narrow")
def test_the_printed_status_of_an_empty_workspace_says_what_is_missing(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    FinetuningCoordinator(storage_dir=root).print_status()
    text = capsys.readouterr().out
    assert "Worth training? not yet" in text
    assert "0 corrected cases of 50 wanted" in text


def test_a_coordinator_without_a_data_manager_sees_what_one_has_stored(
    root: Path, fill: Fill
) -> None:
    fill(range(3))
    coordinator = FinetuningCoordinator(storage_dir=root, finetuning_config=EASY)
    metrics = coordinator.orchestrator.check_trigger_conditions()["metrics"]
    assert metrics["corrected_cases"] == 3
    assert sentence(1) in {
        case.corrected_transcript for case in DataManager(root).get_corrected_cases()
    }


def test_a_held_out_set_that_comes_later_decides_from_then_on(
    coordinate: Coordinate, model: Model, samples: Any
) -> None:
    coordinator = coordinate()
    coordinator.workspace.evaluation_set("held-out", parse_samples(samples(range(80, 87))))
    done = coordinator.run_complete_workflow(model_path=model("new"))
    assert done["stages"]["validation"]["num_samples"] == 7
