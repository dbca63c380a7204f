"""One function a stage: what it takes to get from each state to the next."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection

from misheard.cases.cases import Cases
from misheard.cycle.states import Cycle, CycleState, Observer
from misheard.cycle.watching import Watch, WatchRules, watch_over
from misheard.database import audit
from misheard.database.engine import now
from misheard.datasets.build import Built, build, held_out_from
from misheard.datasets.datasets import Dataset, Datasets, Purpose
from misheard.datasets.split import Split, SplitShares
from misheard.deployment import Deployment, Deployments, deploy_in
from misheard.errors import DatasetQualityError, EmptyDatasetError
from misheard.finetune.jobs import Jobs
from misheard.finetune.recipe import Recipe
from misheard.fleet import Watching, unwatched
from misheard.gates.comparison import Side
from misheard.gates.contender import Contender
from misheard.gates.infrastructure import InfrastructureCheck
from misheard.gates.regression import RegressionSuites
from misheard.gates.validation import Validation, Validations
from misheard.gates.verdict import told
from misheard.monitoring.observations import Observations, performance_in
from misheard.registry import ModelVersion, Registry
from misheard.scoring.normalize import Normalizer
from misheard.settings import TriggerSettings

_S = CycleState


@dataclass(frozen=True, kw_only=True)
class CycleRules:
    """What the settings say of cycles."""

    triggers: TriggerSettings
    shares: SplitShares
    replay_per_error: float
    recipe: Recipe
    require_approval: bool
    """Of a deployment."""
    normalizer: Normalizer
    balance_error_types: bool = False
    min_quality: float = 0.0
    run_suites: bool = True
    watch: WatchRules = field(default_factory=WatchRules)


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
    deployments: Deployments
    observations: Observations
    rules: CycleRules
    contender: Callable[[str], str | Contender] = field(default=lambda version_id: version_id)
    """How a version is heard in the gates: by its files, or by a function of its owner."""
    check_files: Callable[[str, str | None, str], InfrastructureCheck | None] = field(
        default=lambda _version_id, _dataset_id, _check_id: None
    )
    """Whether a version's files work in a fresh process; None where that was not looked at."""
    get_ready: Callable[[str, str, Watching], object] = field(
        default=lambda _version_id, _actor, _watching: None
    )
    """Has every server that is running load a version, for an actor; raises where one cannot."""
    before_deployment: Callable[[Deployment], object] = field(default=lambda _live: None)
    after_deployment: Callable[[], object] = field(default=lambda: None)

    def of(self, cycle: Cycle) -> Stage | None:
        """What follows by itself now; None where nothing does."""
        stages: dict[CycleState, Stage] = {
            _S.TRIGGERED: self._adopt if cycle.options.model_directory else self._build_dataset,
            _S.DATASET: self._submit_job,
            _S.TRAINING: self._finish_training,
            _S.CONVERTED: self._validate,
            _S.VALIDATED: self._run_suites,
            _S.REGRESSION: self._ask_or_deploy,
            _S.DEPLOYED: self._end_watch,
            _S.WATCHED: self._close,
        }
        if cycle.waits_for_trainer or (
            cycle.state is _S.DEPLOYED and not self.watch(cycle).is_over(now())
        ):
            return None
        return stages.get(cycle.state)

    def watch(self, cycle: Cycle) -> Watch:
        """How the watch over what a cycle deployed stands."""
        return watch_over(
            str(cycle.version_id),
            deployments=self.deployments,
            observations=self.observations,
            rules=self.rules.watch,
        )

    def _build_dataset(self, cycle: Cycle, _: Observer) -> Step:
        built = self._built()
        dataset = self._kept(cycle, built)
        if built.quality.score < self.rules.min_quality:
            raise DatasetQualityError(
                f"{dataset.id} has {built.quality}; {self.rules.min_quality:.1%} is wanted. Look "
                "at its corrections, or lower datasets.min_quality."
            )
        self.suites.keep_corrections(dataset)
        detail = (
            f"{len(built.rows)} utterances, {built.quality}; left out: "
            f"{built.duplicates} duplicates, {built.held_out} held out, "
            f"{built.surplus_replay} surplus replay"
        )
        return Step(_S.DATASET, detail, {"dataset_id": dataset.id})

    def _built(self) -> Built:
        # A sentence keeps its split for ever, also when the table of equivalents grows.
        normalize = self.rules.normalizer.without_equivalents
        return build(
            self.cases.labelled(),
            shares=self.rules.shares,
            replay_per_error=self.rules.replay_per_error,
            held_out=held_out_from(self.datasets.held_out_rows(), normalize),
            permanent=held_out_from(self.suites.permanent_rows(), normalize),
            normalize=normalize,
            balance_error_types=self.rules.balance_error_types,
        )

    def _kept(self, cycle: Cycle, built: Built) -> Dataset:
        return self.datasets.add(cycle.id, Purpose.TRAINING, built.rows, quality=built.quality)

    def _submit_job(self, cycle: Cycle, _: Observer) -> Step:
        job_id = job_id_of(cycle)
        dataset = self.datasets.get(str(cycle.dataset_id))
        recipe = Recipe.from_dict(self.rules.recipe.to_dict() | cycle.options.recipe)
        general = self.validations.general_set(dataset)
        job = self.jobs.submit(job_id, cycle.baseline_id, dataset, recipe, general=general)
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

    def _adopt(self, cycle: Cycle, _: Observer) -> Step:
        return self.adopt(cycle, Path(cycle.options.model_directory), {}, cycle.actor)

    def adopt(self, cycle: Cycle, model: Path, figures: dict[str, Any], actor: str) -> Step:
        """Take a model that was trained elsewhere as the candidate of this cycle."""
        version: ModelVersion = self.registry.register(
            model,
            version_id=cycle.id_of("v"),
            name=self.registry.get(cycle.baseline_id).name,
            source=str(model),
            actor=actor,
            parent_id=cycle.baseline_id,
            dataset_id=cycle.dataset_id,
            figures=figures,
        )
        return Step(_S.CONVERTED, version.id, {"version_id": version.id})

    def _validate(self, cycle: Cycle, observer: Observer) -> Step:
        if cycle.options.skip_validation:
            return Step(_S.VALIDATED, f"{cycle.actor} wanted no validation", {})
        held_out = self._held_out(cycle)
        validation = self.validations.run(
            self.contender(str(cycle.version_id)),
            self.contender(cycle.baseline_id),
            held_out,
            validation_id=cycle.id_of("val"),
            progress=observer.progress("validating", self.validations.clips(held_out)),
        )
        verdict = validation.verdict
        return Step(
            _S.VALIDATED if verdict.passed else _S.REFUSED,
            told(verdict),
            {"validation_id": validation.id, "held_out_id": held_out.id},
            lambda connection: _measured(connection, cycle.baseline_id, validation, "baseline"),
        )

    def _held_out(self, cycle: Cycle) -> Dataset:
        """The set that decides: the one held out, else the test split of the corrections."""
        if cycle.held_out_id is not None:
            return self.datasets.get(cycle.held_out_id)
        if cycle.dataset_id is not None:
            dataset = self.datasets.get(cycle.dataset_id)
            has_test = bool(dataset.counts.get("test"))
        else:
            built = self._built()
            has_test = any(row.split is Split.TEST for row in built.rows)
        if not has_test:
            raise EmptyDatasetError(
                "No correction fell into the test split, so there is nothing to test on. Correct "
                "more, or hold recordings out: misheard dataset hold-out test.jsonl"
            )
        if cycle.dataset_id is None:
            dataset = self._kept(cycle, built)
            self.suites.keep_corrections(dataset)
        return dataset

    def _run_suites(self, cycle: Cycle, observer: Observer) -> Step:
        if cycle.options.skip_regression:
            return Step(_S.REGRESSION, f"{cycle.actor} wanted no regression suites", {})
        if not self.rules.run_suites:
            return Step(_S.REGRESSION, "regression.run_on_deploy is off", {})
        runs = self.suites.run_all(
            self.contender(str(cycle.version_id)),
            self.contender(cycle.baseline_id),
            cycle_id=cycle.id,
            observe=observer.progress,
        )
        names = {suite.id: suite.name for suite in self.suites.listed()}
        failed = [run for run in runs if not run.verdict.passed]
        if failed:
            reasons = [f"{names[run.suite_id]}: {'; '.join(run.verdict.reasons)}" for run in failed]
            return Step(_S.REFUSED, " | ".join(reasons), {})
        passed = f"{len(runs)} of {len(runs)} suites passed" if runs else "there are no suites yet"
        return Step(_S.REGRESSION, passed, {})

    def _ask_or_deploy(self, cycle: Cycle, observer: Observer) -> Step:
        checked = self.check_files(
            str(cycle.version_id),
            cycle.held_out_id or cycle.dataset_id,
            cycle.id_of("check"),
        )
        if checked is not None and not checked.passed:
            return Step(_S.REFUSED, f"{cycle.version_id} {checked.detail}", {})
        if self.asks(cycle):
            return Step(_S.AWAITING_APPROVAL, f"misheard cycle approve {cycle.id}", {})
        return self.deploy(
            cycle, cycle.actor, "passed every gate", watching=lambda _: observer.waiting()
        )

    def asks(self, cycle: Cycle) -> bool:
        """Whether a person has to say yes before the candidate of a cycle goes live."""
        by_itself = cycle.options.auto_deploy
        return self.rules.require_approval if by_itself is None else not by_itself

    def deploy(
        self,
        cycle: Cycle,
        actor: str,
        detail: str,
        reason: str = "",
        *,
        watching: Watching = unwatched,
    ) -> Step:
        """Deploy the candidate together with the step, with the approval where one is needed.

        Every server that is running has it loaded by then: raises `StagingFailedError` where one
        cannot. `reason` is a person's own, for the audit log.
        """
        evidence = {"cycle_id": cycle.id, "validation_id": cycle.validation_id}
        validation = self.validations.get(cycle.validation_id) if cycle.validation_id else None
        # Where it is another, there will be no deployment.
        live = self.deployments.live()
        if live.version_id == cycle.baseline_id:
            self.before_deployment(live)
            self.get_ready(str(cycle.version_id), actor, watching)

        def write(connection: Connection) -> None:
            if self.asks(cycle):
                entry = audit.AuditEntry(
                    actor=actor,
                    action="approve",
                    subject=cycle.id,
                    reason=reason,
                    evidence=evidence,
                )
                audit.record(connection, entry)
            deploy_in(
                connection,
                str(cycle.version_id),
                actor=actor,
                reason=detail,
                evidence=evidence,
                replacing=cycle.baseline_id,
            )
            if validation is not None:
                _measured(connection, str(cycle.version_id), validation, "candidate")

        return Step(_S.DEPLOYED, detail, {}, write)

    def _end_watch(self, cycle: Cycle, _: Observer) -> Step:
        watch = self.watch(cycle)
        left = watch.left_by
        if left is not None and left.action == "rollback":
            return Step(_S.ROLLED_BACK, f"{left.actor}: {left.reason}", {})
        ended = left.created_at if left is not None else now()
        hours = (ended - watch.since).total_seconds() / 3600
        why = f"; {left.version_id} has gone live" if left is not None else ""
        return Step(_S.WATCHED, f"{watch} in {hours:.1f} hours{why}", {})

    def _close(self, _cycle: Cycle, _observer: Observer) -> Step:
        # What a process that was killed right after the deployment may have left.
        self.after_deployment()
        return Step(_S.CLOSED, "nothing is left to do", {})


def job_id_of(cycle: Cycle) -> str:
    """The id of a cycle's job; that of another attempt is another, and the rows of both stay."""
    first = cycle.id_of("job")
    attempt = cycle.options.attempt
    return first if attempt == 1 else f"{first}-{attempt}"


def _measured(
    connection: Connection,
    version_id: str,
    validation: Validation,
    role: Literal["baseline", "candidate"],
) -> None:
    """Remember what a version that is live was measured to do: a point of the trend."""
    side: Side = getattr(validation.comparison, role)
    # A set without a word has no rates.
    if math.isfinite(side.wer) and math.isfinite(side.cer):
        details = {"validation": validation.id}
        performance_in(connection, version_id, wer=side.wer, cer=side.cer, details=details)
