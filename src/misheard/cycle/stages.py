"""One function a stage: what it takes to get from each state to the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from misheard import triggers
from misheard.cases.cases import Cases
from misheard.cycle.states import Cycle, CycleState, Observer
from misheard.database import audit
from misheard.datasets.build import build, held_out_from
from misheard.datasets.datasets import Datasets, Purpose
from misheard.datasets.split import SplitShares
from misheard.deployment import deploy_in
from misheard.finetune.jobs import Jobs
from misheard.finetune.recipe import Recipe
from misheard.gates.regression import RegressionSuites
from misheard.gates.validation import Validations
from misheard.registry import Registry
from misheard.scoring.normalize import normalizer

_S = CycleState


@dataclass(frozen=True, kw_only=True)
class CycleRules:
    """What the settings say of cycles."""

    triggers: triggers.TriggerRules
    shares: SplitShares
    replay_per_error: float
    recipe: Recipe
    require_approval: bool
    normalizer_name: str


@dataclass(frozen=True)
class Step:
    """What a stage came to: where to go, what to remember, what to write with it."""

    to: CycleState
    detail: str
    values: dict[str, Any]
    """Columns of the cycle's row."""
    write: Callable[[Connection], object] = lambda _: None
    """Rows that stand or fall with the step."""


Stage = Callable[[Cycle, Observer], Step]


@dataclass(frozen=True, kw_only=True)
class Stages:
    """The stages, and the rooms that they work in.

    Each is idempotent: what it makes is named by its content or by the cycle, so that a cycle whose
    process was killed is simply advanced again.
    """

    cases: Cases
    datasets: Datasets
    jobs: Jobs
    registry: Registry
    validations: Validations
    suites: RegressionSuites
    rules: CycleRules

    def of(self, state: CycleState) -> Stage | None:
        """What follows `state` by itself; None where nothing does."""
        stages: dict[CycleState, Stage] = {
            _S.TRIGGERED: self._build_dataset,
            _S.DATASET: self._submit_job,
            _S.TRAINING: self._finish_training,
            _S.CONVERTED: self._validate,
            _S.VALIDATED: self._run_suites,
            _S.REGRESSION: self._ask_or_deploy,
        }
        return stages.get(state)

    def _build_dataset(self, cycle: Cycle, _: Observer) -> Step:
        normalize = normalizer(self.rules.normalizer_name)
        built = build(
            self.cases.labelled(),
            shares=self.rules.shares,
            replay_per_error=self.rules.replay_per_error,
            held_out=held_out_from(self.datasets.held_out_rows(), normalize),
            normalize=normalize,
        )
        dataset = self.datasets.add(cycle.id, Purpose.TRAINING, built.rows)
        detail = (
            f"{len(built.rows)} utterances; left out: {built.duplicates} duplicates, "
            f"{built.held_out} held out, {built.surplus_replay} surplus replay"
        )
        return Step(_S.DATASET, detail, {"dataset_id": dataset.id})

    def _submit_job(self, cycle: Cycle, _: Observer) -> Step:
        job_id = cycle.id.replace("cycle-", "job-", 1)
        dataset = self.datasets.get(str(cycle.dataset_id))
        job = self.jobs.submit(job_id, cycle.baseline_id, dataset, self.rules.recipe)
        return Step(_S.TRAINING, f"{job.id} on {job.backend}", {"job_id": job.id})

    def _finish_training(self, cycle: Cycle, observer: Observer) -> Step:
        known = self.jobs.get(str(cycle.job_id))
        job = self.jobs.wait(known.id, on_event=observer.training, while_waiting=observer.waiting)
        version = self.registry.register(
            self.jobs.paths(job.id).model,
            name=self.registry.get(cycle.baseline_id).name,
            source=job.id,
            actor=cycle.actor,
            parent_id=job.base_version_id,
            dataset_id=job.dataset_id,
            job_id=job.id,
            figures=job.result,
        )
        return Step(_S.CONVERTED, version.id, {"version_id": version.id})

    def _validate(self, cycle: Cycle, observer: Observer) -> Step:
        held_out = self.datasets.get(cycle.held_out_id)
        total = 2 * len(self.datasets.rows(held_out))
        validation = self.validations.run(
            str(cycle.version_id),
            cycle.baseline_id,
            held_out,
            validation_id=cycle.id.replace("cycle-", "val-", 1),
            progress=observer.progress("validating", total),
        )
        verdict = validation.verdict
        return Step(
            _S.VALIDATED if verdict.passed else _S.REFUSED,
            "; ".join(verdict.reasons),
            {"validation_id": validation.id},
        )

    def _run_suites(self, cycle: Cycle, observer: Observer) -> Step:
        runs = self.suites.run_all(
            str(cycle.version_id), cycle.baseline_id, observe=observer.progress
        )
        names = {suite.id: suite.name for suite in self.suites.listed()}
        failed = [run for run in runs if not run.verdict.passed]
        if failed:
            reasons = [f"{names[run.suite_id]}: {'; '.join(run.verdict.reasons)}" for run in failed]
            return Step(_S.REFUSED, " | ".join(reasons), {})
        return Step(_S.REGRESSION, f"{len(runs)} of {len(runs)} suites passed", {})

    def _ask_or_deploy(self, cycle: Cycle, _: Observer) -> Step:
        if self.rules.require_approval:
            return Step(_S.AWAITING_APPROVAL, f"misheard cycle approve {cycle.id}", {})
        return self.deploy(cycle, cycle.actor, "passed every gate")

    def deploy(self, cycle: Cycle, actor: str, reason: str) -> Step:
        """Deploy the candidate together with the step, with the approval where one is needed."""
        evidence = {"cycle_id": cycle.id, "validation_id": cycle.validation_id}

        def write(connection: Connection) -> None:
            if self.rules.require_approval:
                entry = audit.AuditEntry(
                    actor=actor, action="approve", subject=cycle.id, evidence=evidence
                )
                audit.record(connection, entry)
            deploy_in(
                connection,
                str(cycle.version_id),
                actor=actor,
                reason=reason,
                evidence=evidence,
                replacing=cycle.baseline_id,
            )

        return Step(_S.DEPLOYED, reason, {}, write)
