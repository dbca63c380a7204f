"""When to train, and the jobs that come of it, as the quick-start guide calls them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from misheard.cycle.states import Cycle, CycleState
from misheard.errors import IllegalTransitionError, TrainingCallbackError, UnknownIdError
from misheard.watch import going_on, watch
from misheard.workspace import Workspace, current_actor
from src.data._cloud import Buckets
from src.data._shared import Plain, iso, log, open_workspace, present
from src.data.data_manager import DataManager

TrainingCallback = Callable[["FinetuningJob", dict[str, Any]], bool]
"""Starts a training of your own; whether it was started."""

_S = CycleState
_STATUS = {
    _S.PROPOSED: "pending",
    _S.TRIGGERED: "pending",
    _S.DATASET: "ready",
    _S.TRAINING: "training",
    _S.CONVERTED: "completed",
    _S.VALIDATED: "evaluating",
    _S.REGRESSION: "evaluating",
    _S.AWAITING_APPROVAL: "completed",
    _S.DEPLOYED: "completed",
    _S.WATCHED: "completed",
    _S.CLOSED: "completed",
    _S.ROLLED_BACK: "completed",
    _S.REFUSED: "completed",
    _S.REJECTED: "failed",
    _S.FAILED: "failed",
    _S.CANCELLED: "failed",
}
"""The guide's word for each state of a cycle; "preparing" passes within one call."""


@dataclass(frozen=True, kw_only=True)
class FinetuningConfig(Plain):
    """When training is worth it, and what is trained on."""

    min_error_cases: int = 100
    min_corrected_cases: int = 50
    trigger_on_error_rate: bool = True
    error_rate_threshold: float = 0.15
    min_error_score: float = 0.5
    train_ratio: float = 0.8
    val_ratio: float = 0.1
    test_ratio: float = 0.1
    balance_error_types: bool = True
    min_dataset_quality: float = 0.9
    auto_approve_finetuning: bool = False

    @property
    def sections(self) -> dict[str, dict[str, Any]]:
        """The settings of misheard that these are."""
        return {
            "triggers": {
                "min_error_cases": self.min_error_cases,
                "min_corrected_cases": self.min_corrected_cases,
                "trigger_on_error_rate": self.trigger_on_error_rate,
                "error_rate_threshold": self.error_rate_threshold,
                "min_error_score": self.min_error_score,
                "require_approval": not self.auto_approve_finetuning,
                # A job of the guide may begin beside one that is not done.
                "one_at_a_time": False,
            },
            "datasets": {
                **self._percent,
                "balance_error_types": self.balance_error_types,
                "min_quality": self.min_dataset_quality,
            },
        }

    @property
    def _percent(self) -> dict[str, int]:
        """Whole percents; the test split takes what rounding leaves, so that thirds work, too."""
        total = round(100 * (self.train_ratio + self.val_ratio + self.test_ratio))
        train, validation = round(100 * self.train_ratio), round(100 * self.val_ratio)
        return {
            "train_percent": train,
            "validation_percent": validation,
            "test_percent": total - train - validation,
        }


@dataclass(frozen=True, kw_only=True)
class FinetuningJob(Plain):
    """One fine-tune, from its trigger to a model."""

    job_id: str
    status: str
    dataset_id: str | None
    version_id: str | None
    """The model version that came of it."""
    trigger_reason: str
    trigger_metrics: dict[str, Any]
    created_at: str | None
    started_at: str | None = None
    completed_at: str | None = None
    error_message: str | None = None
    config: dict[str, Any] = field(default_factory=dict)


class FinetuningOrchestrator:
    """Decides when to train, prepares the dataset, starts and finishes jobs."""

    def __init__(
        self,
        data_manager: DataManager | None = None,
        config: FinetuningConfig | None = None,
        storage_dir: str | Path | None = None,
        use_gcs: bool | None = None,
        project_id: str | None = None,
    ) -> None:
        """Work on the data manager's workspace, else on the one in `storage_dir`."""
        self.config = config or FinetuningConfig()
        buckets = Buckets(project_id=project_id)
        opened = open_workspace(storage_dir, use_gcs, buckets, of=data_manager)
        self.workspace: Workspace = opened.configured(self.config.sections)
        self._callback: TrainingCallback | None = None

    def check_trigger_conditions(self) -> dict[str, Any]:
        """Whether training is worth it now, and why."""
        decision = self.workspace.cycles.check_trigger()
        totals = self.workspace.cases.counts()
        return {
            "should_trigger": decision.should_trigger,
            "reasons": [*decision.reasons, *(f"not yet: {one}" for one in decision.objections)],
            "metrics": {
                "total_error_cases": totals.error_cases,
                "corrected_cases": totals.corrected,
                "uncorrected_cases": totals.uncorrected,
                "estimated_error_rate": decision.metrics.error_rate,
                "error_type_distribution": totals.by_type,
                "new_error_cases": decision.metrics.error_cases,
                "new_corrected_cases": decision.metrics.corrected_cases,
                "new_inferences": decision.metrics.inferences,
            },
            "timestamp": present(),
        }

    def trigger_finetuning(
        self, force: bool = False, manual_approval: bool | None = None
    ) -> FinetuningJob | None:
        """Begin a job and prepare its dataset.

        None, with the reason logged, when conditions are not met or approval is needed: then a job
        waits for `approve_job`, or for `manual_approval=True`. `force` is a person's word: it
        overrides the conditions, and is the approval unless `manual_approval=False`.
        """
        approved = self.config.auto_approve_finetuning or force
        cycle = self.workspace.cycles.begin(
            actor=current_actor(),
            force=force,
            approved=approved if manual_approval is None else manual_approval,
        )
        if cycle is None:
            log.info("Not triggered: %s", "; ".join(self.check_trigger_conditions()["reasons"]))
            return None
        if cycle.state is _S.PROPOSED:
            log.info("%s waits for approval: approve_job('%s')", cycle.id, cycle.id)
            return None
        self.prepare_dataset_for_job(cycle.id)
        return self._job(self.workspace.cycles.get(cycle.id))

    def approve_job(self, job_id: str) -> FinetuningJob:
        """Say yes: a job that waits to begin has its dataset prepared, a candidate goes live."""
        if self.workspace.cycles.approve(job_id, actor=current_actor()).state is _S.TRIGGERED:
            self.prepare_dataset_for_job(job_id)
        return self._job(self.workspace.cycles.get(job_id))

    def reject_job(self, job_id: str, reason: str) -> FinetuningJob:
        """Say no: nothing is trained, or the candidate does not go live."""
        return self._job(self.workspace.cycles.reject(job_id, actor=current_actor(), reason=reason))

    def create_finetuning_job(
        self, trigger_reason: str = "manual", trigger_metrics: Mapping[str, Any] | None = None
    ) -> FinetuningJob:
        """Begin a job, whatever the conditions are; its dataset is not prepared yet."""
        cycle = self.workspace.cycles.begin(
            actor=current_actor(),
            force=True,
            approved=True,
            reason=trigger_reason,
            evidence=trigger_metrics,
        )
        assert cycle is not None, "a forced cycle begins"  # noqa: S101 - for the type checker
        return self._job(cycle)

    def prepare_dataset_for_job(self, job_id: str) -> bool:
        """Build the dataset version of a job; False, with the reason logged, when it cannot be.

        One that is prepared already stays as it is.
        """

        def prepare() -> Cycle:
            cycle = self.workspace.cycles.get(job_id)
            return cycle if cycle.state is _S.DATASET else self._advance(job_id, at=_S.TRIGGERED)

        return self._went(prepare, to=_S.DATASET)

    def start_training(self, job_id: str, training_params: Mapping[str, Any] | None = None) -> bool:
        """Start the training of a job that is ready: your callback, else misheard's own program.

        `training_params` are settings of the recipe (`misheard.Recipe`); a callback is given them
        as they are. False, with the reason logged, when it did not start; `TrainingCallbackError`
        when yours raised.
        """
        params = dict(training_params or {})
        if self._callback is not None:
            return self._hand_over(job_id, params, self._callback)
        return self._went(
            lambda: self._advance(job_id, at=_S.DATASET, recipe=params), to=_S.TRAINING
        )

    def complete_training(
        self,
        job_id: str,
        model_path: str | Path,
        training_metrics: Mapping[str, Any] | None = None,
    ) -> bool:
        """Hand in the model of a job that was trained elsewhere; its files are copied.

        False, with the reason logged, when the job is not one that waits for a model.
        """
        return self._went(
            lambda: self.workspace.cycles.take_model(
                job_id, Path(model_path), actor=current_actor(), figures=training_metrics
            ),
            to=_S.CONVERTED,
        )

    def get_job_info(self, job_id: str) -> dict[str, Any] | None:
        """One job, or None."""
        try:
            return self._job(self.workspace.cycles.get(job_id)).to_dict()
        except UnknownIdError:
            return None

    def list_jobs(self, status: str | None = None, limit: int = 10) -> list[FinetuningJob]:
        """Jobs, newest first."""
        cycles = self.workspace.cycles
        if status is None:
            return [self._job(cycle) for cycle in cycles.listed(limit=limit)]
        states = [state for state, name in _STATUS.items() if name == status]
        found = [cycle for state in states for cycle in cycles.listed(state=state, limit=limit)]
        newest = sorted(found, key=lambda one: (one.created_at, one.id), reverse=True)
        return [self._job(cycle) for cycle in newest[:limit]]

    def get_orchestration_status(self) -> dict[str, Any]:
        """Trigger conditions, and jobs by status."""
        by_status: dict[str, int] = {}
        for state, count in self.workspace.cycles.counts().items():
            by_status[_STATUS[state]] = by_status.get(_STATUS[state], 0) + count
        return {
            "trigger_conditions": self.check_trigger_conditions(),
            "config": self.config.to_dict(),
            "total_jobs": sum(by_status.values()),
            "jobs_by_status": by_status,
            "latest_jobs": [job.to_dict() for job in self.list_jobs(limit=5)],
            "timestamp": present(),
        }

    def set_training_callback(self, callback: TrainingCallback | None) -> None:
        """Train with `callback(job, params)` from now on; None: with misheard's own program."""
        self._callback = callback

    def run_monitoring_loop(
        self, check_interval_seconds: float = 3600, max_iterations: int | None = None
    ) -> None:
        """Look after the workspace; see `misheard watch`."""
        looks = watch(
            self.workspace, interval_s=check_interval_seconds, train=self._callback is None
        )
        for number, look in enumerate(itertools.islice(looks, max_iterations), start=1):
            begun = "nothing begun" if look.begun is None else f"{look.begun.id} begun"
            log.info("look %d: %s", number, begun)
            if self._callback is not None:
                with going_on("training"):
                    self._start_all()

    def _start_all(self) -> None:
        cycles = self.workspace.cycles
        for cycle in cycles.listed(state=_S.TRIGGERED):
            self.prepare_dataset_for_job(cycle.id)
        for cycle in cycles.listed(state=_S.DATASET):
            if cycle.waits_for_trainer:
                continue
            # One that fails is told of in the log, and the loop goes on.
            with suppress(TrainingCallbackError):
                self.start_training(cycle.id)

    def _hand_over(self, job_id: str, params: dict[str, Any], callback: TrainingCallback) -> bool:
        cycles = self.workspace.cycles
        if not self._went(
            lambda: cycles.train_elsewhere(job_id, actor=current_actor()), to=_S.TRAINING
        ):
            return False
        try:
            started = callback(self._job(cycles.get(job_id)), params)
        except Exception as error:
            self._give_up(job_id, f"the training callback raised {error!r}")
            raise TrainingCallbackError(f"{job_id}: {error!r}") from error
        if not started:
            self._give_up(job_id, "the training callback did not start a training")
        return bool(started)

    def _give_up(self, job_id: str, reason: str) -> None:
        log.warning("%s: %s", job_id, reason)
        # A callback that has handed its model in already has trained, whatever came after.
        if self.workspace.cycles.get(job_id).state is _S.TRAINING:
            self.workspace.cycles.fail(job_id, reason=reason)

    def _advance(self, job_id: str, *, at: CycleState, **options: Any) -> Cycle:
        """One step from `at`; from elsewhere it would be another step."""
        cycle = self.workspace.cycles.get(job_id)
        if cycle.state is not at:
            raise IllegalTransitionError(f"{cycle.id} is {cycle.state}, not {at}.")
        if options:
            self.workspace.cycles.change(job_id, **options)
        return self.workspace.cycles.advance(job_id)

    def _went(self, step: Callable[[], Cycle], *, to: CycleState) -> bool:
        try:
            cycle = step()
        except (UnknownIdError, IllegalTransitionError) as error:
            log.warning("%s", error)
            return False
        if cycle.state is not to:
            log.warning("%s is %s: %s", cycle.id, cycle.state, cycle.detail)
        return cycle.state is to

    def _job(self, cycle: Cycle) -> FinetuningJob:
        reached: dict[str, datetime] = {
            step.to_state: step.created_at for step in self.workspace.cycles.steps(cycle.id)
        }
        told = dict(cycle.decision)
        reason = told.pop("reason") or "; ".join(told["reasons"]) or "manual"
        failed = _STATUS[cycle.state] == "failed" or cycle.state is _S.REFUSED
        return FinetuningJob(
            job_id=cycle.id,
            status=_STATUS[cycle.state],
            dataset_id=cycle.dataset_id,
            version_id=cycle.version_id,
            trigger_reason=reason,
            trigger_metrics=told | told.pop("evidence"),
            created_at=iso(cycle.created_at),
            started_at=iso(reached.get(_S.TRAINING)),
            completed_at=iso(reached.get(_S.CONVERTED) or reached.get(_S.FAILED)),
            error_message=cycle.detail if failed else None,
            config=self.config.to_dict(),
        )
