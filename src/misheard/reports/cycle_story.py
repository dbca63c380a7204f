"""All that is told of one cycle: where it stands, why, what happens next, and who has to act."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from misheard.cycle.outlook import Outlook
from misheard.cycle.states import Cycle, CycleStep
from misheard.gates.verdict import Verdict, told
from misheard.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class Story:
    """All that is told of a cycle."""

    cycle: Cycle
    steps: list[CycleStep]
    next: Outlook
    held_until: datetime | None
    """A process works on it, and keeps it until then if it is not heard of."""
    validation: str
    """What the first gate said; empty where it has not."""
    suites: list[str]
    """What each suite said."""


def story(workspace: Workspace, cycle_id: str) -> Story:
    """Ask the rooms."""
    cycles = workspace.cycles
    cycle = cycles.get(cycle_id)
    verdict = ""
    if cycle.validation_id is not None:
        verdict = _judged(workspace.validations.get(cycle.validation_id).verdict)
    runs = []
    if cycle.version_id is not None:
        runs = workspace.suites.runs_of(cycle.version_id, cycle_id=cycle.id)
    names = {run.suite_id: workspace.suites.get(run.suite_id).name for run in runs}
    return Story(
        cycle=cycle,
        steps=cycles.steps(cycle.id),
        next=cycles.outlook(cycle),
        held_until=cycles.held_until(cycle.id),
        validation=verdict,
        suites=[f"'{names[run.suite_id]}' {_judged(run.verdict)}" for run in runs],
    )


def _judged(verdict: Verdict) -> str:
    """What speaks against it, or the first that speaks for it."""
    return f"passed: {verdict.reasons[0]}" if verdict.passed else told(verdict)
