"""`misheard cycle`."""

from __future__ import annotations

from pathlib import Path

import click
from rich.markup import escape

from misheard.cli.output import (
    acting,
    actor_option,
    bars,
    json_option,
    listing,
    open_workspace,
    out,
    print_json,
)
from misheard.cycle.states import Cycle, CycleState

_reason_option = click.option("--reason", default="", help="Why, for the audit log.")


@click.group()
def command() -> None:
    """Begin a cycle, run it, approve it, look at it."""


@command.command(
    epilog="""\b
Examples:
  misheard -w calls cycle begin
  misheard -w calls cycle begin --force --held-out ds-…
"""
)
@click.option(
    "--held-out",
    help="The set that decides (default: newest 'held-out', else the corrections' test split).",
)
@click.option("--force", is_flag=True, help="Train even if the trigger says not yet.")
@actor_option
@json_option
@click.pass_obj
def begin(
    directory: str | None, held_out: str | None, force: bool, actor: str | None, as_json: bool
) -> None:
    """Begin a cycle and run it until it ends or waits for a person."""
    workspace = open_workspace(directory)
    cycle = workspace.cycles.begin(actor=acting(actor), held_out_id=held_out, force=force)
    if cycle is None:
        raise click.ClickException(
            "Not worth training yet. See: misheard trigger. To train all the same: --force"
        )
    with bars() as shown:
        cycle = workspace.cycles.run(cycle.id, observer=shown)
    _show(cycle, as_json)


@command.command(epilog="\b\nExample:\n  misheard -w calls cycle run cycle-…")
@click.argument("cycle_id")
@json_option
@click.pass_obj
def run(directory: str | None, cycle_id: str, as_json: bool) -> None:
    """Go on with a cycle that was interrupted."""
    with bars() as shown:
        cycle = open_workspace(directory).cycles.run(cycle_id, observer=shown)
    _show(cycle, as_json)


@command.command(
    epilog='\b\nExample:\n  misheard -w calls cycle approve cycle-… --reason "heard it myself"'
)
@click.argument("cycle_id")
@_reason_option
@actor_option
@json_option
@click.pass_obj
def approve(
    directory: str | None, cycle_id: str, reason: str, actor: str | None, as_json: bool
) -> None:
    """Say yes: a proposed cycle begins, a candidate that waits goes live."""
    cycles = open_workspace(directory).cycles
    _show(cycles.approve(cycle_id, actor=acting(actor), reason=reason), as_json)


@command.command(epilog='\b\nExample:\n  misheard -w calls cycle reject cycle-… --reason "names"')
@click.argument("cycle_id")
@click.option("--reason", required=True)
@actor_option
@json_option
@click.pass_obj
def reject(
    directory: str | None, cycle_id: str, reason: str, actor: str | None, as_json: bool
) -> None:
    """Say no: nothing is trained, or the candidate does not go live."""
    workspace = open_workspace(directory)
    _show(workspace.cycles.reject(cycle_id, actor=acting(actor), reason=reason), as_json)


@command.command(
    "take-model", epilog="\b\nExample:\n  misheard -w calls cycle take-model cycle-… tuned/"
)
@click.argument("cycle_id")
@click.argument("directory_of_model", metavar="DIRECTORY", type=click.Path(path_type=Path))
@actor_option
@json_option
@click.pass_obj
def take_model(
    directory: str | None,
    cycle_id: str,
    directory_of_model: Path,
    actor: str | None,
    as_json: bool,
) -> None:
    """Take a model that was trained elsewhere, and run the gates on it."""
    cycles = open_workspace(directory).cycles
    cycle = cycles.take_model(cycle_id, directory_of_model, actor=acting(actor))
    with bars() as shown:
        cycle = cycles.run(cycle.id, observer=shown)
    _show(cycle, as_json)


@command.command(epilog="\b\nExample:\n  misheard -w calls cycle cancel cycle-…")
@click.argument("cycle_id")
@_reason_option
@actor_option
@json_option
@click.pass_obj
def cancel(
    directory: str | None, cycle_id: str, reason: str, actor: str | None, as_json: bool
) -> None:
    """Stop a cycle and its training."""
    cycles = open_workspace(directory).cycles
    _show(cycles.cancel(cycle_id, actor=acting(actor), reason=reason), as_json)


@command.command(
    epilog='\b\nExample:\n  misheard -w calls cycle retry cycle-… --reason "made room on the disk"'
)
@click.argument("cycle_id")
@_reason_option
@actor_option
@json_option
@click.pass_obj
def retry(
    directory: str | None, cycle_id: str, reason: str, actor: str | None, as_json: bool
) -> None:
    """Take up a cycle that failed where it did; a new job trains."""
    cycles = open_workspace(directory).cycles
    _show(cycles.retry(cycle_id, actor=acting(actor), reason=reason), as_json)


@command.command(
    epilog="""\b
Without an id: the oldest cycle that can go on. Exit code 0: it took a step, or there
was none to take; "moved" says which, and "next" what follows and who has to act.
Anything else: it could not, and says why; try again later.
\b
Examples:
  misheard -w calls cycle advance --json        one step, for cron or Airflow
  misheard -w calls cycle advance cycle-…
"""
)
@click.argument("cycle_id", required=False)
@json_option
@click.pass_obj
def advance(directory: str | None, cycle_id: str | None, as_json: bool) -> None:
    """Take one step of a cycle, and say what comes next."""
    from misheard.watch import step_once  # noqa: PLC0415 - SQLAlchemy

    with bars() as shown:
        taken = step_once(open_workspace(directory), cycle_id, shown)
    if as_json:
        print_json(taken)
    elif taken.cycle is None:
        out.print("Nothing to do.", style="dim")
    else:
        did = "went on" if taken.moved else "stays"
        out.print(f"{taken.cycle.id} {did}: it is [bold]{taken.cycle.state}[/]")
        out.print(f"next: {escape(taken.next.what)} ({taken.next.who})" if taken.next else "")


@command.command(
    "list",
    epilog="""\b
Examples:
  misheard -w calls cycle list
  misheard -w calls cycle list --state awaiting_approval --json
""",
)
@click.option(
    "--state", type=click.Choice([state.value for state in CycleState]), help="Only those."
)
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1))
@json_option
@click.pass_obj
def list_(directory: str | None, state: str | None, limit: int, as_json: bool) -> None:
    """List cycles, newest first."""
    only = CycleState(state) if state else None
    cycles = open_workspace(directory).cycles
    found = cycles.listed(state=only, limit=limit)
    if as_json:
        print_json(found)
        return
    rows = [(one.id, _begun(one), one.state, cycles.outlook(one).who) for one in found]
    columns = ["cycle", "begun", "state", "waits for"]
    nothing = (
        f"No cycle is {state}." if state else "No cycle yet. To begin one: misheard cycle begin"
    )
    out.print(listing("Cycles", columns, rows, nothing=nothing))


@command.command(epilog="\b\nExample:\n  misheard -w calls cycle show cycle-…")
@click.argument("cycle_id")
@json_option
@click.pass_obj
def show(directory: str | None, cycle_id: str, as_json: bool) -> None:
    """Where a cycle stands, why, what happens next, and who has to act."""
    from misheard.cli import cycle_story  # noqa: PLC0415 - SQLAlchemy
    from misheard.reports.cycle_story import story  # noqa: PLC0415 - as above

    found = story(open_workspace(directory), cycle_id)
    if as_json:
        print_json(found)
    else:
        cycle_story.show(found, out)


def _show(cycle: Cycle, as_json: bool) -> None:
    if as_json:
        print_json(cycle)
        return
    out.print(f"{cycle.id} is [bold]{cycle.state}[/]: {escape(cycle.detail)}")


def _begun(cycle: Cycle) -> str:
    return f"{cycle.created_at.astimezone():%Y-%m-%d %H:%M}"
