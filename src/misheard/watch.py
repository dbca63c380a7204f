"""Look after a workspace: roll back what does worse, run due suites, train when it is worth it.

One look does what can be done now and returns; `misheard watch` repeats it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from misheard.capture.retention import LetGo
from misheard.cycle.states import Cycle, CycleState, Observer
from misheard.database.engine import now
from misheard.deployment import Deployment
from misheard.errors import LeaseLostError, MisheardError
from misheard.gates.suites import SuiteRun
from misheard.monitoring.rollback import should_roll_back
from misheard.workspace import Workspace

ACTOR = "watch"
_RETENTION_S = 30.0
"""Of each look: some hundred thousand rows; what is left over is let go of in the next ones."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What one look came to."""

    rolled_back: Deployment | None
    """The deployment that brought the version before back."""
    runs: tuple[SuiteRun, ...]
    """Suites that were due."""
    begun: Cycle | None
    """The cycle that the trigger began or proposed."""
    advanced: tuple[Cycle, ...]
    """Cycles that went on, as they stand now."""
    let_go: LetGo
    """Audio and transcripts that retention had no more reason to keep."""


def look(workspace: Workspace, *, observer: Observer | None = None, train: bool = True) -> Look:
    """Look once. With `train` off, cycles are begun, and left to somebody else's trainer."""
    watcher = observer or Observer()
    rolled_back = roll_back_if_worse(workspace)
    runs: list[SuiteRun] = []
    if workspace.suites.due(now()):
        live = workspace.contender(workspace.deployments.live().version_id)
        runs = workspace.suites.run_all(live, live, observe=watcher.progress)
    known = {cycle.id for cycle in workspace.cycles.unfinished()}
    begun = workspace.cycles.begin(actor=ACTOR)
    is_new = begun is not None and begun.id not in known
    advanced = _advance(workspace, watcher, train=train)
    return Look(
        rolled_back=rolled_back,
        runs=tuple(runs),
        begun=begun if is_new else None,
        advanced=tuple(advanced),
        let_go=workspace.capture_retention.run(actor=ACTOR, within_s=_RETENTION_S),
    )


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


def roll_back_if_worse(workspace: Workspace) -> Deployment | None:
    """Roll back when the live version's error rate since its deployment is surely too high."""
    rules = workspace.settings.deployment
    live = workspace.deployments.live()
    if not rules.enable_auto_rollback or not live.undo_number:
        return None
    errors, inferences = workspace.observations.traffic(
        since=live.created_at, version_id=live.version_id
    )
    decision = should_roll_back(errors, inferences, rules.rollback_on_error_threshold)
    if not decision.should_roll_back:
        return None
    return workspace.roll_back(actor=ACTOR, reason=decision.reason)


def _advance(workspace: Workspace, observer: Observer, *, train: bool) -> list[Cycle]:
    done = []
    for cycle in workspace.cycles.unfinished():
        if cycle.state.waits_for_person or cycle.waits_for_trainer:
            continue
        if not train and cycle.state in (CycleState.TRIGGERED, CycleState.DATASET):
            continue
        try:
            done.append(workspace.cycles.run(cycle.id, observer=observer))
        except LeaseLostError:
            # Another process works on it.
            continue
        except MisheardError as error:
            # One cycle that cannot go on must not keep the others, or the next look, from it.
            logging.getLogger("misheard").warning("%s stands still. %s", cycle.id, error)
    return done
