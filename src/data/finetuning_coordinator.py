"""The whole loop in one call, as the quick-start guide calls it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from misheard.cli.output import bars, out
from misheard.cli.status import show
from misheard.cycle.options import CycleOptions
from misheard.cycle.states import Cycle, CycleState
from misheard.errors import IllegalTransitionError, MisheardError, UnknownIdError
from misheard.reports.status import status
from misheard.workspace import Workspace, current_actor
from src.data._shared import iso, log, open_workspace, present
from src.data.data_manager import DataManager
from src.data.finetuning_orchestrator import (
    FinetuningConfig,
    FinetuningOrchestrator,
    TrainingCallback,
)
from src.data.metadata_tracker import MetadataTracker
from src.data.model_deployer import DeploymentConfig, ModelDeployer
from src.data.model_validator import ModelValidator, Transcribe, ValidationConfig
from src.data.regression_tester import RegressionConfig, RegressionTester

_S = CycleState


class FinetuningCoordinator:
    """Trigger, training, gates and deployment as one workflow, and every component of it."""

    def __init__(
        self,
        data_manager: DataManager | None = None,
        finetuning_config: FinetuningConfig | None = None,
        validation_config: ValidationConfig | None = None,
        deployment_config: DeploymentConfig | None = None,
        regression_config: RegressionConfig | None = None,
        use_gcs: bool | None = None,
        project_id: str | None = None,
        storage_dir: str | Path | None = None,
    ) -> None:
        """Work on the data manager's workspace, else on the one in `storage_dir`."""
        configs = (
            finetuning_config or FinetuningConfig(),
            validation_config or ValidationConfig(),
            deployment_config or DeploymentConfig(),
            regression_config or RegressionConfig(),
        )
        buckets = configs[2].buckets(project_id)
        opened = open_workspace(storage_dir, use_gcs, buckets, of=data_manager)
        root = opened.root
        self.workspace: Workspace = opened
        for config in configs:
            self.workspace = self.workspace.configured(config.sections)
        self.orchestrator = FinetuningOrchestrator(config=configs[0], storage_dir=root)
        self.validator = ModelValidator(config=configs[1], storage_dir=root)
        self.deployer = ModelDeployer(config=configs[2], storage_dir=root)
        self.regression_tester = RegressionTester(config=configs[3], storage_dir=root)
        self.metadata_tracker = MetadataTracker(local_storage_dir=root)
        # All on one workspace, so that the functions set below and loaded models are shared.
        components = (self.orchestrator, self.validator, self.deployer, self.regression_tester)
        for component in (*components, self.metadata_tracker):
            component.workspace = self.workspace
        self._has_callback = False

    def set_training_callback(self, callback: TrainingCallback | None) -> None:
        """Train with `callback(job, params)` from now on; None: with misheard's own program."""
        self.orchestrator.set_training_callback(callback)
        self._has_callback = callback is not None

    def set_baseline_transcribe_function(self, function: Transcribe | None) -> None:
        """Hear the baseline through `function`; None: through the live version's own files."""
        self.workspace.functions.baseline = function

    def set_model_transcribe_function_factory(
        self, factory: Callable[[str], Transcribe] | None
    ) -> None:
        """Hear a model through `factory(model_path)`; None: through misheard's own engine."""
        self.workspace.functions.of_model = factory

    def run_complete_workflow(
        self,
        force_trigger: bool = False,
        model_path: str | Path | None = None,
        training_params: Mapping[str, Any] | None = None,
        skip_validation: bool = False,
        skip_regression: bool = False,
        auto_deploy: bool = False,
    ) -> dict[str, Any]:
        """Once round the loop, as far as it goes; see `docs/API_REFERENCE.md` for the answer.

        With `model_path` nothing is trained: that model is judged. A failed gate never deploys.
        """
        started = present()
        options = CycleOptions(
            recipe={} if self._has_callback else dict(training_params or {}),
            model_directory="" if model_path is None else str(model_path),
            skip_validation=skip_validation,
            skip_regression=skip_regression,
            auto_deploy=auto_deploy,
        )
        forced = force_trigger or model_path is not None
        cycle = self.workspace.cycles.begin(
            actor=current_actor(),
            force=forced,
            approved=forced or self.orchestrator.config.auto_approve_finetuning,
            options=options,
        )
        if cycle is None:
            reasons = "; ".join(self.orchestrator.check_trigger_conditions()["reasons"])
            return _workflow(None, started, status="not_triggered", message=reasons)
        return self._run(cycle.id, started, training_params)

    def deploy_job_model(
        self,
        job_id: str,
        model_path: str | Path,
        training_metrics: Mapping[str, Any] | None = None,
        run_validation: bool = True,
        run_regression: bool = True,
    ) -> bool:
        """Judge the model of a job and deploy it; False, with the reason logged, when it is not."""
        cycles = self.workspace.cycles
        try:
            cycle = cycles.change(
                job_id,
                skip_validation=not run_validation,
                skip_regression=not run_regression,
                auto_deploy=True,
            )
        except (UnknownIdError, IllegalTransitionError) as error:
            log.warning("%s", error)
            return False
        if cycle.state is not _S.CONVERTED and not self.orchestrator.complete_training(
            job_id, model_path, training_metrics
        ):
            return False
        result = self._run(job_id, present())
        if result["status"] != "completed":
            log.warning("%s was not deployed: %s", job_id, result["message"])
        return bool(result["status"] == "completed")

    def get_system_status(self) -> dict[str, Any]:
        """What every component has to say, for programs."""
        cycles = self.workspace.cycles
        return {
            "timestamp": present(),
            "orchestrator": self.orchestrator.get_orchestration_status(),
            "deployer": self.deployer.generate_deployment_report(),
            "validation": self.validator.generate_validation_report(),
            "regression": self.regression_tester.generate_regression_report(),
            "workflows": {
                "total": sum(cycles.counts().values()),
                "recent": [
                    self._result(one, iso(one.created_at)) for one in cycles.listed(limit=5)
                ],
            },
        }

    def print_status(self) -> None:
        """What is live, what is waiting on whom, what happens next, as tables."""
        show(status(self.workspace), out)

    def _run(
        self, cycle_id: str, started: str, training_params: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        cycles = self.workspace.cycles
        try:
            cycle = cycles.get(cycle_id)
            is_to_train = cycle.state is _S.TRIGGERED and not cycle.options.model_directory
            if self._has_callback and is_to_train:
                self.orchestrator.prepare_dataset_for_job(cycle_id)
                self.orchestrator.start_training(cycle_id, training_params)
            with bars() as shown:
                cycle = cycles.run(cycle_id, observer=shown)
        except MisheardError as error:
            cycle = cycles.get(cycle_id)
            return self._result(cycle, started) | {"status": "failed", "error": str(error)}
        return self._result(cycle, started)

    def _result(self, cycle: Cycle, started: str | None) -> dict[str, Any]:
        steps = self.workspace.cycles.steps(cycle.id)
        name = _status(cycle, steps[-1].from_state if steps else "")
        details: dict[str, str] = {step.to_state: step.detail for step in steps}
        validation = (
            self.validator._result(self.workspace.validations.get(cycle.validation_id)).to_dict()
            if cycle.validation_id
            else {"detail": details.get(_S.VALIDATED)}
        )
        runs = self.workspace.suites.runs_of(str(cycle.version_id), cycle_id=cycle.id)
        regression = {
            "total_tests": len(runs),
            "passed": sum(run.verdict.passed for run in runs),
            "detail": details.get(_S.REGRESSION),
        }
        training = {
            "dataset_id": cycle.dataset_id,
            "job_id": cycle.job_id,
            "version_id": cycle.version_id,
        }
        stages = {
            "trigger": cycle.decision,
            "training": training,
            "validation": validation,
            "regression": regression,
            "deployment": {"version_id": cycle.version_id, "deployed": cycle.state.went_live},
        }
        return _workflow(cycle, started, status=name, message=cycle.detail, stages=stages)


def _status(cycle: Cycle, before: str) -> str:
    if cycle.state is _S.REFUSED:
        return "validation_failed" if before == _S.CONVERTED else "regression_failed"
    if cycle.state is _S.PROPOSED:
        return "waiting_training"
    if cycle.state.went_live or cycle.state is _S.ROLLED_BACK:
        return "completed"
    if cycle.state is _S.AWAITING_APPROVAL:
        return "awaiting_approval"
    return "failed" if cycle.state.is_final else "training_pending"


def _workflow(
    cycle: Cycle | None,
    started: str | None,
    *,
    status: str,
    message: str,
    stages: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    empty = dict.fromkeys(("trigger", "training", "validation", "regression", "deployment"))
    return {
        "workflow_id": cycle.id if cycle else None,
        "started_at": started,
        "completed_at": present(),
        "status": status,
        "message": message,
        "job_id": cycle.id if cycle else None,
        "error": message if status == "failed" else None,
        "stages": {**empty, **(stages or {})},
    }
