"""Look after a workspace: roll back what does worse, run due suites, train when it is worth it.

One look does what can be done now and returns; `misheard watch` repeats it. What goes wrong with
one duty is logged, and the others are done.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

from misheard.capture.retention import LetGo
from misheard.capture.suspicion_kept import KeptModel
from misheard.cycle.outlook import Outlook
from misheard.cycle.states import Cycle, CycleState, Observer
from misheard.database.engine import now
from misheard.deployment import Deployment
from misheard.errors import (
    DeploymentConflictError,
    IllegalTransitionError,
    LeaseLostError,
    MisheardError,
    MissingExtraError,
)
from misheard.finetune.rented.sweep import Swept
from misheard.gates.suites import SuiteRun
from misheard.monitoring.rollback import should_roll_back
from misheard.rollouts.judging import RolloutDecision
from misheard.workspace import Workspace

_log = logging.getLogger("misheard.watch")
ACTOR = "watch"
_RETENTION_S = 30.0
"""Of each look: some hundred thousand rows; what is left over is let go of in the next ones."""


_NOTHING = LetGo(recordings=0, bytes=0, transcripts=0, blobs=0, is_done=False)


@dataclass(frozen=True, kw_only=True)
class Look:
    """What one look came to."""

    rolled_back: Deployment | None
    """The deployment that brought the version before back."""
    rollouts: tuple[RolloutDecision, ...]
    """What was decided of versions that are tried on live traffic."""
    runs: tuple[SuiteRun, ...]
    """Suites that were due."""
    begun: Cycle | None
    """The cycle that the trigger began or proposed."""
    suspicion: KeptModel | None
    """What was learnt of suspicion, where enough labels had come; its figures say if it is used."""
    advanced: tuple[Cycle, ...]
    """Cycles that went on, as they stand now."""
    let_go: LetGo
    """Audio and transcripts that retention had no more reason to keep."""
    swept: tuple[Swept, ...]
    """Rented machines that nobody needed any more."""
    failed: tuple[str, ...]
    """Duties that could not be done; why is in the log."""


def look(workspace: Workspace, *, observer: Observer | None = None, train: bool = True) -> Look:
    """Look once. With `train` off, cycles are begun, and left to somebody else's trainer."""
    watcher, failed = observer or Observer(), list[str]()
    rolled_back, begun, suspicion, let_go = None, None, None, _NOTHING
    runs, advanced = list[SuiteRun](), list[Cycle]()
    rollouts, swept = list[RolloutDecision](), list[Swept]()
    with going_on("digest", failed):
        workspace.digest.catch_up()
    with going_on("rollback", failed):
        rolled_back = roll_back_if_worse(workspace)
    with going_on("rollouts", failed):
        rollouts = judge_rollouts(workspace)
    with going_on("suites", failed):
        runs = run_due_suites(workspace, watcher)
    with going_on("trigger", failed):
        begun = begin_if_worth_it(workspace)
    with going_on("suspicion", failed):
        suspicion = learn_suspicion_if_due(workspace)
    with going_on("advance", failed):
        for cycle in can_go_on(workspace, train=train):
            gone = go_on(workspace, cycle, watcher)
            advanced += [gone] if gone is not None else []
    with going_on("sweep", failed):
        swept = sweep_machines(workspace)
    with going_on("alerts", failed):
        workspace.alerts.look()
    with going_on("retention", failed):
        let_go = workspace.capture_retention.run(actor=ACTOR, within_s=_RETENTION_S)
    return Look(
        rolled_back=rolled_back,
        rollouts=tuple(rollouts),
        runs=tuple(runs),
        begun=begun,
        suspicion=suspicion,
        advanced=tuple(advanced),
        let_go=let_go,
        swept=tuple(swept),
        failed=tuple(failed),
    )


@contextmanager
def going_on(duty: str, failed: list[str] | None = None) -> Iterator[None]:
    """Whatever goes wrong in the block is logged, noted in `failed`, and what follows is done."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever it was, the other duties go on
        _tell(f"{duty} failed and is tried again. {error}", error)
        if failed is not None:
            failed.append(duty)


def _tell(what: str, error: Exception) -> None:
    """What a user can mend is a line in the log, and a mistake of ours one with its traceback."""
    _log.warning(what, exc_info=not isinstance(error, MisheardError))


def watch(
    workspace: Workspace,
    *,
    interval_s: float,
    observer: Observer | None = None,
    train: bool = True,
    sleep: Callable[[float], object] = time.sleep,
) -> Iterator[Look]:
    """Look for ever, `interval_s` seconds apart; the caller stops by no longer asking."""
    while True:
        yield look(workspace, observer=observer, train=train)
        sleep(interval_s)


def roll_back_if_worse(workspace: Workspace, *, actor: str = ACTOR) -> Deployment | None:
    """Roll back when the live version's error rate since its deployment is surely too high.

    It has to be above the threshold of all transcripts, and surely so of all sessions.
    """
    rules = workspace.settings.deployment
    live = workspace.deployments.live()
    if not rules.enable_auto_rollback or not live.undo_number:
        return None
    told, threshold = workspace.observations, rules.rollback_on_error_threshold
    errors, inferences = told.traffic(since=live.created_at, version_id=live.version_id)
    if errors <= threshold * inferences:
        return None  # these are counted as they come, and sessions are not
    wrong, sessions = told.sessions(since=live.created_at, version_id=live.version_id)
    decision = should_roll_back(wrong, sessions, threshold)
    if not decision.should_roll_back:
        return None
    try:
        return workspace.roll_back(actor=actor, reason=decision.reason, leaving=live.number)
    except DeploymentConflictError:
        # Somebody else has done it, or has deployed something else.
        return None


def judge_rollouts(workspace: Workspace, *, actor: str = ACTOR) -> list[RolloutDecision]:
    """Look at every version that is tried on live traffic, with what people have corrected."""
    workspace.rollouts.note_corrections()
    found = [
        workspace.judge_rollout(actor=actor, slot=one.slot)
        for one in workspace.rollouts.all_running()
    ]
    return [one for one in found if one is not None]


def run_due_suites(workspace: Workspace, observer: Observer) -> list[SuiteRun]:
    """Run the suites whose schedule asks for it on what is live."""
    moment = now()
    if not workspace.suites.due(moment):
        return []
    live = workspace.contender(workspace.deployments.live().version_id)
    return workspace.suites.run_due(live, moment, observe=observer.progress)


def begin_if_worth_it(workspace: Workspace, *, actor: str = ACTOR) -> Cycle | None:
    """The cycle that the trigger has begun or proposed just now."""
    known = {cycle.id for cycle in workspace.cycles.unfinished()}
    begun = workspace.cycles.begin(actor=actor)
    return begun if begun is not None and begun.id not in known else None


def learn_suspicion_if_due(workspace: Workspace, *, actor: str = ACTOR) -> KeptModel | None:
    """What was fitted to the labels that have come, used or not; None where too few have.

    Where scikit-learn is missing, that is logged once, and what is in use stays.
    """
    try:
        return workspace.suspicions.fit_if_due(actor=actor)
    except MissingExtraError as error:
        _warn_once(f"Suspicion is not learnt from corrections: {error}")
        return None


def sweep_machines(workspace: Workspace) -> list[Swept]:
    """Rented machines that nobody needed and that are deleted; where none is rented, none."""
    if workspace.settings.backend != "gce" and not workspace.rentals.still_open():
        return []
    return workspace.gce.sweep()


@cache
def _warn_once(text: str) -> None:
    _log.warning(text)


def can_go_on(workspace: Workspace, *, train: bool = True) -> Iterator[Cycle]:
    """Cycles that wait for nobody, oldest first; those that are watched come last."""
    cycles = workspace.cycles
    for cycle in [*cycles.unfinished(), *cycles.under_watch()]:
        is_left = not train and cycle.state in (CycleState.TRIGGERED, CycleState.DATASET)
        if not is_left and cycles.has_next(cycle):
            yield cycle


def go_on(
    workspace: Workspace,
    cycle: Cycle,
    observer: Observer,
    *,
    stuck: Callable[[], object] = lambda: None,
) -> Cycle | None:
    """Take a cycle as far as it goes by itself; None where it cannot, or another works on it.

    What keeps it from going on is logged, and then `stuck` is called.
    """
    try:
        return workspace.cycles.run(cycle.id, observer=observer)
    except (LeaseLostError, IllegalTransitionError):
        # Another process works on it, or has; if that dies, whoever asks next takes it over.
        return None
    except Exception as error:  # noqa: BLE001 - the other cycles go on
        _tell(f"{cycle.id} stands still. {error}", error)
        stuck()
        return None


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What asking for one step came to."""

    moved: bool
    cycle: Cycle | None
    """As it stands now; None where there is no cycle that anything is left of."""
    next: Outlook | None


def step_once(
    workspace: Workspace, cycle_id: str | None = None, observer: Observer | None = None
) -> Taken:
    """Take one step of a cycle, by default the oldest one that can go on.

    Where none can, nothing has moved, and the oldest one that something is left of is told of. One
    that another process works on is left to it. Raises what keeps a cycle from going on.
    """
    cycles = workspace.cycles
    if cycle_id is not None:
        cycle: Cycle | None = cycles.get(cycle_id)
    else:
        left = [*cycles.unfinished(), *cycles.under_watch()]
        cycle = next((one for one in left if cycles.has_next(one)), left[0] if left else None)
    if cycle is None:
        return Taken(moved=False, cycle=None, next=None)
    moved = cycles.has_next(cycle)
    if moved:
        try:
            cycle = cycles.advance(cycle.id, observer=observer)
        except LeaseLostError:
            moved, cycle = False, cycles.get(cycle.id)
    return Taken(moved=moved, cycle=cycle, next=cycles.outlook(cycle))
