"""All that a workspace knows of one cycle, gathered before anything is drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from misheard.cycle.states import Cycle, CycleState, CycleStep
from misheard.database.audit import AuditEntry
from misheard.datasets.datasets import Dataset
from misheard.datasets.manifest import Row
from misheard.datasets.split import Split
from misheard.deployment import Deployment
from misheard.errors import NothingDeployedError
from misheard.finetune.events import TrainingEvent, course
from misheard.finetune.jobs import Job
from misheard.finetune.order import Order
from misheard.gates.comparison import Comparison
from misheard.gates.suites import Suite, SuiteRun
from misheard.gates.validation import Validation
from misheard.registry import ModelVersion
from misheard.workspace import Workspace

NEWEST = 20
"""Rows of a log that stand on the page."""
LABELLING = ("correct", "confirm")
"""Audit actions that come in bulk and are counted instead of listed."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A step of the cycle with the time that led to it."""

    to: CycleState
    detail: str
    at: datetime
    took_s: float | None
    """Seconds since the step before; None for the first."""
    share: float
    """Of all the time between the first step and the last, in [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class SplitRow:
    """One split of the dataset version."""

    split: str
    by_kind: dict[str, int]
    utterances: int
    duration_s: float


@dataclass(frozen=True, kw_only=True)
class AuditTrail:
    """The newest audit entries, labelling counted apart."""

    entries: tuple[AuditEntry, ...]
    labelling: dict[str, int]
    """Rows by action."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the page is made of; None or empty where the cycle has not come so far."""

    cycle: Cycle
    stages: tuple[Stage, ...]
    baseline: ModelVersion
    candidate: ModelVersion | None
    dataset: Dataset | None
    splits: tuple[SplitRow, ...]
    job: Job | None
    events: tuple[TrainingEvent, ...]
    """Of the job's training, each step once."""
    general_margin: float | None
    """What the job was allowed to lose on the general set, absolute; None where that is gone."""
    validation: Validation | None
    runs: tuple[tuple[Suite, SuiteRun], ...]
    live_id: str | None
    deployments: tuple[Deployment, ...]
    audit: AuditTrail

    @property
    def comparison(self) -> Comparison | None:
        """The figures of the validation."""
        return self.validation.comparison if self.validation else None

    @property
    def is_live(self) -> bool:
        """Whether the candidate is what production uses now."""
        return self.candidate is not None and self.candidate.id == self.live_id


def gather(workspace: Workspace, cycle_id: str) -> Facts:
    """Read everything that is known of a cycle; raises `UnknownIdError` where there is none."""
    cycle = workspace.cycles.get(cycle_id)
    dataset = workspace.datasets.get(cycle.dataset_id) if cycle.dataset_id else None
    return Facts(
        cycle=cycle,
        stages=stages(workspace.cycles.steps(cycle_id)),
        baseline=workspace.registry.get(cycle.baseline_id),
        candidate=workspace.registry.get(cycle.version_id) if cycle.version_id else None,
        dataset=dataset,
        splits=splits(workspace.datasets.rows(dataset)) if dataset else (),
        job=workspace.jobs.get(cycle.job_id) if cycle.job_id else None,
        events=tuple(course(workspace.jobs.events(cycle.job_id))) if cycle.job_id else (),
        general_margin=_general_margin(workspace, cycle.job_id) if cycle.job_id else None,
        validation=(
            workspace.validations.get(cycle.validation_id) if cycle.validation_id else None
        ),
        runs=_runs(workspace, cycle),
        live_id=_live(workspace),
        deployments=tuple(workspace.deployments.history(limit=NEWEST)),
        audit=_audit(workspace),
    )


def stages(steps: Sequence[CycleStep]) -> tuple[Stage, ...]:
    """Steps, oldest first, with how long each took."""
    if not steps:
        return ()
    total_s = (steps[-1].created_at - steps[0].created_at).total_seconds()
    made = []
    for before, step in zip([None, *steps], steps, strict=False):
        took_s = (step.created_at - before.created_at).total_seconds() if before else None
        made.append(
            Stage(
                to=CycleState(step.to_state),
                detail=step.detail,
                at=step.created_at,
                took_s=took_s,
                share=(took_s or 0.0) / total_s if total_s > 0 else 0.0,
            )
        )
    return tuple(made)


def splits(rows: Sequence[Row]) -> tuple[SplitRow, ...]:
    """Utterances and seconds by split, in the order train, validation, test."""
    made = []
    for split in Split:
        chosen = [row for row in rows if row.split is split]
        if not chosen:
            continue
        made.append(
            SplitRow(
                split=split.value,
                by_kind=dict(Counter(row.kind for row in chosen)),
                utterances=len(chosen),
                duration_s=sum(row.duration_s for row in chosen),
            )
        )
    return tuple(made)


def _general_margin(workspace: Workspace, job_id: str) -> float | None:
    order = workspace.jobs.paths(job_id).order
    return Order.read(order).general_margin if order.exists() else None


def _runs(workspace: Workspace, cycle: Cycle) -> tuple[tuple[Suite, SuiteRun], ...]:
    if cycle.version_id is None:
        return ()
    runs = workspace.suites.runs_of(cycle.version_id, cycle_id=cycle.id)
    return tuple((workspace.suites.get(run.suite_id), run) for run in runs)


def _live(workspace: Workspace) -> str | None:
    try:
        return workspace.deployments.live().version_id
    except NothingDeployedError:
        return None


def _audit(workspace: Workspace) -> AuditTrail:
    counts = workspace.audit.counts()
    return AuditTrail(
        entries=tuple(workspace.audit.entries(limit=NEWEST, without=LABELLING)),
        labelling={action: counts[action] for action in LABELLING if action in counts},
    )
