"""`misheard cycle show`: where a cycle stands, why, what happens next, and who has to act."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from misheard.cli.output import when
from misheard.cycle.states import CycleState

if TYPE_CHECKING:
    from misheard.cycle.states import Cycle, CycleStep
    from misheard.reports.cycle_story import Story


def show(found: Story, console: Console) -> None:
    """Write it for people; whole at 80 columns."""
    cycle = found.cycle
    console.print(f"[bold]{cycle.id}[/]  is [bold cyan]{cycle.state}[/]")
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column(overflow="fold")
    # Where a person is asked, the detail is what to type, and that stands below.
    if not cycle.state.waits_for_person:
        grid.add_row("Where", Text(cycle.detail))
    grid.add_row("Why", Text(_why(cycle)))
    if cycle.error:
        grid.add_row("[red]Trouble[/]", Text(cycle.error, style="red"))
    if found.held_until is not None:
        grid.add_row("Now", Text("a process works on it"))
    grid.add_row("[cyan]Next[/]", Text(found.next.what, style="cyan"))
    grid.add_row("", Text(f"waits for {found.next.who}"))
    console.print(grid)
    for command in found.next.commands:
        console.print(f"  [cyan]{escape(command)}[/]", soft_wrap=True)
    console.print()
    console.print(_evidence(found))
    console.print()
    console.print(_steps(found.steps))


def _evidence(found: Story) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column(overflow="fold")
    cycle = found.cycle
    rows = (
        ("Live then", cycle.baseline_id),
        ("Dataset", cycle.dataset_id),
        ("Job", cycle.job_id),
        ("Candidate", cycle.version_id),
        ("Validation", found.validation),
        ("Suites", "\n".join(found.suites)),
    )
    for name, what in rows:
        if what:
            grid.add_row(name, Text(what))
    return grid


def _steps(steps: Sequence[CycleStep]) -> Table:
    """One line a step; all of it is in the JSON."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, min_width=19, style="dim")
    grid.add_column(no_wrap=True, min_width=len(CycleState.AWAITING_APPROVAL))
    grid.add_column(no_wrap=True, overflow="ellipsis")
    for step in steps:
        grid.add_row(when(step.created_at), step.to_state, Text(step.detail))
    return grid


def _why(cycle: Cycle) -> str:
    decision = cycle.decision
    begun = f"begun by {cycle.actor} on {when(cycle.created_at)}"
    reasons = [decision.get("reason", ""), *decision.get("reasons", ())]
    said = "; ".join(one for one in reasons if one)
    if decision.get("forced"):
        against = "; ".join(decision.get("objections", ()))
        said = f"{said or 'by the word of a person'}; against it was: {against}"
    return f"{begun}: {said}"
