"""The whole workflow with the real model, real clips and misheard's own training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from misheard.datasets.samples import Sample
from misheard.workspace import Workspace
from src.data.finetuning_coordinator import FinetuningCoordinator
from src.data.model_validator import ModelValidator, ValidationConfig
from src.data.regression_tester import RegressionConfig, RegressionTester
from tests.conftest import Prompt
from tests.guide.conftest import EASY

ANY_MODEL = ValidationConfig(
    min_wer_improvement=-99.0,
    min_cer_improvement=-99.0,
    require_significance=False,
    max_wer_degradation_rate=1.0,
    require_no_major_degradation=False,
)


@pytest.fixture(scope="module")
def done(
    bundled: Path, short_prompts: list[Prompt], tmp_path_factory: pytest.TempPathFactory
) -> tuple[FinetuningCoordinator, dict[str, Any]]:
    """A workflow that has trained for one epoch on a dozen clips, and deployed."""
    root = tmp_path_factory.mktemp("real") / "data"
    # A model of one epoch is unsure of nearly all that it hears, and listens twice to it.
    any_speed = {"max_slowdown": 100.0, "max_real_time_factor": 100.0}
    settings = {"scoring": {"replicates": 100}, "backend": "inprocess", "validation": any_speed}
    workspace = Workspace.create(root, model=str(bundled), settings=settings)
    held_out = [
        Sample(data=prompt.data, reference=prompt.reference) for prompt in short_prompts[20:26]
    ]
    workspace.evaluation_set("held-out", held_out)
    coordinator = FinetuningCoordinator(
        storage_dir=root,
        finetuning_config=EASY,
        validation_config=ANY_MODEL,
        # The corrections are a suite of their own, which a model of one epoch may well fail.
        regression_config=RegressionConfig(run_on_deploy=False),
    )
    for prompt in short_prompts[:20]:
        workspace.report_case(
            Sample(data=prompt.data, reference=prompt.reference),
            hypothesis="something else",
            reference=prompt.reference,
            actor="ann",
        )
    return coordinator, coordinator.run_complete_workflow(
        training_params={"epochs": 1}, auto_deploy=True
    )


@pytest.mark.model
def test_a_workflow_trains_validates_and_deploys_a_real_model(
    done: tuple[FinetuningCoordinator, dict[str, Any]],
) -> None:
    coordinator, workflow = done
    assert workflow["status"] == "completed"
    (job,) = coordinator.orchestrator.list_jobs()
    assert (job.status, job.job_id) == ("completed", workflow["job_id"])
    active = coordinator.deployer.get_active_version()
    assert active is not None
    assert active.version_id == job.version_id == workflow["stages"]["deployment"]["version_id"]
    assert active.wer == workflow["stages"]["validation"]["model_wer"]
    assert active.training_dataset_id == job.dataset_id
    assert active.parent_version is not None
    trained = coordinator.workspace.jobs.get(workflow["stages"]["training"]["job_id"])
    assert trained.recipe.epochs == 1


@pytest.mark.model
def test_real_versions_are_compared_through_their_transcribe_functions(
    done: tuple[FinetuningCoordinator, dict[str, Any]],
    short_prompts: list[Prompt],
    tmp_path: Path,
) -> None:
    """And a test is run against the live version, which listens with an engine of its own."""
    coordinator, workflow = done
    workspace, found = coordinator.workspace, workflow["stages"]["validation"]
    functions: list[Callable[[Any], Any]] = [
        workspace.transcribe_function(found[name]) for name in ("model_id", "baseline_id")
    ]
    samples = []
    for prompt in short_prompts[20:26]:
        path = tmp_path / f"{prompt.id.replace('/', '-')}.wav"
        path.write_bytes(prompt.data)
        samples.append({"audio_path": str(path), "text": prompt.reference})
    again = ModelValidator(ANY_MODEL, storage_dir=workspace.root).validate_model(
        "new", functions[0], "old", functions[1], evaluation_set=samples
    )
    assert again.num_samples == 6
    assert again.baseline_wer == pytest.approx(found["baseline_wer"], abs=0.2)
    tester = RegressionTester(storage_dir=workspace.root)
    (tmp_path / "test.json").write_text(json.dumps(samples), encoding="utf-8")
    test_id = tester.register_test(
        "prompts", "benchmark", tmp_path / "test.json", again.model_wer, again.model_cer, "v1"
    )
    result = tester.run_test(test_id, "new", functions[0])
    assert result.num_samples == 6
    # The clips are handed over in 16 bits here, and a model of one epoch is so unsure of one that
    # this alone may change a word or two of the six.
    assert result.model_wer == pytest.approx(again.model_wer, abs=0.4)


@pytest.mark.model
def test_a_rollback_brings_the_first_model_back(
    done: tuple[FinetuningCoordinator, dict[str, Any]],
) -> None:
    coordinator, workflow = done
    before = workflow["stages"]["validation"]["baseline_id"]
    assert coordinator.deployer.rollback() is True
    active = coordinator.deployer.get_active_version()
    assert active is not None
    assert active.version_id == before
    assert coordinator.deployer.deploy_model(workflow["stages"]["training"]["version_id"])
