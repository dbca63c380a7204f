"""Where the loop stands: what is live, what waits for whom, what happens next."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from misheard.cases.audited import LATELY, NEWEST, AuditedRate
from misheard.cases.records import CaseStandings
from misheard.cases.review import Stream
from misheard.cases.review import Waiting as QueueLength
from misheard.cycle.evaluations import Evaluation
from misheard.cycle.states import Cycle, CycleState
from misheard.database.engine import now
from misheard.deployment import Deployment
from misheard.gates.validation import Validation
from misheard.monitoring.activity import VersionActivity
from misheard.monitoring.alerts import Alert
from misheard.monitoring.latency import RecentLatency
from misheard.registry import ModelVersion
from misheard.rollouts.judging import RolloutDecision
from misheard.settings import TriggerSettings
from misheard.triggers import TriggerDecision
from misheard.workspace import Workspace

_RECENT = timedelta(hours=24)
_OTHERS = 5


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """Something that does not go on by itself."""

    what: str
    who: str
    """Who has to act: a person, a trainer elsewhere, a process."""
    command: str
    """What to type."""
    error: str = ""
    """Why it could not go on when that was last tried; empty where it could."""


@dataclass(frozen=True, kw_only=True)
class Storage:
    """Where files are: the address of a bucket, or a directory."""

    blobs: str
    """Audio, manifests, and what versions made of utterances."""
    models: str
    """The files of model versions."""


@dataclass(frozen=True, kw_only=True)
class Status:
    """Where the loop stands."""

    live: Deployment
    live_version: ModelVersion
    live_validation: Validation | None
    """The newest verdict on what is live."""
    audited: AuditedRate
    """How often the live version is wrong since it went live, by what was drawn and labelled: the
    newest 5,000."""
    alerts: tuple[Alert, ...]
    """What is wrong, newest first."""
    queue: dict[Stream, QueueLength]
    """How many transcripts wait to be looked at."""
    activity: list[VersionActivity]
    others_audited: dict[str, AuditedRate]
    """The same of the busiest versions and recognisers that are not live: their newest 500."""
    latency: RecentLatency
    """How long the callers of the live version waited in the last 24 hours."""
    cases: CaseStandings
    trigger: TriggerDecision
    rules: TriggerSettings
    evaluation: Evaluation | None
    """What the trigger came to when it was asked to act last, with the gain that is expected."""
    rollout: RolloutDecision | None
    """What is tried on live traffic, and what would be done with it now."""
    cycles: dict[CycleState, int]
    cycle: Cycle | None
    """The newest one."""
    suites: int
    waiting: tuple[Waiting, ...]
    storage: Storage
    """Where its files are."""
    next_step: str
    """What happens next, and who has to do it."""


def status(workspace: Workspace) -> Status:
    """Ask every room."""
    live = workspace.deployments.live()
    trigger = workspace.cycles.check_trigger()
    cases = workspace.cases.standings()
    newest = workspace.cycles.latest()
    queue = workspace.review.waiting()
    unfinished = workspace.cycles.unfinished()[::-1]
    waiting = (*_waiting(unfinished, cases), *_to_review(queue))
    activity = workspace.monitor.activity()
    others = [one.version_id for one in activity if one.version_id != live.version_id]
    return Status(
        live=live,
        live_version=workspace.registry.get(live.version_id),
        live_validation=workspace.validations.latest_of(live.version_id),
        audited=workspace.labels.audited(
            since=live.created_at, version_id=live.version_id, newest=LATELY, count_drawn=False
        ),
        alerts=tuple(workspace.alerts.listed(open_only=True)),
        queue=queue,
        activity=activity,
        others_audited={
            name: workspace.labels.audited(version_id=name, newest=NEWEST, count_drawn=False)
            for name in others[:_OTHERS]
        },
        latency=workspace.monitor.latency(live.version_id, since=now() - _RECENT),
        cases=cases,
        trigger=trigger,
        rules=workspace.settings.triggers,
        evaluation=next(iter(workspace.cycles.evaluations(limit=1)), None),
        rollout=workspace.rollouts.decision(live.slot),
        cycles=workspace.cycles.counts(),
        cycle=newest,
        suites=len(workspace.suites.listed()),
        waiting=waiting,
        storage=_storage(workspace),
        next_step=_next_step(trigger, waiting),
    )


def _storage(workspace: Workspace) -> Storage:
    here, set_here = str(workspace.root / "blobs"), workspace.settings.storage
    return Storage(blobs=set_here.blobs or here, models=set_here.of_models or here)


def _waiting(cycles: list[Cycle], cases: CaseStandings) -> list[Waiting]:
    found = []
    for cycle in cycles:
        if cycle.state is CycleState.PROPOSED:
            what = "a cycle wants to train"
            command = f"misheard cycle approve {cycle.id}"
            found.append(Waiting(what=what, who="a person", command=command))
        elif cycle.state is CycleState.AWAITING_APPROVAL:
            what = "a candidate passed every gate"
            command = f"misheard cycle approve {cycle.id}"
            found.append(Waiting(what=what, who="a person", command=command))
        elif cycle.waits_for_trainer:
            what = "a model is trained elsewhere"
            command = f"misheard cycle take-model {cycle.id} DIRECTORY"
            found.append(Waiting(what=what, who="a trainer", command=command))
        else:
            what = f"a cycle stands at '{cycle.state}'"
            command = f"misheard cycle run {cycle.id}"
            error = cycle.error
            found.append(Waiting(what=what, who="a process", command=command, error=error))
    if cases.open:
        one = cases.open == 1
        what = f"{cases.open} error {'case has' if one else 'cases have'} no correction"
        command = "misheard cases --status open"
        found.append(Waiting(what=what, who="a person", command=command))
    return found


def _to_review(queue: dict[Stream, QueueLength]) -> list[Waiting]:
    """What nobody has reported, and somebody should listen to."""
    told = {
        Stream.AUDIT: ("audited transcript has", "audited transcripts have"),
        Stream.SUSPICIOUS: ("suspicious transcript has", "suspicious transcripts have"),
    }
    found = []
    for stream, (one, several) in told.items():
        if queue[stream].count:
            command = f"misheard review next --stream {stream}"
            what = f"{queue[stream]} {one if queue[stream].count == 1 else several} no label"
            found.append(Waiting(what=what, who="a person", command=command))
    return found


def _next_step(trigger: TriggerDecision, waiting: tuple[Waiting, ...]) -> str:
    if trigger.should_trigger and not any("cycle-" in one.command for one in waiting):
        return "it is worth training: misheard cycle begin"
    if waiting:
        first = waiting[0]
        return f"{first.what}; for {first.who}: {first.command}"
    return "more transcripts and corrections: " + "; ".join(trigger.objections)
